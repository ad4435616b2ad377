"""torch.nn.utils: gradients clipped, parameters as one vector, sequences padded."""
from __future__ import annotations

import math
from typing import Any, Iterable

from ... import _core
from ...conversion import Tensor, array_of, dtype, wrap
from ...functions import cat
from ...grad_mode import no_grad
from . import rnn  # noqa: F401

__all__ = ["clip_grad_norm_", "clip_grad_value_", "get_total_norm", "parameters_to_vector", "vector_to_parameters"]


def _gradients(parameters: Any) -> list[Tensor]:
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in parameters if p.grad is not None]


def get_total_norm(tensors: Iterable[Tensor], norm_type: float = 2.0) -> Tensor:
    """The norm of all elements of all tensors together."""
    norms = [t.detach().norm(norm_type) for t in tensors]
    if not norms:
        return _core.zeros([], dtype.float32)
    return cat([n.reshape(1).float() for n in norms]).norm(norm_type)


def clip_grad_norm_(parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: Any = None) -> Tensor:
    """Scales the gradients, in place, so that their common norm is at most max_norm; returns the norm before.

    Errors: RuntimeError for a norm that is not finite, if error_if_nonfinite.
    """
    gradients = _gradients(parameters)
    norm_type = float(norm_type)
    fast = norm_type == 2 and all(g.dtype == dtype.float32 for g in gradients) and not error_if_nonfinite
    if fast and gradients:
        return wrap(_core.clip_grad_norm(gradients, float(max_norm)))._to(dtype.float32)
    with no_grad():
        total = get_total_norm(gradients, norm_type)
        if error_if_nonfinite and not math.isfinite(total.item()):
            raise RuntimeError(f"[clip_grad_norm_] the norm of the gradients is {total.item()}")
        factor = min(1.0, max_norm / (total.item() + 1e-6))
        if factor < 1 or math.isnan(factor):
            for g in gradients:
                g.mul_(factor)
    return total


def clip_grad_value_(parameters: Any, clip_value: float, foreach: Any = None) -> None:
    """Clips every gradient, in place, to [-clip_value, clip_value]."""
    with no_grad():
        for g in _gradients(parameters):
            g.clamp_(-clip_value, clip_value)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements one after another."""
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """The other way: writes into the parameters what parameters_to_vector() would read from them."""
    at, a = 0, array_of(vec)
    with no_grad():
        for p in parameters:
            p.copy_(wrap(a[at : at + p.numel()].reshape(tuple(p.shape))))
            at += p.numel()
