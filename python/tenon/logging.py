"""How much Tenon says: warnings go to the logger "tenon" of Python's logging."""
from __future__ import annotations

import importlib
from typing import Any

_logging: Any = importlib.import_module("logging")


def get_logger(name: "str | None" = None) -> Any:
    return _logging.getLogger(name or "tenon")


def set_verbosity(level: int) -> None:
    _logging.getLogger("tenon").setLevel(level)


def set_verbosity_error() -> None:
    set_verbosity(_logging.ERROR)


def set_verbosity_warning() -> None:
    set_verbosity(_logging.WARNING)


def set_verbosity_info() -> None:
    set_verbosity(_logging.INFO)


def set_verbosity_debug() -> None:
    set_verbosity(_logging.DEBUG)


def get_verbosity() -> int:
    return _logging.getLogger("tenon").getEffectiveLevel()
