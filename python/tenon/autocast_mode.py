"""autocast: matrices are multiplied from factors rounded to fewer bits, with sums, weights and everything else in float32."""
from __future__ import annotations

import functools
import threading
from typing import Any

from . import _core
from .conversion import device_name, dtype, to_dtype

__all__ = ["autocast", "get_autocast_dtype", "is_autocast_enabled"]


_PLAIN = (dtype.float32, _core.ProductType(dtype.float32))


class _State(threading.local):
    now = _PLAIN  # the type, and what kernels are told


_state = _State()
_KINDS = (dtype.bfloat16, dtype.float16, dtype.float8_e4m3fn)
_SCALINGS = ("block", "tensor")


def product_type() -> "_core.ProductType":
    """What this thread multiplies float32 matrices in."""
    return _state.now[1]


def is_autocast_enabled(device_type: str = "cpu") -> bool:
    """Whether this thread multiplies matrices in less than float32."""
    return _state.now[0] != dtype.float32


def get_autocast_dtype(device_type: str = "cpu") -> dtype:
    """The type of autocast: the one in force, else bfloat16."""
    return _state.now[0] if is_autocast_enabled() else dtype.bfloat16


class autocast:
    """`with autocast("cpu", dtype=tenon.bfloat16):`, also a decorator.

    float16 is taken as such on a GPU, where small gradients need a GradScaler; on the CPU it means bfloat16, which needs none. float8_e4m3fn
    rounds the factors of linear layers to 8 bits with a scale for each 128 elements or 128 x 128 weights, as DeepSeek-V3 was trained; routers,
    pooling and classifying heads stay in float32, the output over the vocabulary and, on a GPU, attention in bfloat16. On the CPU that is a
    simulation, slower than float32. fp8_scaling="tensor", which is Tenon's own: one scale for each factor instead.
    Errors: RuntimeError for a device that this build lacks, and for another type; ValueError for another fp8_scaling.
    """

    def __init__(self, device_type: Any = "cpu", dtype: Any = None, enabled: bool = True, cache_enabled: "bool | None" = None,
                 fp8_scaling: str = "block") -> None:
        if enabled and str(device_type) != "cuda":  # scripts that were written for it run here
            device_name(device_type)
        kind = to_dtype("bfloat16" if dtype is None else dtype)
        if enabled and kind not in _KINDS:
            raise RuntimeError(f"[autocast] expected bfloat16, float16 or float8_e4m3fn, got {kind}")
        if fp8_scaling not in _SCALINGS:
            raise ValueError(f"[autocast] fp8_scaling: expected block or tensor, got {fp8_scaling!r}")
        self._now: Any = (kind, _core.ProductType(kind, fp8_scaling == "tensor")) if enabled else _PLAIN
        self._before: list[Any] = []

    def __enter__(self) -> "autocast":
        self._before.append(_state.now)
        _state.now = self._now
        return self

    def __exit__(self, *error: Any) -> None:
        _state.now = self._before.pop()

    def __call__(self, function: Any) -> Any:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            before, _state.now = _state.now, self._now
            try:
                return function(*args, **kwargs)
            finally:
                _state.now = before

        return wrapped
