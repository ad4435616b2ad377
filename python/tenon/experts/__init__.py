"""Learning with experts: balance, a growing number of active experts, distillation into and out of mixtures, and what routers do with domains."""
from __future__ import annotations

import importlib
from typing import Any


def _homes() -> dict[str, str]:
    from .. import _HOME

    return {name: module for name, module in _HOME.items() if module.startswith("experts.")}


def __getattr__(name: str) -> Any:
    module = _homes().get(name) if not name.startswith("_") else None
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"tenon.{module}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_homes()})
