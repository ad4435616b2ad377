"""torch.utils: what training scripts take from it, data sets and their loaders."""
from __future__ import annotations

from . import data  # noqa: F401
