"""torch.utils: what training scripts take from it, data sets and their loaders, checkpoints of activations."""
from __future__ import annotations

from . import checkpoint, data  # noqa: F401
