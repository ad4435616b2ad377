"""Loads the extension; if oneDNN is not where its relative path says, looks for the wheel that brings it."""
from __future__ import annotations


def _preload() -> None:
    import ctypes
    import importlib.metadata

    for file in importlib.metadata.files("onednn-cpu-gomp") or []:
        if file.name == "libdnnl.so.3":
            ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)
            return


try:
    from . import _core  # noqa: F401
except ImportError as error:
    if "libdnnl" not in str(error):
        raise
    try:
        _preload()
    except (ImportError, OSError) as cause:
        raise ImportError(f"{error}; install it with pip install onednn-cpu-gomp==2023.2.0") from cause
    from . import _core  # noqa: F401
