"""autocast: matrices are multiplied from factors rounded to bfloat16, with sums, weights and everything else in float32."""
from __future__ import annotations

import functools
import threading
from typing import Any

from .conversion import check_device, dtype, to_dtype

__all__ = ["autocast", "get_autocast_dtype", "is_autocast_enabled"]


class _State(threading.local):
    enabled = False


_state = _State()


def is_autocast() -> bool:
    return _state.enabled


def is_autocast_enabled(device_type: str = "cpu") -> bool:
    """Whether this thread multiplies matrices in bfloat16."""
    return _state.enabled


def get_autocast_dtype(device_type: str = "cpu") -> dtype:
    """The type of autocast: bfloat16."""
    return dtype.bfloat16


class autocast:
    """`with autocast("cpu", dtype=tenon.bfloat16):`, also a decorator. float16 means bfloat16 here, which needs no scaling of losses.

    Errors: RuntimeError for a device that this build lacks, and for a type of another size.
    """

    def __init__(self, device_type: Any = "cpu", dtype: Any = None, enabled: bool = True, cache_enabled: "bool | None" = None) -> None:
        if enabled and str(device_type) != "cuda":  # scripts that were written for it run here
            check_device(device_type)
        kind = to_dtype("bfloat16" if dtype is None else dtype)
        if enabled and (kind.itemsize != 2 or not kind.is_floating_point):
            raise RuntimeError(f"[autocast] expected bfloat16 or float16, got {kind}")
        self._enabled = bool(enabled)
        self._before: list[bool] = []

    def __enter__(self) -> "autocast":
        self._before.append(_state.enabled)
        _state.enabled = self._enabled
        return self

    def __exit__(self, *error: Any) -> None:
        _state.enabled = self._before.pop()

    def __call__(self, function: Any) -> Any:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            before, _state.enabled = _state.enabled, self._enabled
            try:
                return function(*args, **kwargs)
            finally:
                _state.enabled = before

        return wrapped
