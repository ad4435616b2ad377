"""Arrays on a device for NumPy's functions: what the arithmetic of tensors is written in works on them as it does on the host's arrays.

An array is a tensor's memory with a shape and strides. Elementwise functions, reductions, products and indexing run on the device; shapes
are views. Integers and masks that decide which elements there are (indices, nonzero) are read by the host. What is not here is an error
that names it.
"""
from __future__ import annotations

import functools
import math
from typing import Any, Sequence

import numpy as np

from . import _core
from ._core import Tensor, dtype

_TYPES = {"f": dtype.float32, "i": dtype.int64, "b": dtype.bool}
_NUMPY = {"f": np.dtype("float32"), "i": np.dtype("int64"), "b": np.dtype("bool")}
_ORDER = "bif"


def kind_of(value: Any) -> str:
    """f, i or b: what a dtype or a number is computed as."""
    kind: str = np.dtype(value).kind if isinstance(value, (str, type, np.dtype)) else np.asarray(value).dtype.kind
    return "f" if kind == "f" else "b" if kind == "b" else "i"


def _contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


@functools.lru_cache(maxsize=256)
def _number(value: Any, kind: str, where: str, text: str) -> Tensor:
    """One number on a device; the last ones are kept. `text` tells 0.0 from -0.0."""
    return _core.from_buffer(np.asarray([value], _NUMPY[kind]))._to_device(where)


def unsupported(name: str, where: str) -> RuntimeError:
    return RuntimeError(f"[{name}] is computed on the cpu alone yet, and a tensor lies on {where}; copy it with .to(\"cpu\")")


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """Elements begin + i * strides[0] + j * strides[1] + ... of a tensor on a device."""

    __slots__ = ("base", "begin", "shape", "strides", "kind")

    def __init__(self, base: Tensor, begin: int = 0, shape: "Sequence[int] | None" = None, strides: "Sequence[int] | None" = None) -> None:
        self.base, self.begin = base, begin
        self.shape: tuple[int, ...] = tuple(base.shape if shape is None else shape)
        self.strides: tuple[int, ...] = _contiguous_strides(self.shape) if strides is None else tuple(strides)
        self.kind = "f" if base.dtype == dtype.float32 else "i" if base.dtype == dtype.int64 else "b"

    # What it is
    @property
    def dtype(self) -> Any:
        return _NUMPY[self.kind]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def where(self) -> str:
        return str(self.base._device)

    @property
    def contiguous(self) -> bool:
        return all(n == 1 or s == c for n, s, c in zip(self.shape, self.strides, _contiguous_strides(self.shape))) or not self.size

    def tensor(self) -> Tensor:
        """The elements as a tensor: over the same memory where they are contiguous, else copied."""
        t = self if self.contiguous else self.copy()
        return _core._array_part(t.base, t.begin if t.size else 0, list(t.shape))

    __tenon_tensor__ = tensor

    def host(self) -> Any:
        """The elements as an array of the host."""
        return np.asarray(memoryview(self.tensor()._to_device("cpu")))

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise unsupported("asarray", self.where)

    def __len__(self) -> int:
        return self.shape[0]

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.size == 1 else repr(self)

    def __repr__(self) -> str:
        return f"DeviceArray({self.host()!r}, {self.where!r})"

    def item(self) -> Any:
        return self.tensor().item()

    # Views
    def view(self, begin: int, shape: Sequence[int], strides: Sequence[int]) -> "DeviceArray":
        return DeviceArray(self.base, begin, shape, strides)

    def reshape(self, *shape: Any) -> "DeviceArray":
        sizes = list(shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape)
        if -1 in sizes:
            known = math.prod(n for n in sizes if n != -1)
            sizes[sizes.index(-1)] = self.size // known if known else 0
        if math.prod(sizes) != self.size:
            raise ValueError(f"cannot reshape array of size {self.size} into shape {tuple(sizes)}")
        a = self if self.contiguous else self.copy()
        return DeviceArray(a.base, a.begin, sizes)

    def transpose(self, *axes: Any) -> "DeviceArray":
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
        order = range(self.ndim)[::-1] if order is None else [_axis(i, self.ndim) for i in order]
        return self.view(self.begin, [self.shape[i] for i in order], [self.strides[i] for i in order])

    @property
    def T(self) -> "DeviceArray":
        return self.transpose()

    def swapaxes(self, a: int, b: int) -> "DeviceArray":
        order = list(range(self.ndim))
        a, b = _axis(a, self.ndim), _axis(b, self.ndim)
        order[a], order[b] = order[b], order[a]
        return self.transpose(order)

    def squeeze(self, axis: Any = None) -> "DeviceArray":
        gone = range(self.ndim) if axis is None else _axes(axis, self.ndim)
        kept = [i for i in range(self.ndim) if i not in gone or self.shape[i] != 1]
        return self.view(self.begin, [self.shape[i] for i in kept], [self.strides[i] for i in kept])

    def broadcast_to(self, shape: Sequence[int]) -> "DeviceArray":
        lead = len(shape) - self.ndim
        own = [1] * lead + list(self.shape)
        if lead < 0 or any(o not in (n, 1) for o, n in zip(own, shape)):
            raise ValueError(f"operands could not be broadcast together with shapes {self.shape} {tuple(shape)}")
        strides = [0] * lead + list(self.strides)
        return self.view(self.begin, shape, [0 if o == 1 != n else s for o, n, s in zip(own, shape, strides)])

    # Copies
    def astype(self, kind: Any, copy: bool = True) -> "DeviceArray":
        to = kind_of(kind)
        return apply("copy", self, to=to) if copy or to != self.kind else self

    def copy(self) -> "DeviceArray":
        return apply("copy", self, to=self.kind)

    # Indexing
    def __getitem__(self, index: Any) -> "DeviceArray":
        from .device_index import get_items

        return get_items(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        from .device_index import set_items

        set_items(self, index, value)

    # Reductions
    def sum(self, axis: Any = None, keepdims: bool = False) -> "DeviceArray":
        return reduced("sum", self, axis, keepdims)

    def prod(self, axis: Any = None, keepdims: bool = False) -> "DeviceArray":
        return reduced("prod", self, axis, keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> "DeviceArray":
        return reduced("max", self, axis, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> "DeviceArray":
        return reduced("min", self, axis, keepdims)

    def argmax(self, axis: "int | None" = None, keepdims: bool = False) -> "DeviceArray":
        return reduced("argmax", self, axis, keepdims)

    def argmin(self, axis: "int | None" = None, keepdims: bool = False) -> "DeviceArray":
        return reduced("argmin", self, axis, keepdims)

    def any(self, axis: Any = None, keepdims: bool = False) -> "DeviceArray":
        return reduced("any", self, axis, keepdims)

    def all(self, axis: Any = None, keepdims: bool = False) -> "DeviceArray":
        return reduced("all", self, axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> "DeviceArray":
        n = self.size if axis is None else math.prod(self.shape[i] for i in _axes(axis, self.ndim))
        return self.astype("float32", copy=False).sum(axis, keepdims) / (n or math.nan)

    def var(self, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> "DeviceArray":
        n = self.size if axis is None else math.prod(self.shape[i] for i in _axes(axis, self.ndim))
        apart = self - self.mean(axis, True)
        return apply("multiply", apart, apart).sum(axis, keepdims) / (max(n - ddof, 0) or math.nan)

    def cumsum(self, axis: "int | None" = None) -> "DeviceArray":
        return scanned("cumsum", self, axis)

    def cumprod(self, axis: "int | None" = None) -> "DeviceArray":
        return scanned("cumprod", self, axis)

    def argsort(self, axis: "int | None" = -1, kind: Any = None) -> "DeviceArray":
        """Stable, whatever `kind` asks for."""
        if axis is None:
            return self.reshape(-1).argsort()
        at = _axis(axis, self.ndim)
        rows = (self.astype("int64") if self.kind == "b" else self).swapaxes(at, -1)
        order = _core._array_argsort(rows.tensor(), self.shape[at], False) if rows.size else _core._array_zeros(list(rows.shape), dtype.int64, self.where)
        return DeviceArray(order).swapaxes(at, -1)

    # NumPy's functions
    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from .device_functions import call_ufunc

        return call_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from .device_functions import FUNCTIONS, MADE, full_like

        known = FUNCTIONS.get(function.__name__)
        if function.__name__ in MADE:  # np.zeros(shape, dtype, like=self), which comes here without `like`
            return full_like(self, MADE[function.__name__], kwargs.get("dtype", args[1] if len(args) > 1 else "float32"), args[0])
        if known is None:
            raise unsupported(function.__name__, self.where)
        return known(*args, **kwargs)


def _axis(i: int, ndim: int) -> int:
    if not -ndim <= i < ndim:
        raise np.exceptions.AxisError(i, ndim)
    return i % ndim


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    return tuple(_axis(i, ndim) for i in (axis if isinstance(axis, (tuple, list)) else (axis,)))


def device_of(name: str, values: Sequence[Any]) -> str:
    """Where the arrays of an operation lie; numbers of the host may stand beside them. Errors: RuntimeError for a mixture."""
    found = ""
    for v in values:
        place = v.where if isinstance(v, DeviceArray) else "cpu" if isinstance(v, np.ndarray) and v.ndim else ""
        if place and found and place != found:
            raise RuntimeError(f"[{name}] expected all tensors to be on the same device, got {found} and {place}")
        found = place or found
    return found


def as_array(value: Any, kind: str, where: str) -> DeviceArray:
    """An operand as an array of this kind on the device."""
    if isinstance(value, DeviceArray):
        return value if value.kind == kind else value.astype(kind)
    number = value.item() if hasattr(value, "item") else value
    return DeviceArray(_number(number, kind, where, repr(number)), 0, ())


def uploaded(host: Any, where: str) -> DeviceArray:
    """A copy of an array of the host on a device."""
    a = np.ascontiguousarray(host)
    return DeviceArray(_core.from_buffer(a.astype(_NUMPY[kind_of(a.dtype)], copy=False).reshape(a.shape))._to_device(where))


def zeros(shape: Any, kind: str, where: str) -> DeviceArray:
    sizes = [shape] if isinstance(shape, int) else [int(n) for n in shape]
    return DeviceArray(_core._array_zeros(sizes, _TYPES[kind], where))


def apply(name: str, *values: Any, to: "str | None" = None, kind: "str | None" = None) -> DeviceArray:
    """A kernel's function of broadcast operands of one kind: the highest of theirs, or `kind`. The result of copy is of kind `to`."""
    where = device_of(name, values)
    kinds = [v.kind if isinstance(v, DeviceArray) else kind_of(v) for v in (values[1:] if name == "where" else values)]
    common = kind or max(kinds, key=_ORDER.index)
    arrays = [as_array(v, "b" if name == "where" and i == 0 else common, where) for i, v in enumerate(values)]
    try:
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
    except ValueError:
        raise ValueError("operands could not be broadcast together with shapes " + " ".join(str(a.shape) for a in arrays)) from None
    operands = [(a.base, a.begin, a.strides) for a in (b.broadcast_to(shape) for b in arrays)]
    return DeviceArray(_core._array_elementwise(name, list(shape), operands, _TYPES[to or common]))


def reduced(name: str, a: DeviceArray, axis: Any, keepdims: bool) -> DeviceArray:
    """A reduction over some axes, or all."""
    axes = tuple(range(a.ndim)) if axis is None else _axes(axis, a.ndim)
    kept = [i for i in range(a.ndim) if i not in axes]
    shape = [1 if i in axes else n for i, n in enumerate(a.shape)] if keepdims else [a.shape[i] for i in kept]
    n = math.prod(a.shape[i] for i in axes)
    truth = name in ("any", "all")
    if truth or (a.kind == "b" and name != "copy"):
        a = (a != 0 if truth else a).astype("int64")
    if truth and n == 0:
        return zeros(shape, "b", a.where) if name == "any" else zeros(shape, "b", a.where) == False  # noqa: E712
    if not axes:
        outer, inner, flat = a.size, 1, a
    elif list(axes) == list(range(axes[0], axes[0] + len(axes))) and a.contiguous:
        outer, inner, flat = math.prod(a.shape[: axes[0]]), math.prod(a.shape[axes[0] + len(axes) :]), a
    else:
        flat = a.transpose([*kept, *sorted(axes)])
        outer, inner = math.prod(a.shape[i] for i in kept), 1
    word = {"any": "max", "all": "min"}.get(name, name)
    y = DeviceArray(_core._array_reduce(word, flat.tensor(), outer, n, inner)).reshape(shape)
    return y != 0 if truth else y


def scanned(name: str, a: DeviceArray, axis: "int | None") -> DeviceArray:
    """Running sums or products along an axis, or of the flattened array."""
    if axis is None:
        a, axis = a.reshape(-1), 0
    at = _axis(axis, a.ndim)
    x = a.astype("int64") if a.kind == "b" else a
    outer, inner = math.prod(a.shape[:at]), math.prod(a.shape[at + 1 :])
    return DeviceArray(_core._array_scan(x.tensor(), name == "cumprod", outer, a.shape[at], inner)).reshape(a.shape)
