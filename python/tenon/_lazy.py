"""Modules that are imported when first used: NumPy starts threads and costs more than all of Tenon."""
from __future__ import annotations

import importlib
from typing import Any


class LazyModule:
    """Stands for a module; the first use of an attribute imports it."""

    def __init__(self, name: str, hint: str = "") -> None:
        self.__dict__["_name"] = name
        self.__dict__["_hint"] = hint

    def __getattr__(self, attribute: str) -> Any:
        try:
            module = importlib.import_module(self._name)
        except ImportError as error:
            raise ImportError(f"this needs the package {self._name}{self._hint}") from error
        value = getattr(module, attribute)
        self.__dict__[attribute] = value  # the next use does not come here
        return value


np: Any = LazyModule("numpy")
