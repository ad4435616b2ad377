"""Functions with PyTorch's names, so that `import tenon as torch` runs inference scripts."""
from __future__ import annotations

from typing import Any, Callable, Sequence

from . import _core
from ._lazy import np
from .autograd import attach
from .conversion import Tensor, array_of, as_tensor, device_name, dtype, host_array, placed, to_dtype, wrap
from .products import einsum, matmul  # noqa: F401
from .random import generator, manual_seed, next_seed  # noqa: F401
from .tensor_math import BINARY, UNARY, like, promote_types, result_type  # noqa: F401
from .tensor_shapes import choose, sizes_of


# Making tensors
def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """A tensor with a copy of `data`: a number, nested lists, an array."""
    t = as_tensor(data, dtype, device)
    if not isinstance(data, (list, tuple, int, float)):
        t = t.clone()
    return t.requires_grad_() if requires_grad else t


def FloatTensor(data: Any) -> Tensor:
    return tensor(data, dtype=dtype.float32)


def LongTensor(data: Any) -> Tensor:
    return tensor(data, dtype=dtype.int64)


def is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _zeros(size: Sequence[int], dtype: Any, device: Any) -> Tensor:
    return _core._array_zeros(list(size), to_dtype(dtype or "float32"), device_name(device))


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    where = device_name(device)
    t = _core.empty(list(sizes_of(size)), to_dtype(dtype or "float32")) if where == "cpu" else _zeros(sizes_of(size), dtype, where)
    return _leaf(t, requires_grad)


def _leaf(t: Tensor, requires_grad: bool) -> Tensor:
    return t.requires_grad_() if requires_grad else t


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    return _leaf(_zeros(sizes_of(size), dtype, device), requires_grad)


def full(size: Sequence[int], fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    one = as_tensor(fill_value, dtype)
    return _leaf(placed(wrap(np.full(tuple(size), host_array(one)))._to(one.dtype), device), requires_grad)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    return full(sizes_of(size), 1.0, dtype=dtype or "float32", device=device, requires_grad=requires_grad)


def zeros_like(t: Tensor, dtype: Any = None, device: Any = None) -> Tensor:
    return zeros(t.shape, dtype=dtype or t.dtype, device=device or t.device)


def ones_like(t: Tensor, dtype: Any = None, device: Any = None) -> Tensor:
    return ones(t.shape, dtype=dtype or t.dtype, device=device or t.device)


def full_like(t: Tensor, fill_value: Any, dtype: Any = None, device: Any = None) -> Tensor:
    return full(t.shape, fill_value, dtype=dtype or t.dtype, device=device or t.device)


def arange(start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None) -> Tensor:
    start, end = (0, start) if end is None else (start, end)
    default = "float32" if any(isinstance(x, float) for x in (start, end, step)) else "int64"
    return placed(wrap(np.arange(start, end, step))._to(to_dtype(dtype or default)), device)


def linspace(start: float, end: float, steps: int, *, dtype: Any = None, device: Any = None) -> Tensor:
    return placed(wrap(np.linspace(start, end, steps))._to(to_dtype(dtype or "float32")), device)


def eye(n: int, *, dtype: Any = None, device: Any = None) -> Tensor:
    return placed(wrap(np.eye(n))._to(to_dtype(dtype or "float32")), device)


# Random numbers
def _numbers(own: Any) -> Any:
    """NumPy's generator: of a Generator that the caller has, or the common one."""
    return generator() if own is None else own.numpy()


def rand(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, generator: Any = None) -> Tensor:
    return _leaf(placed(wrap(_numbers(generator).random(sizes_of(size), np.float32))._to(to_dtype(dtype or "float32")), device), requires_grad)


def randn(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, generator: Any = None) -> Tensor:
    numbers = _numbers(generator).standard_normal(sizes_of(size), np.float32)
    return _leaf(placed(wrap(numbers)._to(to_dtype(dtype or "float32")), device), requires_grad)


def randint(low: int, high: Any = None, size: Any = None, *, dtype: Any = None, device: Any = None, generator: Any = None) -> Tensor:
    if size is None:
        low, high, size = 0, low, high
    return placed(wrap(_numbers(generator).integers(low, high, tuple(size)))._to(to_dtype(dtype or "int64")), device)


def randperm(n: int, *, generator: Any = None, dtype: Any = None, device: Any = None) -> Tensor:
    return placed(wrap(_numbers(generator).permutation(n))._to(to_dtype(dtype or "int64")), device)


def rand_like(t: Tensor, dtype: Any = None, device: Any = None) -> Tensor:
    return rand(t.shape, dtype=dtype or t.dtype, device=device or t.device)


def randn_like(t: Tensor, dtype: Any = None, device: Any = None) -> Tensor:
    return randn(t.shape, dtype=dtype or t.dtype, device=device or t.device)


def empty_like(t: Tensor, dtype: Any = None, device: Any = None) -> Tensor:
    return empty(t.shape, dtype=dtype or t.dtype, device=device or t.device)


def normal(mean: float = 0.0, std: float = 1.0, size: Any = None, *, dtype: Any = None, generator: Any = None) -> Tensor:
    return randn(size, dtype=dtype, generator=generator) * std + mean


# Joining
def cat(tensors: Sequence[Tensor], dim: int = 0, axis: "int | None" = None) -> Tensor:
    """Tensors one after another along `dim`."""
    parts = [as_tensor(t) for t in tensors]
    if not parts:
        raise ValueError("[cat] expected at least one tensor")
    at = dim if axis is None else axis
    kind = result_type(*parts)
    arrays = [array_of(t.to(kind)) for t in parts]
    arrays = [a for a in arrays if a.shape != (0,)] or arrays[:1]  # an empty vector fits to everything, as in PyTorch
    try:
        y = wrap(np.concatenate(arrays, at))
    except ValueError as error:
        raise ValueError(f"[cat] {error}") from None
    ends = np.cumsum([0 if t.shape == (0,) else t.shape[at] for t in parts])[:-1]

    def backward(g: Any) -> Any:
        return tuple(d if d.size else np.zeros(tuple(t.shape), g.dtype, like=g) for d, t in zip(np.split(g, ends, at), parts))

    return attach("cat", y if y.dtype == kind else y._to(kind), parts, backward)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new dimension."""
    parts = [as_tensor(t) for t in tensors]
    shapes = {tuple(p.shape) for p in parts}
    if len(shapes) != 1:
        raise ValueError(f"[stack] expected tensors of one shape, got {sorted(shapes)}")
    return cat([t.unsqueeze(dim) for t in parts], dim)


concat = concatenate = cat


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    return cat(tensors, 0 if as_tensor(tensors[0]).ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    return cat([t.unsqueeze(0) if t.ndim == 1 else t for t in map(as_tensor, tensors)])


def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    """x where the condition holds, else y; with the condition alone, the indices where it holds."""
    return as_tensor(condition).nonzero(as_tuple=True) if x is None else choose(condition, x, y)


mm = bmm = matmul


def outer(x: Tensor, y: Tensor) -> Tensor:
    return x.unsqueeze(1) * y.unsqueeze(0)


def addmm(x: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * x + alpha * mat1 @ mat2."""
    return x * beta + matmul(mat1, mat2) * alpha


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    return tuple(placed(wrap(a), tensors[0].device) for a in np.meshgrid(*(host_array(t) for t in tensors), indexing=indexing))


def broadcast_to(x: Tensor, shape: Sequence[int]) -> Tensor:
    return x.expand(shape)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along `dim`, with broadcasting."""
    from .nn import functional

    return functional.cosine_similarity(x1, x2, dim, eps)


def bernoulli(x: Tensor) -> Tensor:
    """1 with the probability that each element is, else 0."""
    return placed(like(generator().random(tuple(x.shape)) < host_array(x), x), x.device)


def multinomial(x: Tensor, num_samples: int, replacement: bool = False) -> Tensor:
    """Indices drawn along the last dimension with the weights there."""
    a = np.asarray(host_array(x), dtype="float64")
    rows = [generator().choice(a.shape[-1], num_samples, replacement, row / row.sum()) for row in a.reshape(-1, a.shape[-1])]
    return placed(wrap(np.asarray(rows, dtype="int64").reshape(*a.shape[:-1], num_samples)), x.device)


def _from_method(name: str) -> Callable[..., Any]:
    def function(x: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(as_tensor(x), name)(*args, **kwargs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Tensor.{name} as a function."
    return function


_METHODS = frozenset((
    "add", "all", "allclose", "amax", "amin", "any", "argmax", "argmin", "argsort", "bincount", "chunk", "clamp", "clip", "count_nonzero",
    "cumsum", "diag", "diagonal", "div", "dot", "equal", "flatten", "flip", "gather", "index_add", "index_select", "isclose", "isfinite",
    "isinf", "isnan", "lerp", "log_softmax", "logsumexp", "masked_fill", "masked_select", "max", "mean", "median", "min", "movedim",
    "narrow", "nonzero", "norm", "permute", "pow", "prod", "repeat_interleave", "reshape", "roll", "round", "scatter", "scatter_add",
    "softmax", "sort", "split", "squeeze", "std", "sub", "sum", "swapaxes", "t", "take_along_dim", "topk", "transpose", "tril", "triu",
    "unbind", "unflatten", "unique", "unsqueeze", "var",
    *BINARY, *UNARY,
))


def __getattr__(name: str) -> Any:  # not as globals: they would hide any(), max() and others from this module
    if name not in _METHODS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _from_method(name)


class _Backends:
    """What scripts ask of torch.backends, and set there."""

    class mps:
        """Apple's processors, which this build does not use."""

        @staticmethod
        def is_available() -> bool:
            return False

        @staticmethod
        def is_built() -> bool:
            return False

    class cudnn:
        """Settings that change nothing here: results do not depend on chance anyway."""

        enabled = False
        deterministic = True
        benchmark = False


backends = _Backends()


class _Linalg:
    """What scripts take from torch.linalg."""

    @staticmethod
    def norm(x: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
        return x.norm(2 if ord is None else ord, dim, keepdim, dtype)

    vector_norm = norm


linalg = _Linalg()


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """All algorithms here are."""


def compile(model: Any, **options: Any) -> Any:
    """Returns the model: its kernels are compiled already."""
    return model


def get_default_dtype() -> dtype:
    return dtype.float32


for _name, _function in list(globals().items()):
    if callable(_function) and not _name.startswith("_") and getattr(_function, "__module__", None) == __name__ and not _function.__doc__:
        _function.__doc__ = f"As torch.{_name}."
