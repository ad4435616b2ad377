"""Sums, means, extremes, norms, orders of tensors, and their gradients."""
# mypy: disable-error-code="misc"
# (the methods are written for Tensor, which the stub derives from their class)
from __future__ import annotations

import math
from typing import Any, NamedTuple

from . import _core
from ._core import Tensor
from ._lazy import np
from .autograd import attach
from .conversion import array_of, as_array, to_dtype, wrap
from .tensor_math import apply_binary, like


class MinMax(NamedTuple):
    """What max(dim), min(dim), sort and topk return."""

    values: Tensor
    indices: Tensor


def axes_of(dim: Any) -> Any:
    """`dim` as NumPy's axis; an empty list means all dimensions."""
    if isinstance(dim, (list, tuple)):
        return tuple(dim) or None
    return dim


def spread(g: Any, shape: Any, axis: Any, keepdims: bool) -> Any:
    """The gradient of a reduction, with the reduced dimensions back as 1, ready to broadcast over `shape`."""
    if keepdims:
        return g
    return g.reshape([1] * len(shape)) if axis is None else np.expand_dims(g, axis)


def _count(shape: Any, axis: Any) -> int:
    axes = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return math.prod(shape[i] for i in axes)


def _extreme(name: str, t: Tensor, dim: Any, keepdim: bool) -> Tensor:
    """amax or amin: equal elements share the gradient."""
    a, axis = array_of(t), axes_of(dim)
    out = as_array(getattr(a, name)(axis=axis, keepdims=keepdim))

    def backward(g: Any) -> Any:
        chosen = a == spread(out, a.shape, axis, keepdim)
        return chosen * (spread(g, a.shape, axis, keepdim) / chosen.sum(axis=axis, keepdims=True))

    return attach(f"a{name}", like(out, t), (t,), backward, (t,))


class ReductionMethods:
    """Reductions and orders of Tensor."""

    def sum(self: Tensor, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
        a, axis = array_of(self), axes_of(dim)
        kind = to_dtype(dtype) if dtype is not None else self.dtype if self.dtype.is_floating_point else _core.dtype.int64
        y = wrap(as_array(a.sum(axis=axis, keepdims=keepdim)))
        shape = a.shape
        return attach("sum", y if y.dtype == kind else y._to(kind), (self,), lambda g: np.broadcast_to(spread(g, shape, axis, keepdim), shape))

    def mean(self: Tensor, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
        if dtype is None and not self.dtype.is_floating_point:
            raise TypeError(f"[mean] expected floating point elements, got {self.dtype}")
        a, axis = array_of(self), axes_of(dim)
        y = wrap(as_array(a.mean(axis=axis, keepdims=keepdim)))._to(to_dtype(dtype) if dtype is not None else self.dtype)
        shape, n = a.shape, _count(a.shape, axis)
        return attach("mean", y, (self,), lambda g: np.broadcast_to(spread(g / n, shape, axis, keepdim), shape))

    def var(self: Tensor, dim: Any = None, keepdim: bool = False, unbiased: bool = True, correction: "int | None" = None) -> Tensor:
        """The variance; `correction` (1, or 0 where unbiased=False) is taken from the number of elements."""
        ddof = int(unbiased) if correction is None else correction
        a, axis = array_of(self), axes_of(dim)
        n = _count(a.shape, axis)
        y = like(as_array(a.var(axis=axis, keepdims=keepdim, ddof=ddof)), self)

        def backward(g: Any) -> Any:
            return spread(g, a.shape, axis, keepdim) * (2 / max(n - ddof, 0)) * (a - a.mean(axis=axis, keepdims=True))

        return attach("var", y, (self,), backward, (self,))

    def std(self: Tensor, dim: Any = None, keepdim: bool = False, unbiased: bool = True, correction: "int | None" = None) -> Tensor:
        return self.var(dim, keepdim, unbiased, correction).sqrt()

    def norm(self: Tensor, p: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
        """The p-norm over `dim`, or over all elements."""
        x = self if dtype is None else self.to(dtype)
        p = 2.0 if p in ("fro", None) else float(p)
        if p in (math.inf, -math.inf):
            return _extreme("max" if p > 0 else "min", x.abs(), dim, keepdim)
        a, axis = array_of(x), axes_of(dim)
        if p == 2:
            out = np.sqrt((a * a).sum(axis=axis, keepdims=keepdim))
        elif p == 0:
            out = (a != 0).sum(axis=axis, keepdims=keepdim).astype(a.dtype)
        else:
            out = (np.abs(a) ** p).sum(axis=axis, keepdims=keepdim) ** (1 / p)
        out = as_array(out)
        y = like(out, x)

        def backward(g: Any) -> Any:
            if p == 0:
                return np.zeros_like(a)
            whole, g = spread(out, a.shape, axis, keepdim), spread(g, a.shape, axis, keepdim)
            if p == 1:
                return g * np.sign(a)
            with np.errstate(all="ignore"):
                d = a / whole if p == 2 else np.sign(a) * np.abs(a) ** (p - 1) / whole ** (p - 1)
            return g * np.where(whole == 0, 0, d)

        return attach("norm", y, (x,), backward, (x,))

    def prod(self: Tensor, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
        x = self if dtype is None else self.to(dtype)
        a = array_of(x)
        kind = x.dtype if x.dtype.is_floating_point else _core.dtype.int64
        y = wrap(as_array(a.prod(axis=dim, keepdims=keepdim)))._to(kind)

        def backward(g: Any) -> Any:
            b = a.reshape(-1) if dim is None else np.moveaxis(a, dim, -1)
            before, after = np.ones_like(b), np.ones_like(b)  # products of all that stands before and after each element
            before[..., 1:] = np.cumprod(b[..., :-1], -1)
            after[..., :-1] = np.cumprod(b[..., :0:-1], -1)[..., ::-1]
            rest = (before * after).reshape(a.shape) if dim is None else np.moveaxis(before * after, -1, dim)
            return spread(g, a.shape, dim, keepdim) * rest

        return attach("prod", y, (x,), backward, (x,))

    def logsumexp(self: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
        """log(sum(exp(x))) along `dim`, without overflow."""
        a, axis = array_of(self), axes_of(dim)
        largest = a.max(axis=axis, keepdims=True)
        largest = np.where(np.isfinite(largest), largest, 0)
        with np.errstate(divide="ignore"):
            out = np.log(np.exp(a - largest).sum(axis=axis, keepdims=True)) + largest
        y = like(out if keepdim else out.squeeze(axis), self)
        return attach("logsumexp", y, (self,), lambda g: spread(g, a.shape, axis, keepdim) * np.exp(a - out), (self,))

    # Extremes
    def argmax(self: Tensor, dim: "int | None" = None, keepdim: bool = False) -> Tensor:
        """The index of the largest element, of the flattened tensor or along `dim`; the first among equals."""
        return wrap(array_of(self).argmax(axis=dim, keepdims=keepdim))

    def argmin(self: Tensor, dim: "int | None" = None, keepdim: bool = False) -> Tensor:
        return wrap(array_of(self).argmin(axis=dim, keepdims=keepdim))

    def max(self: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
        """The largest element; with `dim` (values, indices); with a tensor the elementwise larger."""
        if isinstance(dim, Tensor):
            return apply_binary("maximum", self, dim)
        if dim is None:
            return _extreme("max", self, None, False)
        return self._picked(self.argmax(dim, True), dim, keepdim)

    def min(self: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
        if isinstance(dim, Tensor):
            return apply_binary("minimum", self, dim)
        if dim is None:
            return _extreme("min", self, None, False)
        return self._picked(self.argmin(dim, True), dim, keepdim)

    def _picked(self: Tensor, index: Tensor, dim: int, keepdim: bool) -> MinMax:
        """The elements that `index` names along `dim`, and the index, with or without that dimension."""
        if not self.ndim:
            return MinMax(self.clone(), index)
        values = self.gather(dim, index)
        return MinMax(values, index) if keepdim else MinMax(values.squeeze(dim), index.squeeze(dim))

    def amax(self: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
        return _extreme("max", self, dim, keepdim)

    def amin(self: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
        return _extreme("min", self, dim, keepdim)

    def median(self: Tensor, dim: "int | None" = None, keepdim: bool = False) -> Any:
        """The lower median; with `dim` (values, indices)."""
        if dim is None:
            flat = self.reshape(-1)
            return flat[flat.argsort()[(flat.numel() - 1) // 2].item()]
        order = self.argsort(dim)
        return self._picked(wrap(np.take(array_of(order), [(self.shape[dim] - 1) // 2], axis=dim)), dim, keepdim)

    def any(self: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
        return wrap(array_of(self).any(axis=axes_of(dim), keepdims=keepdim))

    def all(self: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
        return wrap(array_of(self).all(axis=axes_of(dim), keepdims=keepdim))

    def count_nonzero(self: Tensor, dim: Any = None) -> Tensor:
        return wrap(as_array(np.count_nonzero(array_of(self), axis=axes_of(dim))))

    def cumsum(self: Tensor, dim: int, dtype: Any = None) -> Tensor:
        x = self if dtype is None else self.to(dtype)
        y = wrap(array_of(x).cumsum(axis=dim))._to(x.dtype if x.dtype.is_floating_point else _core.dtype.int64)
        return attach("cumsum", y, (x,), lambda g: np.flip(np.flip(g, dim).cumsum(axis=dim), dim))

    # Orders
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

    def bincount(self: Tensor, weights: Any = None, minlength: int = 0) -> Tensor:
        return wrap(np.bincount(array_of(self), None if weights is None else array_of(weights), minlength))

    def unique(self: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False) -> Any:
        """The different elements in order; with return_inverse and return_counts a tuple."""
        found = np.unique(array_of(self), return_inverse=return_inverse, return_counts=return_counts)
        if not isinstance(found, tuple):
            return like(found, self)
        return (like(found[0], self), *map(wrap, found[1:]))
