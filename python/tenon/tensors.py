"""The methods of tenon.Tensor: PyTorch's names and meanings, computed through NumPy views of the same memory."""
# mypy: disable-error-code="misc"
# (the methods are written for Tensor, which the stub derives from their class)
from __future__ import annotations

import math
from typing import Any, Iterator, NamedTuple, Sequence

from . import _core
from ._core import Tensor, dtype
from ._lazy import np
from .conversion import NO_BUFFER, NUMPY_NAMES, Size, array_of, as_tensor, check_device, device, to_dtype, wrap


class MinMax(NamedTuple):
    """What max(dim), min(dim), sort and topk return."""

    values: Tensor
    indices: Tensor


def _operand(value: Any) -> Any:
    """What a binary operator takes beside a tensor: a Tensor, a number, or what as_tensor() reads."""
    return value if isinstance(value, (Tensor, bool, int, float)) else as_tensor(value)


def apply_binary(name: str, a: Any, b: Any) -> Tensor:
    """A NumPy ufunc on two operands with PyTorch's rules for the type of the result."""
    a, b = _operand(a), _operand(b)
    types = [x.dtype for x in (a, b) if isinstance(x, Tensor)]
    floats = [t for t in types if t.is_floating_point]
    if floats:  # integers beside floats take the floats' type, the widest one wins
        result = max(floats, key=lambda t: (t.itemsize, t == dtype.float32))
        if len({t for t in floats if t.itemsize == 2}) == 2 and result.itemsize == 2:
            result = dtype.float32
    elif name in _TRUE_DIVISIONS or any(isinstance(x, float) for x in (a, b)):
        result = dtype.float32
    else:
        result = None
    compute = dtype.float32 if result in NO_BUFFER else result
    operands = [array_of(x if compute is None else x._to(compute)) if isinstance(x, Tensor) else x for x in (a, b)]
    if compute is not None:
        operands = [np.asarray(x, dtype=NUMPY_NAMES[compute]) for x in operands]
    try:
        y = wrap(getattr(np, name)(*operands))
    except ValueError as error:
        raise ValueError(f"[{name}] {error}") from None
    return y if result is None or y.dtype == dtype.bool else y._to(result)


_TRUE_DIVISIONS = {"true_divide"}


def _unary(name: str, t: Tensor) -> Tensor:
    x = t if t.dtype.is_floating_point else t._to(dtype.float32)
    return wrap(getattr(np, name)(array_of(x)))._to(x.dtype)


def axes_of(dim: Any) -> Any:
    return tuple(dim) if isinstance(dim, list) else dim


def sizes_of(args: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(args[0]) if len(args) == 1 and isinstance(args[0], (tuple, list)) else tuple(int(a) for a in args)


def _text(t: Tensor) -> str:
    options: dict[str, Any] = {"precision": 4, "separator": ", ", "suppress_small": False, "floatmode": "maxprec_equal"}
    body = np.array2string(array_of(t), prefix="tensor(", **options)
    plain = t.dtype in (dtype.float32, dtype.int64, dtype.bool)
    return f"tensor({body})" if plain else f"tensor({body}, dtype={t.dtype})"


class TensorMethods:
    """Attached to Tensor below; a class of its own so that readers and type checkers see each method."""

    # What it is
    @property
    def device(self: Tensor) -> device:
        """Where the elements lie."""
        return device(self._device)

    @property
    def requires_grad(self) -> bool:
        return self.__dict__.get("_requires_grad", False)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.__dict__["_requires_grad"] = bool(value)

    @property
    def grad(self) -> Tensor | None:
        return self.__dict__.get("_grad")

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        self.__dict__["_grad"] = value

    @property
    def is_cuda(self) -> bool:
        return False

    def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
        self.requires_grad = requires_grad
        return self

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
        return self.dtype.is_floating_point

    def is_contiguous(self) -> bool:
        return True

    # To other libraries and Python
    def numpy(self: Tensor, *, force: bool = False) -> Any:
        """A NumPy array over the same memory; bfloat16 becomes a float32 copy."""
        return array_of(self)

    def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> Any:
        a = array_of(self)
        if dtype is not None and a.dtype != dtype:
            return a.astype(dtype)
        return a.copy() if copy else a

    def __dlpack__(self: Tensor, *, stream: Any = None, max_version: tuple[int, int] | None = None,
                   dl_device: tuple[int, int] | None = None, copy: bool | None = None) -> Any:
        if dl_device is not None and tuple(dl_device) != (1, 0):
            raise BufferError(f"[dlpack] expected the CPU, (1, 0), got device {dl_device}")
        versioned = max_version is not None and max_version[0] >= 1
        if copy is False and self.read_only and not versioned:
            raise BufferError("[dlpack] the memory is read-only (a mapped file), which DLPack before 1.0 cannot say")
        return (self.clone() if copy or (self.read_only and not versioned) else self)._to_dlpack(versioned)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

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

    def __hash__(self) -> int:
        return id(self)

    def __reduce__(self: Tensor) -> Any:
        return _unpickle, (memoryview(self._bytes()).tobytes(), list(self.shape), str(self.dtype))

    def _bytes(self: Tensor) -> Tensor:
        return self if self.dtype not in NO_BUFFER else self._reinterpret(dtype.uint16 if self.dtype.itemsize == 2 else dtype.uint8)

    def __deepcopy__(self: Tensor, memo: Any) -> Tensor:
        return self.clone()

    # Copies and conversions
    def to(self: Tensor, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False, copy: bool = False) -> Tensor:
        """The tensor in another dtype (or on another device, of which this build has only the CPU)."""
        for arg in args:
            if isinstance(arg, Tensor):
                dtype = arg.dtype
            elif isinstance(arg, (_core.dtype, type)) or (hasattr(arg, "itemsize") and not isinstance(arg, str)):
                dtype = arg
            elif not isinstance(arg, bool):
                device = arg
        check_device(device)
        y = self if dtype is None else self._to(to_dtype(dtype))
        return y.clone() if copy and y is self else y

    def cpu(self: Tensor) -> Tensor:
        return self

    def cuda(self: Tensor, device: Any = None) -> Tensor:
        check_device("cuda" if device is None else device)
        return self

    def detach(self: Tensor) -> Tensor:
        return self._view(list(self.shape))

    def contiguous(self: Tensor) -> Tensor:
        return self

    def type_as(self: Tensor, other: Tensor) -> Tensor:
        return self._to(other.dtype)

    def copy_(self: Tensor, other: Any) -> Tensor:
        """Writes the elements of `other` into this tensor's memory. Errors: TypeError if it is read-only."""
        if self.read_only:
            raise TypeError("[copy_] cannot write: the memory is read-only (a mapped file)")
        source = as_tensor(other)._to(self.dtype)
        np.copyto(array_of(self._bytes()), array_of(source._bytes()))
        return self

    # Shapes
    def view(self: Tensor, *shape: Any) -> Tensor:
        """The same elements under another shape; one size may be -1."""
        sizes = list(sizes_of(shape))
        if sizes.count(-1) == 1:
            known = math.prod(s for s in sizes if s != -1)
            if known == 0 or self.numel() % known:
                raise ValueError(f"[view] expected a shape for {self.numel()} elements, got {tuple(sizes)}")
            sizes[sizes.index(-1)] = self.numel() // known
        return self._view(sizes)

    reshape = view

    def view_as(self: Tensor, other: Tensor) -> Tensor:
        return self._view(list(other.shape))

    def flatten(self: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        s, n = self.shape, self.ndim
        if not n:
            return self._view([1])
        start, end = start_dim % n, end_dim % n
        return self._view([*s[:start], math.prod(s[start : end + 1]), *s[end + 1 :]])

    def squeeze(self: Tensor, dim: Any = None) -> Tensor:
        dims = range(self.ndim) if dim is None else [d % self.ndim for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
        return self._view([s for i, s in enumerate(self.shape) if s != 1 or i not in dims])

    def unsqueeze(self: Tensor, dim: int) -> Tensor:
        at = dim % (self.ndim + 1)
        return self._view([*self.shape[:at], 1, *self.shape[at:]])

    def permute(self: Tensor, *dims: Any) -> Tensor:
        return _reordered(self, lambda a: np.transpose(a, sizes_of(dims)))

    def transpose(self: Tensor, dim0: int, dim1: int) -> Tensor:
        return _reordered(self, lambda a: np.swapaxes(a, dim0, dim1))

    def t(self: Tensor) -> Tensor:
        return _reordered(self, np.transpose)

    @property
    def T(self: Tensor) -> Tensor:
        return self.t()

    @property
    def mT(self: Tensor) -> Tensor:
        return self.transpose(-1, -2)

    def expand(self: Tensor, *sizes: Any) -> Tensor:
        """Repeats dimensions of size 1; -1 keeps a size. Unlike PyTorch's the result has memory of its own."""
        wanted = sizes_of(sizes)
        own = (1,) * (len(wanted) - self.ndim) + tuple(self.shape)
        return _reordered(self, lambda a: np.broadcast_to(a, [o if w == -1 else w for w, o in zip(wanted, own)]))

    def repeat(self: Tensor, *sizes: Any) -> Tensor:
        return _reordered(self, lambda a: np.tile(a, sizes_of(sizes)))

    def chunk(self: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        step = max(1, -(-self.shape[dim] // chunks))
        return self.split(step, dim)

    def split(self: Tensor, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
        n = self.shape[dim]
        sizes = [min(split_size, n - i) for i in range(0, n, split_size)] if isinstance(split_size, int) else list(split_size)
        before = (slice(None),) * (dim % self.ndim)
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        return tuple(self[(*before, slice(start, start + size))] for start, size in zip(starts, sizes))

    def unbind(self: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
        return tuple(self if dim % self.ndim == 0 else self.transpose(0, dim))

    # Indexing
    def __getitem__(self: Tensor, index: Any) -> Tensor:
        """As NumPy and PyTorch; integers and slices of the first dimension share memory."""
        if isinstance(index, int) and not isinstance(index, bool):
            n = len(self)
            if not -n <= index < n:
                raise IndexError(f"[index] expected an index in [-{n}, {n}), got {index}")
            i = index % n
            return self._rows(i, i + 1)._view(self.shape[1:])
        if isinstance(index, slice) and self.ndim:
            start, stop, step = index.indices(self.shape[0])
            if step == 1:
                return self._rows(start, max(start, stop))
        return _reordered(self, lambda a: a[_index(index)])

    def __setitem__(self: Tensor, index: Any, value: Any) -> None:
        if self.read_only:
            raise TypeError("[index] cannot write: the memory is read-only (a mapped file)")
        if self.dtype in NO_BUFFER:
            a = array_of(self).copy()
            a[_index(index)] = array_of(value) if isinstance(value, Tensor) else value
            self.copy_(wrap(a))
        else:
            array_of(self)[_index(index)] = array_of(value) if isinstance(value, Tensor) else value

    def masked_fill(self: Tensor, mask: Any, value: Any) -> Tensor:
        return wrap(np.where(array_of(as_tensor(mask)), value, array_of(self)))._to(self.dtype)

    def gather(self: Tensor, dim: int, index: Tensor) -> Tensor:
        return _reordered(self, lambda a: np.take_along_axis(a, array_of(index), dim))

    def index_select(self: Tensor, dim: int, index: Tensor) -> Tensor:
        return _reordered(self, lambda a: np.take(a, array_of(index), dim))

    # Reductions
    def sum(self: Tensor, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
        y = wrap(array_of(self).sum(axis=axes_of(dim), keepdims=keepdim))
        return y._to(to_dtype(dtype) if dtype is not None else self.dtype if self.dtype.is_floating_point else _core.dtype.int64)

    def mean(self: Tensor, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
        if dtype is None and not self.dtype.is_floating_point:
            raise TypeError(f"[mean] expected floating point elements, got {self.dtype}")
        return wrap(array_of(self).mean(axis=axes_of(dim), keepdims=keepdim))._to(to_dtype(dtype) if dtype is not None else self.dtype)

    def var(self: Tensor, dim: Any = None, keepdim: bool = False, unbiased: bool = True, correction: int | None = None) -> Tensor:
        ddof = int(unbiased) if correction is None else correction
        return wrap(array_of(self).var(axis=axes_of(dim), keepdims=keepdim, ddof=ddof))._to(self.dtype)

    def std(self: Tensor, dim: Any = None, keepdim: bool = False, unbiased: bool = True, correction: int | None = None) -> Tensor:
        return self.var(dim, keepdim, unbiased, correction).sqrt()

    def norm(self: Tensor, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Tensor:
        """The p-norm over `dim`, or over all elements."""
        a = np.abs(array_of(self))
        p = 2 if p in ("fro", None) else float(p)
        y = a.max(axis=axes_of(dim), keepdims=keepdim) if p == math.inf else (a**p).sum(axis=axes_of(dim), keepdims=keepdim) ** (1 / p)
        return wrap(y)._to(self.dtype)

    def argmax(self: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """The index of the largest element, of the flattened tensor or along `dim`; the first among equals."""
        return wrap(array_of(self).argmax(axis=dim, keepdims=keepdim))

    def argmin(self: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
        return wrap(array_of(self).argmin(axis=dim, keepdims=keepdim))

    def max(self: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
        """The largest element; with `dim` (values, indices); with a tensor the elementwise larger."""
        if isinstance(dim, Tensor):
            return apply_binary("maximum", self, dim)
        if dim is None:
            return wrap(array_of(self).max())._to(self.dtype)
        return MinMax(wrap(array_of(self).max(axis=dim, keepdims=keepdim))._to(self.dtype), self.argmax(dim, keepdim))

    def min(self: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
        if isinstance(dim, Tensor):
            return apply_binary("minimum", self, dim)
        if dim is None:
            return wrap(array_of(self).min())._to(self.dtype)
        return MinMax(wrap(array_of(self).min(axis=dim, keepdims=keepdim))._to(self.dtype), self.argmin(dim, keepdim))

    def amax(self: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
        return wrap(array_of(self).max(axis=axes_of(dim), keepdims=keepdim))._to(self.dtype)

    def amin(self: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
        return wrap(array_of(self).min(axis=axes_of(dim), keepdims=keepdim))._to(self.dtype)

    def any(self: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
        return wrap(array_of(self).any(axis=axes_of(dim), keepdims=keepdim))

    def all(self: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
        return wrap(array_of(self).all(axis=axes_of(dim), keepdims=keepdim))

    def cumsum(self: Tensor, dim: int) -> Tensor:
        return wrap(array_of(self).cumsum(axis=dim))._to(self.dtype if self.dtype.is_floating_point else dtype.int64)

    def argsort(self: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
        a = array_of(self)
        if not descending:
            return wrap(np.argsort(a, axis=dim, kind="stable"))
        n = a.shape[dim]
        return wrap(n - 1 - np.flip(np.argsort(np.flip(a, dim), axis=dim, kind="stable"), dim))

    def sort(self: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> MinMax:
        order = self.argsort(dim, descending)
        return MinMax(self.gather(dim, order), order)

    def topk(self: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> MinMax:
        """The k largest elements along `dim` and where they are."""
        if not 0 <= k <= self.shape[dim]:
            raise ValueError(f"[topk] expected k in [0, {self.shape[dim]}], got {k}")
        order = array_of(self.argsort(dim, largest))
        first = wrap(np.take(order, np.arange(k), axis=dim))
        return MinMax(self.gather(dim, first), first)

    # Elementwise functions
    def exp(self: Tensor) -> Tensor:
        return _unary("exp", self)

    def log(self: Tensor) -> Tensor:
        return _unary("log", self)

    def sqrt(self: Tensor) -> Tensor:
        return _unary("sqrt", self)

    def tanh(self: Tensor) -> Tensor:
        return _unary("tanh", self)

    def abs(self: Tensor) -> Tensor:
        return wrap(np.abs(array_of(self)))._to(self.dtype)

    def neg(self: Tensor) -> Tensor:
        return wrap(-array_of(self))._to(self.dtype)

    def round(self: Tensor, decimals: int = 0) -> Tensor:
        return wrap(np.round(array_of(self), decimals))._to(self.dtype)

    def relu(self: Tensor) -> Tensor:
        return self.clamp(min=0)

    def sigmoid(self: Tensor) -> Tensor:
        """1 / (1 + exp(-x)), without overflow."""
        x = self if self.dtype.is_floating_point else self._to(dtype.float32)
        a = array_of(x)
        e = np.exp(-np.abs(a))
        return wrap(np.where(a >= 0, 1 / (1 + e), e / (1 + e)))._to(x.dtype)

    def softmax(self: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
        """exp(x) / sum(exp(x)) along `dim`."""
        return wrap(np.exp(array_of(self.log_softmax(dim, _core.dtype.float64))))._to(self.dtype if dtype is None else to_dtype(dtype))

    def log_softmax(self: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
        x = array_of(self._to(_core.dtype.float64))
        shifted = x - x.max(axis=dim, keepdims=True)
        y = shifted - np.log(np.exp(shifted).sum(axis=dim, keepdims=True))
        return wrap(y)._to(self.dtype if dtype is None else to_dtype(dtype))

    def clamp(self: Tensor, min: Any = None, max: Any = None) -> Tensor:
        return wrap(np.clip(array_of(self), min, max))._to(self.dtype)

    def pow(self: Tensor, exponent: Any) -> Tensor:
        return apply_binary("power", self, exponent)

    # Operators
    def matmul(self: Tensor, other: Any) -> Tensor:
        return apply_binary("matmul", self, other)

    def add(self: Tensor, other: Any) -> Tensor:
        return apply_binary("add", self, other)

    def sub(self: Tensor, other: Any) -> Tensor:
        return apply_binary("subtract", self, other)

    def mul(self: Tensor, other: Any) -> Tensor:
        return apply_binary("multiply", self, other)

    def div(self: Tensor, other: Any) -> Tensor:
        return apply_binary("true_divide", self, other)

    def eq(self: Tensor, other: Any) -> Tensor:
        return apply_binary("equal", self, other)

    def __neg__(self: Tensor) -> Tensor:
        return self.neg()

    def __abs__(self: Tensor) -> Tensor:
        return self.abs()

    def __invert__(self: Tensor) -> Tensor:
        return wrap(~array_of(self))

    def equal(self: Tensor, other: Tensor) -> bool:
        """True if shape and elements are equal."""
        return self.shape == other.shape and bool(self.eq(other).all())

    def allclose(self: Tensor, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
        return bool(np.allclose(array_of(self), array_of(as_tensor(other)), rtol, atol, equal_nan))


def _index(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(_index(i) for i in index)
    return array_of(index) if isinstance(index, Tensor) else index


def _reordered(t: Tensor, move: Any) -> Tensor:
    """The result of an operation that only moves elements, in the same dtype."""
    try:
        return wrap(move(array_of(t)))._to(t.dtype)
    except np.exceptions.AxisError as error:
        raise IndexError(f"[tensor] {error} of shape {tuple(t.shape)}") from None


def _unpickle(data: bytes, shape: Sequence[int], name: str) -> Tensor:
    kind = to_dtype(name)
    t = _core.empty(list(shape), kind)
    if data:
        memoryview(t._bytes()).cast("B")[:] = data
    return t


def _operator(name: str, ufunc: str) -> None:
    setattr(Tensor, f"__{name}__", lambda self, other: apply_binary(ufunc, self, other))
    setattr(Tensor, f"__r{name}__", lambda self, other: apply_binary(ufunc, other, self))


def _attach() -> None:
    for name, value in vars(TensorMethods).items():
        if name not in ("__module__", "__qualname__", "__dict__", "__weakref__", "__doc__", "__annotations__"):
            if not value.__doc__:
                value.__doc__ = f"As torch.Tensor.{name}."
            setattr(Tensor, name, value)
    for name, ufunc in (("add", "add"), ("sub", "subtract"), ("mul", "multiply"), ("truediv", "true_divide"), ("floordiv", "floor_divide"),
                        ("mod", "remainder"), ("pow", "power"), ("matmul", "matmul"), ("and", "bitwise_and"), ("or", "bitwise_or"),
                        ("xor", "bitwise_xor")):
        _operator(name, ufunc)
    for name, ufunc in (("eq", "equal"), ("ne", "not_equal"), ("lt", "less"), ("le", "less_equal"), ("gt", "greater"),
                        ("ge", "greater_equal")):
        setattr(Tensor, f"__{name}__", lambda self, other, ufunc=ufunc: apply_binary(ufunc, self, other))
    # Outside the class, where names like `float` would hide the built-in types from annotations.
    for name, to in (("float", "float32"), ("double", "float64"), ("half", "float16"), ("bfloat16", "bfloat16"), ("long", "int64"),
                     ("int", "int32"), ("bool", "bool")):
        setattr(Tensor, name, lambda self, to=dtype.__members__[to]: self._to(to))


_attach()
