"""Operations whose values and gradients the compiled half computes, for float32 tensors; NumPy computes the other types."""
from __future__ import annotations

from typing import Any, Callable, Sequence

from ._core import Tensor, dtype
from .autograd import attach
from .grad_mode import state


def fits(*tensors: Any) -> bool:
    """Whether all tensors are float32."""
    return all(t is None or t.dtype == dtype.float32 for t in tensors)


def call(name: str, op: Callable[..., Any], inputs: Sequence[Any], *arguments: Any) -> Tensor:
    """op(*inputs, *arguments, wanted), where `inputs` are those that may have gradients, None among them."""
    wanted = [t for t in inputs if t is not None and t.__dict__.get("_requires_grad")] if state.enabled else []
    y, gradient = op(*arguments, wanted)
    if gradient is None:
        return y
    return attach(name, y, inputs, gradient.backward, [t for t in inputs if t is not None], arrays=False)
