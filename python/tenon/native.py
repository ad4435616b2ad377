"""Operations whose values and gradients the compiled half computes, for float32 tensors; NumPy computes the other types."""
from __future__ import annotations

from typing import Any, Callable, Sequence

from ._core import Tensor, dtype
from .autograd import attach, wants
from .grad_mode import state


def fits(*tensors: Any) -> bool:
    """Whether all tensors are float32."""
    return all(t is None or t.dtype == dtype.float32 for t in tensors)


def call(name: str, op: Callable[[list[Tensor]], Any], inputs: Sequence[Any], reads: str = "inputs") -> Tensor:
    """op(wanted), where `inputs` are the tensors that may want gradients, or None; the gradient reads the inputs, the result or nothing."""
    wanted = list({id(t): t for t in inputs if wants(t)}.values()) if state.enabled else []
    y, gradient = op(wanted)
    if gradient is None:
        return y  # type: ignore[no-any-return]
    saved = [t for t in inputs if t is not None] if reads == "inputs" else [y._handle()] if reads == "result" else []
    return attach(name, y, wanted, gradient.backward, saved, arrays=False)
