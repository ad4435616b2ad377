"""Products of tensors, softmax and einsum, with gradients."""
from __future__ import annotations

from typing import Any

from . import _core, native
from ._core import Tensor
from ._lazy import np
from .autocast_mode import product_type
from .autograd import attach
from .conversion import array_of, as_array, as_tensor, wrap
from .tensor_math import like, result_type, summed_to


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """The product of vectors, matrices, or stacks of matrices with broadcasting, as torch.matmul.

    Shapes: (...,M,K), (...,K,N) -> (...,M,N); a vector stands for one row or one column, which the result lacks.
    Errors: ValueError for shapes that do not fit.
    """
    if a.ndim >= 2 and b.ndim == 2 and native.fits(a, b) and a.shape[-1] == b.shape[0]:
        rows = a.reshape(-1, a.shape[-1]) if a.ndim > 2 and a.numel() else a
        if rows.ndim == 2:
            y = native.call("matmul", lambda w: _core.op_matmul(rows, b, w, product_type()), (rows, b))
            return y if rows is a else y.reshape(*a.shape[:-1], b.shape[1])
    kind = result_type(a, b)
    x, z = array_of(a.to(kind)), array_of(b.to(kind))
    if not x.ndim or not z.ndim:
        raise ValueError("[matmul] expected at least one dimension in both tensors")
    if x.shape[-1] != z.shape[-2 if z.ndim > 1 else 0]:
        raise ValueError(f"[matmul] expected (..., M, K) and (..., K, N), got {x.shape} and {z.shape}")
    try:
        out = np.matmul(x, z)
    except ValueError as error:
        raise ValueError(f"[matmul] {error}") from None
    y = wrap(as_array(out))
    want_a, want_b = a.requires_grad, b.requires_grad

    def backward(g: Any) -> Any:
        rows, columns = (x[None, :] if x.ndim == 1 else x), (z[:, None] if z.ndim == 1 else z)
        if z.ndim == 1:
            g = g[..., None]
        if x.ndim == 1:
            g = g[..., None, :]
        da = summed_to(np.matmul(g, np.swapaxes(columns, -1, -2)), rows.shape).reshape(x.shape) if want_a else None
        db = summed_to(np.matmul(np.swapaxes(rows, -1, -2), g), columns.shape).reshape(z.shape) if want_b else None
        return da, db

    return attach("matmul", y if y.dtype == kind else y._to(kind), (a, b), backward, [t for t, other in ((a, want_b), (b, want_a)) if other])


def softmax(t: Tensor, dim: int) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`."""
    if t.ndim and dim % t.ndim == t.ndim - 1 and native.fits(t):
        return native.call("softmax", lambda w: _core.op_softmax(t, w), (t,), reads="result")
    a = array_of(t)
    out = np.exp(a - a.max(axis=dim, keepdims=True)) if a.size else a.copy()
    out /= out.sum(axis=dim, keepdims=True)
    y = like(out, t)

    def backward(g: Any) -> Any:
        d = g * out
        return d - out * d.sum(axis=dim, keepdims=True)

    return attach("softmax", y, (t,), backward, (y._handle(),))


def log_softmax(t: Tensor, dim: int) -> Tensor:
    """x - log(sum(exp(x))) along `dim`."""
    if t.ndim and dim % t.ndim == t.ndim - 1 and native.fits(t):
        return native.call("log_softmax", lambda w: _core.op_log_softmax(t, w), (t,), reads="result")
    a = array_of(t)
    out = a - a.max(axis=dim, keepdims=True) if a.size else a.copy()
    out -= np.log(np.exp(out).sum(axis=dim, keepdims=True))
    y = like(out, t)
    return attach("log_softmax", y, (t,), lambda g: g - np.exp(out) * g.sum(axis=dim, keepdims=True), (y._handle(),))


def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products named by letters, as torch.einsum.

    Errors: RuntimeError for a gradient through a letter that one operand has twice.
    """
    tensors = [as_tensor(t) for t in (operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands)]
    kind = result_type(*tensors)
    arrays = [array_of(t.to(kind)) for t in tensors]
    spaced = equation.replace(" ", "")
    terms, arrow, result = spaced.partition("->")
    parts = terms.split(",")
    if not arrow:
        letters = terms.replace(",", "").replace(".", "")
        result = ("..." if "." in terms else "") + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    y = wrap(as_array(np.einsum(f"{terms}->{result}", *arrays, optimize=len(arrays) > 1)))

    def one(g: Any, i: int) -> Any:
        own = parts[i].replace(".", "")
        if len(set(own)) != len(own):
            raise RuntimeError(f"[einsum] gradient: {equation!r} takes a diagonal of operand {i}")
        others = [k for k in range(len(parts)) if k != i]
        known = set(result + "".join(parts[k] for k in others))
        kept = "".join(c for c in own if c in known)  # letters of this operand alone: it was summed over them
        dots = "..." if "." in parts[i] or "." in result or any("." in parts[k] for k in others) else ""
        d = np.einsum(",".join([result, *(parts[k] for k in others)]) + f"->{dots}{kept}", g, *(arrays[k] for k in others), optimize=len(others) > 0)
        width = d.ndim - len(kept)  # of what the dots stand for
        shape, lead = arrays[i].shape, arrays[i].ndim - len(own)
        if "." not in parts[i]:
            d = d.sum(axis=tuple(range(width)))
        elif width:
            at = parts[i].index(".")
            d = np.moveaxis(d, range(width), range(at, at + width))
            before, after = shape[:at], shape[at + lead :]
            present = [n for n, c in zip(before + after, own) if c in kept]
            d = summed_to(d, (*present[: sum(c in kept for c in own[:at])], *shape[at : at + lead], *present[sum(c in kept for c in own[:at]) :]))
        for k, c in enumerate(own):
            if c not in kept:
                axis = k if "." not in parts[i] or k < parts[i].index(".") else k + lead
                d = np.expand_dims(d, axis)
        return np.broadcast_to(d, shape)

    def backward(g: Any) -> Any:
        return tuple(one(g, i) if t.requires_grad else None for i, t in enumerate(tensors))

    return attach("einsum", y if y.dtype == kind else y._to(kind), tensors, backward, tensors)
