"""The methods of tenon.Tensor: PyTorch's names and meanings, computed through NumPy views of the same memory."""
# mypy: disable-error-code="misc"
# (the methods are written for Tensor, which the stub derives from their class)
from __future__ import annotations

from typing import Any, Callable, Iterator, Sequence

from . import _core, autograd
from ._core import Tensor, dtype
from ._lazy import np
from .autograd import attach
from .conversion import NO_BUFFER, Size, array_of, device, host_array, to_dtype, wrap
from .tensor_in_place import FROM_COPY, InPlaceMethods, from_copy, in_place_operator
from .tensor_in_place import OPERATORS as IN_PLACE_OPERATORS
from .tensor_math import BINARY, COMPARISONS, OPERATORS, UNARY, MathMethods, apply_binary, apply_unary
from .tensor_reductions import MinMax, ReductionMethods, axes_of
from .tensor_shapes import ShapeMethods, sizes_of, view_of

__all__ = ["MinMax", "TensorMethods", "apply_binary", "axes_of", "sizes_of"]


_device_of = device  # where an argument has the class's name


def _text(t: Tensor) -> str:
    options: dict[str, Any] = {"precision": 4, "separator": ", ", "suppress_small": False, "floatmode": "maxprec_equal"}
    body = np.array2string(array_of(t.cpu()), prefix="tensor(", **options)
    if t.is_cuda:
        body += f", device='{t.device}'"
    if t.dtype not in (dtype.float32, dtype.int64, dtype.bool):
        body += f", dtype={t.dtype}"
    if t.grad_fn is not None:
        body += f", grad_fn={t.grad_fn!r}"
    elif t.requires_grad:
        body += ", requires_grad=True"
    return f"tensor({body})"


class TensorMethods(ShapeMethods, MathMethods, ReductionMethods, InPlaceMethods):
    """Attached to Tensor below; a class of its own so that readers and type checkers see each method."""

    # What it is
    @property
    def device(self: Tensor) -> device:
        """Where the elements lie."""
        return device(self._device)

    @property
    def is_cuda(self: Tensor) -> bool:
        """True if the elements lie on a GPU; they are read through cpu()."""
        return self._device != "cpu"

    def size(self: Tensor, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension."""
        return Size(self.shape) if dim is None else self.shape[dim]

    def dim(self: Tensor) -> int:
        return self.ndim

    def nelement(self: Tensor) -> int:
        return self.numel()

    def element_size(self: Tensor) -> int:
        return self.dtype.itemsize

    def is_floating_point(self: Tensor) -> bool:
        return bool(self.dtype.is_floating_point)

    def is_contiguous(self) -> bool:
        return True

    # To other libraries and Python
    def numpy(self: Tensor, *, force: bool = False) -> Any:
        """A NumPy array over the same memory; bfloat16 becomes a float32 copy. With force what lies on a device is copied from there.

        Errors: RuntimeError for a tensor on a device.
        """
        if self._device != "cpu" and not force:
            raise RuntimeError(f"[numpy] the elements lie on {self._device}, not in the host's memory; copy them with .cpu()")
        return host_array(self)

    def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> Any:
        a = self.numpy()
        if dtype is not None and a.dtype != dtype:
            return a.astype(dtype)
        return a.copy() if copy else a

    def __dlpack__(self: Tensor, *, stream: Any = None, max_version: tuple[int, int] | None = None,
                   dl_device: tuple[int, int] | None = None, copy: bool | None = None) -> Any:
        if dl_device is not None and tuple(dl_device) != self.__dlpack_device__():
            raise BufferError(f"[dlpack] the tensor lies on {self.device}, {self.__dlpack_device__()} in DLPack's terms, got device {dl_device}")
        if self.is_cuda and stream != -1:
            from .cuda import current_stream, synchronize

            if stream not in (None, 1) or current_stream(self.device).cuda_stream != 0:  # other streams need not wait for this one's work
                synchronize(self.device)
        versioned = max_version is not None and max_version[0] >= 1
        if copy is False and self.read_only and not versioned:
            raise BufferError("[dlpack] the memory is read-only (a mapped file), which DLPack before 1.0 cannot say")
        return (self.clone() if copy or (self.read_only and not versioned) else self)._to_dlpack(versioned)

    def record_stream(self: Tensor, stream: Any) -> None:
        """Keeps the memory, when the tensor is gone, until what a tenon.cuda.Stream has by then is done. Nothing on the CPU."""
        if self.is_cuda:
            _core._cuda_record_use(self, stream._core)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, self.device.index or 0) if self.is_cuda else (1, 0)

    def __float__(self: Tensor) -> float:
        return float(self.item())

    def __int__(self: Tensor) -> int:
        return int(self.item())

    def __index__(self: Tensor) -> int:
        if self.dtype.is_floating_point:
            raise TypeError(f"[index] expected an integer tensor, got {self.dtype}")
        return int(self.item())

    def __bool__(self: Tensor) -> bool:
        return bool(self.item())

    def __len__(self: Tensor) -> int:
        if not self.ndim:
            raise TypeError("[len] a tensor without dimensions has no length")
        return self.shape[0]

    def __iter__(self: Tensor) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __contains__(self: Tensor, item: Any) -> bool:
        return bool((self == item).any())

    def __repr__(self: Tensor) -> str:
        return _text(self)

    def __format__(self: Tensor, spec: str) -> str:
        return format(self.item(), spec) if spec and not self.ndim else str(self)

    __hash__ = object.__hash__  # by identity, in spite of the elementwise ==

    def __reduce__(self: Tensor) -> Any:
        return _unpickle, (memoryview(self.cpu()._bytes()).tobytes(), list(self.shape), str(self.dtype))

    def _bytes(self: Tensor) -> Tensor:
        return self if self.dtype not in NO_BUFFER else self._reinterpret(dtype.uint16 if self.dtype.itemsize == 2 else dtype.uint8)

    def __deepcopy__(self: Tensor, memo: Any) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError("[deepcopy] only leaves of the graph of gradients can be copied; detach() the tensor")
        copied = self._clone()
        for name in ("_requires_grad", "_parameter"):
            if name in self.__dict__:
                copied.__dict__[name] = self.__dict__[name]
        if self.grad is not None:
            copied.grad = self.grad._clone()
        memo[id(self)] = copied
        return copied

    # Copies and conversions
    def to(self: Tensor, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False, copy: bool = False) -> Tensor:
        """The tensor in another dtype or on another device ("cuda", where tenon.cuda.is_available()). Gradients follow it back."""
        for arg in args:
            if isinstance(arg, Tensor):
                dtype = arg.dtype
            elif isinstance(arg, (_core.dtype, type)) or (hasattr(arg, "itemsize") and not isinstance(arg, str)):
                dtype = arg
            elif not isinstance(arg, bool):
                device = arg
        kind = self.dtype if dtype is None else to_dtype(dtype)
        source, target = self._device, self._device if device is None else _core._parse_device(str(_device_of(device)))
        if kind == self.dtype and target == source:
            return self.clone() if copy else self
        y = self if kind == self.dtype else self._to(kind)
        y = y._to_device(target)
        return attach("to_copy", y, (self,), lambda g: g._to_device(source), arrays=False) if kind.is_floating_point else y

    def cpu(self: Tensor) -> Tensor:
        return self if self._device == "cpu" else self.to("cpu")

    def cuda(self: Tensor, device: Any = None) -> Tensor:
        return self.to("cuda" if device is None else device)

    def clone(self: Tensor, memory_format: Any = None) -> Tensor:
        """A copy in memory of its own."""
        return attach("clone", self._clone(), (self,), lambda g: g, arrays=False)

    def contiguous(self: Tensor) -> Tensor:
        return self

    def type_as(self: Tensor, other: Tensor) -> Tensor:
        return self.to(other.dtype)

    def new_tensor(self: Tensor, data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
        made: Tensor = _functions().tensor(data, dtype=dtype or self.dtype, device=self._device, requires_grad=requires_grad)
        return made

    def new_zeros(self: Tensor, *size: Any, dtype: Any = None) -> Tensor:
        return _core._array_zeros(list(sizes_of(size)), to_dtype(dtype or self.dtype), self._device)

    def new_ones(self: Tensor, *size: Any, dtype: Any = None) -> Tensor:
        return self.new_full(sizes_of(size), 1, dtype)

    def new_empty(self: Tensor, *size: Any, dtype: Any = None) -> Tensor:
        return self.new_zeros(*size, dtype=dtype) if self.is_cuda else _core.empty(list(sizes_of(size)), to_dtype(dtype or self.dtype))

    def new_full(self: Tensor, size: Any, fill_value: Any, dtype: Any = None) -> Tensor:
        made: Tensor = _functions().full(size, fill_value, dtype=dtype or self.dtype, device=self._device)
        return made

    # Gradients
    @property
    def requires_grad(self) -> bool:
        """Whether gradients are wanted for this tensor."""
        return autograd.wants(self)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        d = self.__dict__
        if "_node" in d and not value:
            raise RuntimeError("[requires_grad] only leaves of the graph of gradients can be changed; use detach()")
        if value and "_quantized" in d:
            raise RuntimeError(f"[requires_grad] {d['_quantized']} is part of a quantised weight, which has no gradient; train adapters beside it "
                               "(get_peft_model)")
        if value and not self.dtype.is_floating_point:  # type: ignore[attr-defined]
            raise RuntimeError(f"[requires_grad] only floating point tensors can require gradients, got {self.dtype}")  # type: ignore[attr-defined]
        d["_requires_grad"] = bool(value)

    def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
        self.requires_grad = requires_grad
        return self

    @property
    def grad(self) -> Tensor | None:
        """The sum of the gradients that backward() brought here since it was None."""
        return self.__dict__.get("_grad")

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None and value.shape != self.shape:  # type: ignore[attr-defined]
            raise RuntimeError(f"[grad] expected shape {tuple(self.shape)}, got {tuple(value.shape)}")  # type: ignore[attr-defined]
        self.__dict__["_grad"] = value

    @property
    def grad_fn(self) -> Any:
        """The node that the tensor was computed by, None for leaves."""
        node = self.__dict__.get("_node") if autograd.wants(self) else None
        return None if node is None else node[0]

    @property
    def is_leaf(self) -> bool:
        return not autograd.wants(self) or "_node" not in self.__dict__

    def backward(self: Tensor, gradient: Any = None, retain_graph: "bool | None" = None, create_graph: bool = False, inputs: Any = None) -> None:
        """Adds the gradients of this tensor to the `grad` of the leaves that it was computed from.

        `gradient`, of this tensor's shape, weighs its elements; one element alone needs none. retain_graph=True allows a second pass.
        Errors: RuntimeError, see autograd.backward().
        """
        autograd.backward(self, gradient, retain_graph, create_graph, inputs)

    def detach(self: Tensor) -> Tensor:
        """The same memory, outside the graph of gradients."""
        return self._view(list(self.shape))

    @property
    def data(self: Tensor) -> Tensor:
        """The same memory, outside the graph of gradients; assigning copies the elements into this tensor's memory."""
        prepare = self.__dict__.get("_prepare")
        if prepare is not None:
            prepare()
        return self.detach()

    @data.setter
    def data(self: Tensor, value: Tensor) -> None:
        if value.shape == self.shape and value.dtype == self.dtype:
            with autograd.no_grad():
                self.copy_(value)
        elif "_prepare" in self.__dict__:
            raise RuntimeError(f"[data] a model's parameter keeps its shape {tuple(self.shape)} and type, got {tuple(value.shape)} {value.dtype}")
        else:
            self._rebind(value)

    def retain_grad(self: Tensor) -> None:
        """Keeps the gradient of a tensor that is no leaf."""
        autograd.retain_grad(self)

    @property
    def retains_grad(self: Tensor) -> bool:
        node = self.__dict__.get("_node")
        return node is not None and node[1] in node[0].retained

    def register_hook(self: Tensor, hook: Callable[[Tensor], Any]) -> Any:
        """Calls `hook` with each gradient; what it returns, if anything, takes the gradient's place."""
        return autograd.register_hook(self, hook)

    def register_post_accumulate_grad_hook(self: Tensor, hook: Callable[[Tensor], Any]) -> Any:
        """Calls `hook` with this leaf after its `grad` has grown."""
        return autograd.Removable(self.__dict__.setdefault("_after_hooks", {}), hook)


def _functions() -> Any:
    from . import functions

    return functions


def _unpickle(data: bytes, shape: Sequence[int], name: str) -> Tensor:
    kind = to_dtype(name)
    t = _core.empty(list(shape), kind)
    if data:
        memoryview(t._bytes()).cast("B")[:] = data
    return t


def _add(name: str, method: Any, like: str = "") -> None:
    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"As torch.Tensor.{like or name}."
    setattr(Tensor, name, method)


def _binary(ufunc: str) -> Any:
    return lambda self, other: apply_binary(ufunc, self, other)


def _reflected(ufunc: str) -> Any:
    return lambda self, other: apply_binary(ufunc, other, self)


def _unary(function: str) -> Any:
    return lambda self: apply_unary(function, self)


def _conversion(to: dtype) -> Any:
    return lambda self: self.to(to)


def _attach() -> None:
    hidden = ("__module__", "__qualname__", "__dict__", "__weakref__", "__doc__", "__annotations__")
    for owner in (InPlaceMethods, ReductionMethods, MathMethods, ShapeMethods, TensorMethods):
        for name, value in vars(owner).items():
            if name not in hidden:
                if not value.__doc__:
                    value.__doc__ = f"As torch.Tensor.{name}."
                setattr(Tensor, name, value)
    for name, ufunc in OPERATORS.items():
        _add(f"__{name}__", _binary(ufunc))
        _add(f"__r{name}__", _reflected(ufunc))
    for name, ufunc in COMPARISONS.items():
        _add(f"__{name}__", _binary(ufunc))
    for name, ufunc in BINARY.items():
        _add(name, _binary(ufunc))
    for name, ufunc in IN_PLACE_OPERATORS.items():
        _add(f"__{name}__", in_place_operator(ufunc))
    for name in UNARY:
        _add(name, _unary(name))
    for name in FROM_COPY:
        setattr(Tensor, name + "_", from_copy(name))
    # Outside the class, where names like `float` would hide the built-in types from annotations.
    for name, to in (("float", "float32"), ("double", "float64"), ("half", "float16"), ("bfloat16", "bfloat16"), ("long", "int64"),
                     ("int", "int32"), ("bool", "bool")):
        _add(name, _conversion(dtype.__members__[to]))


_attach()
