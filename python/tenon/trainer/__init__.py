"""Training with Transformers' names: Trainer, TrainingArguments, callbacks, data collators, schedules."""
from __future__ import annotations

import importlib
from typing import Any


def _homes() -> dict[str, str]:
    from .. import _HOME

    return {name: module for name, module in _HOME.items() if module.startswith("trainer.")}


def __getattr__(name: str) -> Any:
    module = _homes().get(name) if not name.startswith("_") else None
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"tenon.{module}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_homes()})
