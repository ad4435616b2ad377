"""Loads the extension; if oneDNN is not where its relative path says, looks for the wheel that brings it."""
from __future__ import annotations

import os


def _quiet_threads() -> bool:
    """Lets OpenMP's threads spin for some microseconds instead of milliseconds before they sleep; True if that was set here.

    Between two loops of a forward pass that is enough. Spinning longer, they hold the cores against whatever runs next: with the
    default, NumPy's product after a forward pass waited for milliseconds. libgomp reads the variable once, when it is loaded.
    """
    if "GOMP_SPINCOUNT" in os.environ or "OMP_WAIT_POLICY" in os.environ:
        return False
    os.environ["GOMP_SPINCOUNT"] = "1000"
    return True


def _preload() -> None:
    import ctypes
    import importlib.metadata

    for file in importlib.metadata.files("onednn-cpu-gomp") or []:
        if file.name == "libdnnl.so.3":
            ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)
            return


_set = _quiet_threads()
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
finally:
    if _set:  # child processes decide for themselves
        del os.environ["GOMP_SPINCOUNT"]
