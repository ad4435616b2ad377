"""Modules that are imported when first used: NumPy starts threads and costs more than all of Tenon."""
from __future__ import annotations

import importlib
from typing import Any, Callable, Iterable, Mapping


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


def exports(package: "dict[str, Any]", home: Mapping[str, str], modules: Iterable[str] = ()) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """__getattr__, __dir__ and __all__ of a package (its globals()) whose names are imported when they are first used: `home` says from which
    of its modules."""
    own = package["__name__"]

    def get(name: str) -> Any:
        if name in home:
            value = getattr(importlib.import_module(f".{home[name]}", own), name)
        elif name in modules:
            value = importlib.import_module(f".{name}", own)
        else:
            raise AttributeError(f"module {own!r} has no attribute {name!r}")
        package[name] = value
        return value

    return get, lambda: sorted({*package, *home, *modules}), sorted(home)
