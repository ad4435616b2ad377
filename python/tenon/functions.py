"""Functions with PyTorch's names, so that `import tenon as torch` runs inference scripts."""
from __future__ import annotations

import functools
from typing import Any, Callable, Sequence

from . import _core
from ._lazy import np
from .conversion import Tensor, array_of, as_tensor, check_device, dtype, to_dtype, wrap
from .tensors import apply_binary, axes_of, sizes_of


class _GradMode:
    """A context manager and decorator; gradients are recorded only where training asks for them."""

    enabled = False

    def __init__(self, mode: Any = None) -> None:
        self._function = mode if callable(mode) else None
        if self._function is not None:
            functools.update_wrapper(self, self._function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._function is not None:
            with type(self)():
                return self._function(*args, **kwargs)
        function: Callable[..., Any] = args[0]

        @functools.wraps(function)
        def wrapped(*a: Any, **k: Any) -> Any:
            with type(self)():
                return function(*a, **k)

        return wrapped

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __enter__(self) -> "_GradMode":
        return self

    def __exit__(self, *error: Any) -> None:
        return None


class no_grad(_GradMode):
    """`with no_grad():` or `@no_grad()`; nothing is recorded."""


class inference_mode(_GradMode):
    """As no_grad."""


class enable_grad(_GradMode):
    """As PyTorch's."""

    enabled = True


class set_grad_enabled(_GradMode):
    """As PyTorch's."""


def is_grad_enabled() -> bool:
    return False


# Making tensors
def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """A tensor with a copy of `data`: a number, nested lists, an array."""
    t = as_tensor(data, dtype, device)
    if not isinstance(data, (list, tuple, int, float)):
        t = t.clone()
    return t.requires_grad_() if requires_grad else t


def is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def empty(*size: Any, dtype: Any = None, device: Any = None) -> Tensor:
    check_device(device)
    return _core.empty(list(sizes_of(size)), to_dtype(dtype or "float32"))


def zeros(*size: Any, dtype: Any = None, device: Any = None) -> Tensor:
    check_device(device)
    return _core.zeros(list(sizes_of(size)), to_dtype(dtype or "float32"))


def full(size: Sequence[int], fill_value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    check_device(device)
    one = as_tensor(fill_value, dtype)
    return wrap(np.full(tuple(size), array_of(one)))._to(one.dtype)


def ones(*size: Any, dtype: Any = None, device: Any = None) -> Tensor:
    return full(sizes_of(size), 1.0, dtype=dtype, device=device)


def zeros_like(t: Tensor, dtype: Any = None, device: Any = None) -> Tensor:
    return zeros(t.shape, dtype=dtype or t.dtype, device=device)


def ones_like(t: Tensor, dtype: Any = None, device: Any = None) -> Tensor:
    return ones(t.shape, dtype=dtype or t.dtype, device=device)


def full_like(t: Tensor, fill_value: Any, dtype: Any = None) -> Tensor:
    return full(t.shape, fill_value, dtype=dtype or t.dtype)


def arange(start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None) -> Tensor:
    check_device(device)
    start, end = (0, start) if end is None else (start, end)
    default = "float32" if any(isinstance(x, float) for x in (start, end, step)) else "int64"
    return wrap(np.arange(start, end, step))._to(to_dtype(dtype or default))


def linspace(start: float, end: float, steps: int, *, dtype: Any = None) -> Tensor:
    return wrap(np.linspace(start, end, steps))._to(to_dtype(dtype or "float32"))


def eye(n: int, *, dtype: Any = None) -> Tensor:
    return wrap(np.eye(n))._to(to_dtype(dtype or "float32"))


# Random numbers come from NumPy's PCG64; the streams differ from PyTorch's.
_seed = 0
_generator: Any = None


def manual_seed(seed: int) -> None:
    """Seeds rand, randn, randint, randperm and the weights of models made from a configuration."""
    global _seed, _generator, _models_made
    _seed, _generator, _models_made = int(seed), None, 0


def initial_seed() -> int:
    return _seed


def next_seed() -> int:
    """The seed of the next model made from a configuration: follows manual_seed, differs from model to model."""
    global _models_made
    _models_made += 1
    return (_seed * 1_000_003 + _models_made) % 2**63 if _models_made > 1 else _seed


_models_made = 0


def _random() -> Any:
    global _generator
    if _generator is None:
        _generator = np.random.default_rng(_seed)
    return _generator


def rand(*size: Any, dtype: Any = None, device: Any = None) -> Tensor:
    check_device(device)
    return wrap(_random().random(sizes_of(size), np.float32))._to(to_dtype(dtype or "float32"))


def randn(*size: Any, dtype: Any = None, device: Any = None) -> Tensor:
    check_device(device)
    return wrap(_random().standard_normal(sizes_of(size), np.float32))._to(to_dtype(dtype or "float32"))


def randint(low: int, high: Any = None, size: Any = None, *, dtype: Any = None, device: Any = None) -> Tensor:
    check_device(device)
    if size is None:
        low, high, size = 0, low, high
    return wrap(_random().integers(low, high, tuple(size)))._to(to_dtype(dtype or "int64"))


def randperm(n: int) -> Tensor:
    return wrap(_random().permutation(n))


# Joining
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors one after another along `dim`."""
    parts = [as_tensor(t) for t in tensors]
    if not parts:
        raise ValueError("[cat] expected at least one tensor")
    try:
        return wrap(np.concatenate([array_of(t) for t in parts], dim))._to(parts[0].dtype)
    except ValueError as error:
        raise ValueError(f"[cat] {error}") from None


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new dimension."""
    parts = [as_tensor(t) for t in tensors]
    shapes = {p.shape for p in parts}
    if len(shapes) != 1:
        raise ValueError(f"[stack] expected tensors of one shape, got {sorted(shapes)}")
    return wrap(np.stack([array_of(t) for t in parts], dim))._to(parts[0].dtype)


concat = cat


def where(condition: Any, x: Any, y: Any) -> Tensor:
    like = next((v for v in (x, y) if isinstance(v, Tensor)), None)
    a, b = (array_of(v) if isinstance(v, Tensor) else v for v in (x, y))
    result = wrap(np.where(array_of(as_tensor(condition)), a, b))
    return result if like is None else result._to(like.dtype)


def einsum(equation: str, *operands: Tensor) -> Tensor:
    return wrap(np.einsum(equation, *map(array_of, operands)))._to(operands[0].dtype)


def matmul(x: Tensor, y: Tensor) -> Tensor:
    return apply_binary("matmul", x, y)


mm = bmm = matmul


def norm(x: Tensor, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Tensor:
    return x.norm(p, dim, keepdim)


def maximum(x: Tensor, y: Any) -> Tensor:
    return apply_binary("maximum", x, y)


def minimum(x: Tensor, y: Any) -> Tensor:
    return apply_binary("minimum", x, y)


def isnan(x: Tensor) -> Tensor:
    return wrap(np.isnan(array_of(x)))


def isfinite(x: Tensor) -> Tensor:
    return wrap(np.isfinite(array_of(x)))


def count_nonzero(x: Tensor, dim: Any = None) -> Tensor:
    return wrap(np.count_nonzero(array_of(x), axis=axes_of(dim)))


def _from_method(name: str) -> Callable[..., Any]:
    def function(x: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(as_tensor(x), name)(*args, **kwargs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Tensor.{name} as a function."
    return function


_METHODS = frozenset((
    "abs", "add", "all", "allclose", "amax", "amin", "any", "argmax", "argmin", "argsort", "chunk", "clamp", "cumsum", "div", "eq", "equal", "exp",
    "flatten", "gather", "index_select", "log", "log_softmax", "max", "mean", "min", "mul", "neg", "permute", "pow", "relu", "reshape",
    "round", "sigmoid", "softmax", "sort", "split", "sqrt", "squeeze", "std", "sub", "sum", "tanh", "topk", "transpose", "unbind", "unsqueeze",
    "var",
))


def __getattr__(name: str) -> Any:  # not as globals: they would hide any(), max() and others from this module
    if name not in _METHODS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _from_method(name)


class _Cuda:
    """What scripts ask of torch.cuda before they choose a device."""

    @staticmethod
    def is_available() -> bool:
        return False

    @staticmethod
    def device_count() -> int:
        return 0

    @staticmethod
    def empty_cache() -> None:
        return None

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        manual_seed(seed)


cuda = _Cuda()


def compile(model: Any, **options: Any) -> Any:
    """Returns the model: its kernels are compiled already."""
    return model


def get_default_dtype() -> dtype:
    return dtype.float32


for _name, _function in list(globals().items()):
    if callable(_function) and not _name.startswith("_") and getattr(_function, "__module__", None) == __name__ and not _function.__doc__:
        _function.__doc__ = f"As torch.{_name}."
