"""From Python objects to tensors and back: element types, devices, NumPy arrays, DLPack, nested lists."""
from __future__ import annotations

import math
from array import array
from typing import Any

from . import _core
from ._core import Tensor, dtype
from ._lazy import np

__all__ = ["Size", "Tensor", "array_of", "as_array", "as_tensor", "beside", "device", "dtype", "from_dlpack", "from_numpy", "host_array", "is_copied",
           "placed", "to_dtype", "wrap"]

NUMPY_NAMES = {d: name for name, d in dtype.__members__.items()}
NO_BUFFER = frozenset({dtype.bfloat16, dtype.float8_e4m3fn, dtype.float8_e5m2, dtype.float8_e8m0fnu})  # types that NumPy lacks
_MOST_DIMENSIONS = 8


class device:
    """Where a tensor lives: device("cpu"), device("cuda", 1), device("cuda:1")."""

    __slots__ = ("type", "index")

    def __init__(self, type: "str | int | device" = "cpu", index: int | None = None) -> None:
        if isinstance(type, device):
            index = type.index if index is None else index
            type = type.type
        if isinstance(type, int):
            type = "cpu" if type < 0 else f"cuda:{type}"
        name, _, number = type.partition(":")
        if name not in ("cpu", "cuda") or not (number.isdigit() or type == name) or (number and index is not None):
            raise RuntimeError(f"[device] expected cpu, cuda or cuda:INDEX, got {type!r}")
        self.type: str = name
        self.index: int | None = int(number) if number else index

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return f"device(type={self.type!r})" if self.index is None else f"device(type={self.type!r}, index={self.index})"

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, (device, str)) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))


def device_name(where: Any) -> str:
    """"cpu" or "cuda:0", from a name, an index, a device or None. Errors: RuntimeError, with the reason, for one that cannot be used."""
    if where is None or where in ("cpu", "auto", -1):
        return "cpu"
    return _core._parse_device(str(device(where)))


def placed(t: Tensor, where: Any) -> Tensor:
    """A new tensor on the device that was asked for."""
    return t if where is None else t._to_device(device_name(where))


class Size(tuple):
    """A shape, as torch.Size: a tuple that also knows the number of elements."""

    __slots__ = ()

    def numel(self) -> int:
        return math.prod(self)

    def __repr__(self) -> str:
        return f"tenon.Size({list(self)})"


def to_dtype(value: Any) -> dtype:
    """A dtype from a dtype, its name ("float32", "torch.float32") or a NumPy or torch dtype. Errors: TypeError."""
    if isinstance(value, dtype):
        return value
    name = _PYTHON_TYPES.get(value) if isinstance(value, type) else None
    if name is None:
        name = getattr(value, "name", None) or str(value)
        name = name.rpartition(".")[2]
    found = dtype.__members__.get(_ALIASES.get(name, name))
    if found is None:
        raise TypeError(f"[dtype] expected one of {', '.join(dtype.__members__)}, got {value!r}")
    return found


_PYTHON_TYPES = {float: "float32", int: "int64", bool: "bool"}
_ALIASES = {"float": "float32", "half": "float16", "double": "float64", "long": "int64", "int": "int32", "bool_": "bool"}


def wrap(value: Any) -> Tensor:
    """A tensor over an array's memory (a copy if it is strided), or of a NumPy scalar."""
    if hasattr(value, "__tenon_tensor__"):
        return value.__tenon_tensor__()  # type: ignore[no-any-return]
    return _core.from_buffer(np.asarray(value))


def from_numpy(value: Any) -> Tensor:
    """A tensor that shares the memory of a NumPy array; strided arrays are copied."""
    return _core.from_buffer(value)


def from_dlpack(value: Any) -> Tensor:
    """A tensor that shares the memory of anything with __dlpack__ (a torch tensor on the CPU, a JAX array)."""
    if getattr(value, "requires_grad", False):
        value = value.detach()
    return _core.from_dlpack(value)


def _flatten(value: Any, depth: int, shape: list[int], flat: list[Any]) -> None:
    if isinstance(value, (list, tuple)):
        if depth == len(shape):
            if flat or depth == _MOST_DIMENSIONS:
                raise ValueError(f"[tensor] expected lists of equal depth, at most {_MOST_DIMENSIONS}")
            shape.append(len(value))
        elif len(value) != shape[depth]:
            raise ValueError(f"[tensor] expected lists of equal length, got {shape[depth]} and {len(value)} at depth {depth}")
        for item in value:
            _flatten(item, depth + 1, shape, flat)
    else:
        if depth != len(shape):
            raise ValueError("[tensor] expected lists of equal depth")
        flat.append(value.item() if hasattr(value, "item") else value)


def _from_list(value: Any, wide: bool = False) -> Tensor:
    """A tensor of numbers in lists; floats become float32, or float64 if `wide`."""
    shape: list[int] = []
    flat: list[Any] = []
    _flatten(value, 0, shape, flat)
    kinds = set(map(type, flat))
    if kinds <= {bool} and flat:
        return _core.from_buffer(bytes(flat))._to(dtype.bool)._view(shape)
    if not kinds <= {bool, int, float}:
        raise TypeError(f"[tensor] expected numbers, got {', '.join(sorted(k.__name__ for k in kinds - {bool, int, float}))}")
    if not flat:
        return _core.empty(shape, dtype.float32)
    try:
        return _core.from_buffer(array(("d" if wide else "f") if float in kinds else "q", flat))._view(shape)
    except OverflowError:
        raise ValueError("[tensor] expected integers of at most 64 bits") from None


def _is_double(kind: Any) -> bool:
    return kind is not None and to_dtype(kind) == dtype.float64


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor from a Tensor, NumPy array, torch tensor, nested list or number, sharing memory where it can.

    Errors: TypeError for what holds no numbers; ValueError for ragged lists.
    """
    where = None if device is None else device_name(device)
    if isinstance(data, Tensor):
        t = data
    elif isinstance(data, (list, tuple)):
        t = wrap(np.stack([np.asarray(item) for item in data])) if data and hasattr(data[0], "ndim") and data[0].ndim else _from_list(data, _is_double(dtype))
    elif isinstance(data, (bool, int, float)):
        t = _from_list(data, _is_double(dtype))
    elif hasattr(data, "__dlpack__") and not hasattr(data, "__array_interface__"):
        t = from_dlpack(data)
    else:
        try:
            t = _core.from_buffer(data)
        except TypeError:
            if isinstance(data, (str, bytes, dict)) or not hasattr(data, "__array__"):
                raise TypeError(f"[tensor] expected numbers, a tensor or an array, got {type(data).__name__}") from None
            t = wrap(data)
    t = t if dtype is None else t._to(to_dtype(dtype))
    return t if where is None or where == t._device else t._to_device(where)


def array_of(t: Tensor) -> Any:
    """The elements as an array that shares memory, 16-bit brain floats and 8-bit floats as float32 copies.

    What lies on a device is an array there, which NumPy's functions take likewise; float16 is a float32 copy, too.
    Errors: RuntimeError for types that devices do not compute with.
    """
    if t._device == "cpu":
        return np.asarray(memoryview(t if t.dtype not in NO_BUFFER else t._to(dtype.float32)))
    from .device_array import DeviceArray

    if t.dtype in (dtype.bfloat16, dtype.float16):
        t = t._to(dtype.float32)
    elif t.dtype not in (dtype.float32, dtype.int64, dtype.bool):
        raise RuntimeError(f"[array] {t.dtype} on {t._device}: expected float32, bfloat16, float16, int64 or bool there; convert it on the cpu")
    return DeviceArray(t)


def is_copied(t: Tensor) -> bool:
    """Whether array_of() is a copy, which to write to changes nothing."""
    return t.dtype in NO_BUFFER or (t.dtype == dtype.float16 and t._device != "cpu")


def host_array(t: Tensor) -> Any:
    """The elements as an array of the host, wherever they lie: of what the host reads, indices and labels."""
    return array_of(t if t._device == "cpu" else t._to_device("cpu"))


def as_array(value: Any, kind: Any = None) -> Any:
    """np.asarray, which leaves arrays on a device where they are."""
    return value if hasattr(value, "__tenon_tensor__") else np.asarray(value, dtype=kind)


def beside(value: Any, a: Any) -> Any:
    """An array of the host, copied to where `a` lies."""
    if not hasattr(a, "__tenon_tensor__"):
        return value
    from .device_array import uploaded

    return uploaded(value, a.where)
