"""torch.amp: autocast to bfloat16, and a scaler of losses for scripts that were written for float16."""
from __future__ import annotations

from ..autocast_mode import autocast
from .grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast"]
