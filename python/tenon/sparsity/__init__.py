"""Sparse weights: dynamic sparse training (SET, RigL), pruning, and files without zeros. Models run faster by what is zero, too."""
from __future__ import annotations

from .callback import SparseTrainingCallback
from .files import pack_two_four, prune_two_four, rewrite_checkpoint, save_sparse
from .training import SparseTraining, density, sparse_layers

__all__ = ["SparseTraining", "SparseTrainingCallback", "density", "pack_two_four", "prune_two_four", "rewrite_checkpoint", "save_sparse",
           "sparse_layers"]
