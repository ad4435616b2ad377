"""Learning with experts: balance, a growing number of active experts, distillation into and out of mixtures, and what routers do with domains."""
from __future__ import annotations

from typing import Any

from .. import _HOME
from .._lazy import exports

_PREFIX = "experts."
_get, __dir__, __all__ = exports(globals(), {name: module.removeprefix(_PREFIX) for name, module in _HOME.items() if module.startswith(_PREFIX)})


def __getattr__(name: str) -> Any:  # for type checkers a function
    return _get(name)
