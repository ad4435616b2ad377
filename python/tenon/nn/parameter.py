"""Parameters: tensors that a Module lists as its own and that want gradients."""
from __future__ import annotations

from typing import Any

from ..conversion import Tensor, as_tensor

__all__ = ["Buffer", "Parameter"]


class _Parameters(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, Tensor) and value.__dict__.get("_parameter", False)


class Parameter(metaclass=_Parameters):
    """`Parameter(tensor)` is a tensor over the same memory that requires grad; models' weights are instances, too."""

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Any:
        t = as_tensor([] if data is None else data).detach()
        t.__dict__["_parameter"] = True
        t.requires_grad = requires_grad
        return t


def Buffer(data: Any, persistent: bool = True) -> Tensor:
    """A tensor that belongs to a Module's state without being trained."""
    t = as_tensor(data).detach()
    t.__dict__["_buffer"] = persistent
    return t
