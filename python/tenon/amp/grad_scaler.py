"""GradScaler: losses are scaled up before backward(), gradients down before step(); steps with infinite gradients are left out."""
from __future__ import annotations

import math
from typing import Any

from .. import _core
from .._core import Tensor, dtype
from ..grad_mode import no_grad

__all__ = ["GradScaler"]


class GradScaler:
    """As torch.amp.GradScaler. bfloat16 has the range of float32 and needs none; scripts that use one run with the same results."""

    def __init__(self, device: str = "cpu", init_scale: float = 2.0**16, growth_factor: float = 2.0, backoff_factor: float = 0.5,
                 growth_interval: int = 2000, enabled: bool = True) -> None:
        if enabled and growth_factor <= 1:
            raise ValueError(f"[GradScaler] growth_factor: expected more than 1, got {growth_factor}")
        if enabled and not 0 < backoff_factor < 1:
            raise ValueError(f"[GradScaler] backoff_factor: expected between 0 and 1, got {backoff_factor}")
        self._scale, self._growth, self._backoff, self._interval = float(init_scale), growth_factor, backoff_factor, growth_interval
        self._enabled = enabled
        self._since = 0  # steps since an infinity or the last growth
        self._found: dict[int, bool] = {}  # optimiser -> whether its gradients hold what is not finite

    def is_enabled(self) -> bool:
        return self._enabled

    def get_scale(self) -> float:
        return self._scale if self._enabled else 1.0

    def scale(self, outputs: Any) -> Any:
        """The tensor, or each of several, times the scale."""
        if not self._enabled:
            return outputs
        return outputs * self._scale if isinstance(outputs, Tensor) else type(outputs)(self.scale(o) for o in outputs)

    def unscale_(self, optimizer: Any) -> None:
        """Divides the gradients of an optimiser's parameters by the scale, before they are clipped. Errors: RuntimeError for a second time."""
        if not self._enabled:
            return
        if id(optimizer) in self._found:
            raise RuntimeError("[GradScaler] unscale_() has already been called on this optimizer since the last update()")
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        finite = True
        if all(g.dtype == dtype.float32 for g in gradients):
            _core.scale_in_place(gradients, 1 / self._scale)
            finite = math.isfinite(_core.grad_norm(gradients))  # its squares are summed in double
        else:
            with no_grad():
                for g in gradients:
                    g.mul_(1 / self._scale)
                    finite = finite and bool(g.isfinite().all())
        self._found[id(optimizer)] = not finite

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """optimizer.step(), unless a gradient is infinite or NaN."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if id(optimizer) not in self._found:
            self.unscale_(optimizer)
        return None if self._found[id(optimizer)] else optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """Lowers the scale after an infinity, raises it after growth_interval steps without one."""
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        elif any(self._found.values()):
            self._scale, self._since = self._scale * self._backoff, 0
        else:
            self._since += 1
            if self._since == self._interval:
                self._scale, self._since = self._scale * self._growth, 0
        self._found.clear()

    def state_dict(self) -> dict[str, Any]:
        if not self._enabled:
            return {}
        return {"scale": self._scale, "growth_factor": self._growth, "backoff_factor": self._backoff, "growth_interval": self._interval,
                "_growth_tracker": self._since}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self._enabled:
            self._scale, self._growth, self._backoff, self._interval, self._since = (
                state_dict[k] for k in ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker"))
