"""Sequences of different lengths as one tensor."""
from __future__ import annotations

from typing import Sequence

from ...conversion import Tensor
from ...functions import stack
from ..functional import pad

__all__ = ["pad_sequence"]


def pad_sequence(sequences: Sequence[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right") -> Tensor:
    """Sequences (L, ...) padded to the longest and stacked: (T, B, ...), or (B, T, ...) if batch_first."""
    if padding_side not in ("left", "right"):
        raise ValueError(f"[pad_sequence] padding_side: expected left or right, got {padding_side!r}")
    longest = max(len(s) for s in sequences)
    right = padding_side == "right"
    return stack([pad(s, (0, 0) * (s.ndim - 1) + ((0, longest - len(s)) if right else (longest - len(s), 0)), value=padding_value) for s in sequences],
                 0 if batch_first else 1)
