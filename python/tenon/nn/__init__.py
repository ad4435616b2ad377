"""The part of torch.nn that inference scripts touch: functional, and the module type that models are."""
from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "functional":
        import importlib

        return importlib.import_module("tenon.nn.functional")
    if name == "Module":
        from ..modeling import PreTrainedModel

        return PreTrainedModel
    raise AttributeError(f"module 'tenon.nn' has no attribute {name!r}")
