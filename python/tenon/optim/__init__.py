"""Optimisers with PyTorch's (Adafactor: Transformers', AdamW8bit: bitsandbytes') names, arguments and numbers; lr_scheduler beside them."""
from __future__ import annotations

from . import lr_scheduler
from .algorithms import SGD, Adafactor, Adam, AdamW, AdamW8bit, Lion
from .optimizer import Optimizer

__all__ = ["Adafactor", "Adam", "AdamW", "AdamW8bit", "Lion", "Optimizer", "SGD", "lr_scheduler"]
