"""Elementwise operations on tensors and their gradients: what a binary operator does to types, unary functions, softmax, products."""
# mypy: disable-error-code="misc"
# (the methods are written for Tensor, which the stub derives from their class)
from __future__ import annotations

import math
from typing import Any, Callable

from ._core import Tensor, dtype
from ._lazy import np
from .autograd import attach, wanted, without_gradient
from .conversion import NO_BUFFER, NUMPY_NAMES, array_of, as_array, as_tensor, to_dtype, wrap


def like(value: Any, t: Tensor) -> Tensor:
    """A NumPy result as a tensor of t's type."""
    y = wrap(value)
    return y if y.dtype == t.dtype else y._to(t.dtype)


def summed_to(g: Any, shape: Any) -> Any:
    """The gradient of what was broadcast: `g` summed over the dimensions that the operand lacked or had once."""
    shape = tuple(shape)
    if g.shape == shape:
        return g
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    return g.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1), keepdims=True)


# Types
def operand(value: Any) -> Any:
    """What a binary operator takes beside a tensor: a Tensor, a number, or what as_tensor() reads."""
    return value if isinstance(value, (Tensor, bool, int, float)) else as_tensor(value)


def _category(kind: dtype) -> int:
    return 2 if kind.is_floating_point else int(kind != dtype.bool)


def promote_types(a: dtype, b: dtype) -> dtype:
    """The smallest type that both fit into, by PyTorch's rules."""
    if a == b:
        return a
    if _category(a) != _category(b):
        return a if _category(a) > _category(b) else b
    if a.is_floating_point:
        return dtype.float32 if a.itemsize == b.itemsize else max(a, b, key=lambda t: t.itemsize)
    return to_dtype(np.promote_types(NUMPY_NAMES[a], NUMPY_NAMES[b]))


def result_type(*values: Any) -> dtype:
    """The type of a result: tensors without dimensions and numbers count only where they are of a higher category."""
    groups: list[dtype | None] = [None, None, None]
    for value in values:
        if isinstance(value, Tensor):
            group, kind = int(value.ndim == 0), value.dtype
        else:
            group, kind = 2, dtype.bool if isinstance(value, bool) else dtype.int64 if isinstance(value, int) else dtype.float32
        before = groups[group]
        groups[group] = kind if before is None else promote_types(before, kind)
    result: dtype | None = None
    for found in groups:
        if found is not None and (result is None or _category(found) > _category(result)):
            result = found
    assert result is not None
    return result


def _power_a(g: Any, a: Any, b: Any, y: Any) -> Any:
    with np.errstate(all="ignore"):
        return np.where(b == 0, 0, g * b * np.power(a, b - 1)).astype(g.dtype, copy=False)


def _power_b(g: Any, a: Any, b: Any, y: Any) -> Any:
    with np.errstate(all="ignore"):
        return np.where((a == 0) & (b >= 0), 0, g * y * np.log(a)).astype(g.dtype, copy=False)


# ufunc -> the gradients of its operands, each with the letters of what it reads: a, b, y
_GRADIENTS: dict[str, tuple[tuple[Callable[..., Any], str], tuple[Callable[..., Any], str]]] = {
    "add": ((lambda g, a, b, y: g, ""), (lambda g, a, b, y: g, "")),
    "subtract": ((lambda g, a, b, y: g, ""), (lambda g, a, b, y: -g, "")),
    "multiply": ((lambda g, a, b, y: g * b, "b"), (lambda g, a, b, y: g * a, "a")),
    "true_divide": ((lambda g, a, b, y: g / b, "b"), (lambda g, a, b, y: -g * (a / b / b), "ab")),
    "power": ((_power_a, "ab"), (_power_b, "aby")),
    "maximum": ((lambda g, a, b, y: g * ((a > b) + (a == b) * 0.5), "ab"), (lambda g, a, b, y: g * ((b > a) + (a == b) * 0.5), "ab")),
    "minimum": ((lambda g, a, b, y: g * ((a < b) + (a == b) * 0.5), "ab"), (lambda g, a, b, y: g * ((b < a) + (a == b) * 0.5), "ab")),
    "remainder": ((lambda g, a, b, y: g, ""), (lambda g, a, b, y: -g * np.floor(a / b), "ab")),
    "fmod": ((lambda g, a, b, y: g, ""), (lambda g, a, b, y: -g * np.trunc(a / b), "ab")),
    "arctan2": ((lambda g, a, b, y: g * b / (a * a + b * b), "ab"), (lambda g, a, b, y: -g * a / (a * a + b * b), "ab")),
    "logaddexp": ((lambda g, a, b, y: g * np.exp(a - y), "ay"), (lambda g, a, b, y: g * np.exp(b - y), "by")),
}
_TRUE_DIVISIONS = frozenset({"true_divide", "arctan2", "logaddexp"})
_TRUTH = frozenset({"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"})


def apply_binary(name: str, a: Any, b: Any) -> Tensor:
    """A NumPy ufunc on two operands with PyTorch's rules for the type of the result."""
    a, b = operand(a), operand(b)
    if name == "matmul":
        return matmul(as_tensor(a), as_tensor(b))
    result = result_type(a, b)
    if name in _TRUE_DIVISIONS and not result.is_floating_point:
        result = dtype.float32
    compute = dtype.float32 if result in NO_BUFFER else result
    kind = NUMPY_NAMES[compute]
    x, z = (array_of(v if v.dtype == compute else v._to(compute)) if isinstance(v, Tensor) else np.asarray(v, dtype=kind) for v in (a, b))
    try:
        with np.errstate(all="ignore"):
            out = getattr(np, name)(x, z)
    except ValueError as error:
        raise ValueError(f"[{name}] {error}") from None
    if name in _TRUTH:
        return wrap(out)
    y = wrap(out)
    if y.dtype != result and y.dtype != dtype.bool:
        y = y._to(result)
    if not wanted(a, b):
        return y
    if name not in _GRADIENTS:
        return without_gradient(name, y, (a, b))
    return _with_gradient(name, y, a, b, x, z, out)


def _with_gradient(name: str, y: Tensor, a: Any, b: Any, x: Any, z: Any, out: Any) -> Tensor:
    (grad_a, reads_a), (grad_b, reads_b) = _GRADIENTS[name]
    want_a, want_b = wanted(a), wanted(b)
    reads = (reads_a if want_a else "") + (reads_b if want_b else "")
    saved = [t for letter, t in (("a", a), ("b", b)) if letter in reads and isinstance(t, Tensor)]
    if "y" in reads:
        saved.append(y._handle())
    shapes = x.shape, z.shape
    kept_a, kept_b, kept_y = x if "a" in reads else None, z if "b" in reads else None, out if "y" in reads else None

    def backward(g: Any) -> Any:
        return (summed_to(grad_a(g, kept_a, kept_b, kept_y), shapes[0]) if want_a else None,
                summed_to(grad_b(g, kept_a, kept_b, kept_y), shapes[1]) if want_b else None)

    return attach(name, y, (a, b), backward, saved)


# Products of matrices
def matmul(a: Tensor, b: Tensor) -> Tensor:
    """The product of vectors, matrices, or stacks of matrices with broadcasting."""
    from .products import matmul as product

    return product(a, b)


# Functions of one tensor: name -> (value, gradient from (g, x, y), what it reads)
def _sigmoid(a: Any) -> Any:
    e = np.exp(-np.abs(a))
    return np.where(a >= 0, 1 / (1 + e), e / (1 + e)).astype(a.dtype, copy=False)


def _erf(a: Any) -> Any:
    if hasattr(a, "__tenon_tensor__"):
        from .device_array import apply

        return apply("erf", a)
    return np.vectorize(math.erf, otypes=[a.dtype])(a) if a.size else a


_ZERO: tuple[Callable[..., Any], str] = (lambda g, x, y: np.zeros_like(g), "")
_UNARY: dict[str, tuple[Callable[[Any], Any], Callable[..., Any], str]] = {
    "exp": (lambda a: np.exp(a), lambda g, x, y: g * y, "y"),
    "exp2": (lambda a: np.exp2(a), lambda g, x, y: g * y * math.log(2), "y"),
    "expm1": (lambda a: np.expm1(a), lambda g, x, y: g * (y + 1), "y"),
    "log": (lambda a: np.log(a), lambda g, x, y: g / x, "x"),
    "log2": (lambda a: np.log2(a), lambda g, x, y: g / (x * math.log(2)), "x"),
    "log10": (lambda a: np.log10(a), lambda g, x, y: g / (x * math.log(10)), "x"),
    "log1p": (lambda a: np.log1p(a), lambda g, x, y: g / (x + 1), "x"),
    "sqrt": (lambda a: np.sqrt(a), lambda g, x, y: g / (2 * y), "y"),
    "rsqrt": (lambda a: 1 / np.sqrt(a), lambda g, x, y: -0.5 * g * y**3, "y"),
    "square": (lambda a: a * a, lambda g, x, y: 2 * g * x, "x"),
    "reciprocal": (lambda a: 1 / a, lambda g, x, y: -g * y * y, "y"),
    "sin": (lambda a: np.sin(a), lambda g, x, y: g * np.cos(x), "x"),
    "cos": (lambda a: np.cos(a), lambda g, x, y: -g * np.sin(x), "x"),
    "tan": (lambda a: np.tan(a), lambda g, x, y: g * (1 + y * y), "y"),
    "asin": (lambda a: np.arcsin(a), lambda g, x, y: g / np.sqrt(1 - x * x), "x"),
    "acos": (lambda a: np.arccos(a), lambda g, x, y: -g / np.sqrt(1 - x * x), "x"),
    "atan": (lambda a: np.arctan(a), lambda g, x, y: g / (1 + x * x), "x"),
    "sinh": (lambda a: np.sinh(a), lambda g, x, y: g * np.cosh(x), "x"),
    "cosh": (lambda a: np.cosh(a), lambda g, x, y: g * np.sinh(x), "x"),
    "tanh": (lambda a: np.tanh(a), lambda g, x, y: g * (1 - y * y), "y"),
    "sigmoid": (_sigmoid, lambda g, x, y: g * y * (1 - y), "y"),
    "erf": (_erf, lambda g, x, y: g * (2 / math.sqrt(math.pi)) * np.exp(-x * x), "x"),
}
# These keep integers as they are.
_PLAIN: dict[str, tuple[Callable[[Any], Any], Callable[..., Any], str]] = {
    "abs": (lambda a: np.abs(a), lambda g, x, y: g * np.sign(x), "x"),
    "neg": (lambda a: -a, lambda g, x, y: -g, ""),
    "relu": (lambda a: np.maximum(a, 0), lambda g, x, y: g * (y > 0), "y"),
    "sign": (lambda a: np.sign(a), *_ZERO),
    "floor": (lambda a: np.floor(a), *_ZERO),
    "ceil": (lambda a: np.ceil(a), *_ZERO),
    "trunc": (lambda a: np.trunc(a), *_ZERO),
}


def apply_unary(name: str, t: Tensor) -> Tensor:
    """One of the functions above, with its gradient."""
    row = _UNARY.get(name)
    if row is None:
        row = _PLAIN[name]
    elif not t.dtype.is_floating_point:
        t = t._to(dtype.float32)
    value, gradient, reads = row
    a = array_of(t)
    with np.errstate(all="ignore"):
        out = as_array(value(a))
    y = like(out, t)
    if not wanted(t):
        return y
    x, kept = a if "x" in reads else None, out if "y" in reads else None
    saved = [t] if reads == "x" else [y._handle()] if reads == "y" else []
    return attach(name, y, (t,), lambda g: gradient(g, x, kept), saved)


class MathMethods:
    """Elementwise functions and operators of Tensor."""

    def round(self: Tensor, decimals: int = 0) -> Tensor:
        return attach("round", like(np.round(array_of(self), decimals), self), (self,), lambda g: np.zeros_like(g))

    def softmax(self: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
        """exp(x) / sum(exp(x)) along `dim`."""
        from .products import softmax

        return softmax(self if dtype is None else self.to(dtype), dim)

    def log_softmax(self: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
        from .products import log_softmax

        return log_softmax(self if dtype is None else self.to(dtype), dim)

    def clamp(self: Tensor, min: Any = None, max: Any = None) -> Tensor:
        """Elements below `min` become `min`, those above `max` become `max`; the bounds are numbers or tensors."""
        if isinstance(min, Tensor) or isinstance(max, Tensor):
            y = self if min is None else apply_binary("maximum", self, min)
            return y if max is None else apply_binary("minimum", y, max)
        if min is None and max is None:
            raise ValueError("[clamp] expected min, max or both")
        kind = result_type(self, *(v for v in (min, max) if v is not None))
        x = self.to(kind)
        a = array_of(x)
        y = like(np.clip(a, min, max), x)
        low, high = -math.inf if min is None else min, math.inf if max is None else max
        return attach("clamp", y, (x,), lambda g: g * ((a >= low) & (a <= high)), (x,))

    clip = clamp

    def pow(self: Tensor, exponent: Any) -> Tensor:
        return apply_binary("power", self, exponent)

    def lerp(self: Tensor, end: Any, weight: Any) -> Tensor:
        """self + weight * (end - self)."""
        return self.add((end - self) * weight)

    def addcmul(self: Tensor, tensor1: Any, tensor2: Any, *, value: float = 1) -> Tensor:
        return self.add(tensor1 * tensor2 * value)

    def addcdiv(self: Tensor, tensor1: Any, tensor2: Any, *, value: float = 1) -> Tensor:
        return self.add(tensor1 / tensor2 * value)

    # Operators
    def matmul(self: Tensor, other: Any) -> Tensor:
        return matmul(self, as_tensor(other))

    def dot(self: Tensor, other: Any) -> Tensor:
        return matmul(self, as_tensor(other))

    def add(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
        return apply_binary("add", self, other if alpha == 1 else other * alpha)

    def sub(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
        return apply_binary("subtract", self, other if alpha == 1 else other * alpha)

    def div(self: Tensor, other: Any, *, rounding_mode: "str | None" = None) -> Tensor:
        if rounding_mode is None:
            return apply_binary("true_divide", self, other)
        if rounding_mode == "floor":
            return apply_binary("floor_divide", self, other)
        if rounding_mode != "trunc":
            raise ValueError(f"[div] rounding_mode: expected None, floor or trunc, got {rounding_mode!r}")
        quotient = apply_binary("true_divide", self, other).trunc()
        return quotient.to(result_type(self, operand(other)))

    def __neg__(self: Tensor) -> Tensor:
        return apply_unary("neg", self)

    def __abs__(self: Tensor) -> Tensor:
        return apply_unary("abs", self)

    def __invert__(self: Tensor) -> Tensor:
        return wrap(~array_of(self))

    def equal(self: Tensor, other: Tensor) -> bool:
        """True if shape and elements are equal."""
        return self.shape == other.shape and bool(self.eq(other).all())

    def allclose(self: Tensor, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
        return bool(np.allclose(array_of(self), array_of(as_tensor(other)), rtol, atol, equal_nan))

    def isclose(self: Tensor, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
        return wrap(np.isclose(array_of(self), array_of(as_tensor(other)), rtol, atol, equal_nan))

    def isnan(self: Tensor) -> Tensor:
        return wrap(np.isnan(array_of(self)))

    def isinf(self: Tensor) -> Tensor:
        return wrap(np.isinf(array_of(self)))

    def isfinite(self: Tensor) -> Tensor:
        return wrap(np.isfinite(array_of(self)))


# PyTorch's method names for ufuncs of two operands
BINARY = {"mul": "multiply", "multiply": "multiply", "true_divide": "true_divide", "divide": "true_divide", "subtract": "subtract",
          "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "maximum": "maximum",
          "minimum": "minimum", "remainder": "remainder", "fmod": "fmod", "floor_divide": "floor_divide", "atan2": "arctan2",
          "logaddexp": "logaddexp", "logical_and": "logical_and", "logical_or": "logical_or", "logical_xor": "logical_xor",
          "bitwise_and": "bitwise_and", "bitwise_or": "bitwise_or", "bitwise_xor": "bitwise_xor"}
UNARY = (*_UNARY, *_PLAIN)
OPERATORS = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide", "mod": "remainder",
             "pow": "power", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"}
COMPARISONS = {name: BINARY[name] for name in ("eq", "ne", "lt", "le", "gt", "ge")}
