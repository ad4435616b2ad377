"""Files without zeros, and 2:4 weights."""
from __future__ import annotations

import os
from typing import Any, Iterable

import numpy as np

from .. import _core
from .._core import Tensor
from ..conversion import as_tensor
from .training import sparse_layers


def save_sparse(model: Any, save_directory: "str | os.PathLike[str]", layout: str = "bitmask", max_density: float = 0.5) -> int:
    """model.save_pretrained() without the zeros of its weights; from_pretrained() opens the folder as the same model.

    layout: "bitmask" (compressed-tensors' sparse-bitmask: the values and a bit for each place), "2:4" (values and two bits for the place of
    each, for weights that have at most two in every four columns), or "dense" (save_pretrained alone: what Transformers opens). Weights with more
    than max_density of their elements are written whole. Returns how many weights were compressed. Errors: ValueError for another layout.
    """
    if layout not in ("bitmask", "2:4", "dense"):
        raise ValueError(f"[save_sparse] layout: expected one of bitmask, 2:4, dense, got {layout!r}")
    model.save_pretrained(save_directory)
    return 0 if layout == "dense" else rewrite_checkpoint(save_directory, save_directory, layout, max_density)


def rewrite_checkpoint(source: "str | os.PathLike[str]", target: "str | os.PathLike[str]", layout: str, max_density: float = 0.5) -> int:
    """Writes the weights and config.json of a checkpoint folder again in another layout (see save_sparse), to the same folder or another.

    "dense" makes what Transformers opens of a folder without zeros. Returns how many weights were compressed.
    Errors: FileNotFoundError, ValueError for what is no checkpoint.
    """
    return _core.rewrite_checkpoint(os.fspath(source), os.fspath(target), layout, max_density)


def prune_two_four(model: Any, layers: "Iterable[str] | None" = None) -> int:
    """Keeps the two largest of every four columns in each row of the sparse layers, in place; returns how many layers.

    Errors: as sparse_layers; ValueError for a layer whose columns are no multiple of 8.
    """
    chosen = sparse_layers(model, layers)
    for name, t in chosen:
        if len(t.shape) != 2 or t.shape[1] % 8:
            raise ValueError(f"[prune_two_four] {name}: expected a matrix with columns in multiples of 8, got {tuple(t.shape)}")
    for _, t in chosen:
        groups = np.abs(t.detach().numpy()).reshape(-1, 4)
        order = np.argsort(-groups, axis=1, kind="stable")[:, :2]
        mask = np.zeros(groups.shape, np.uint8)
        np.put_along_axis(mask, order, 1, axis=1)
        _core.sparse_apply([t.detach()], [as_tensor(mask.reshape(tuple(t.shape)))])
    return len(chosen)


def pack_two_four(weight: Any) -> "tuple[Tensor, Tensor]":
    """A 2:4 matrix as values and places, as hardware with 2:4 products takes them apart.

    Shapes: weight (N,K), K a multiple of 8, at most two elements in every four columns -> values (N, K/2) and places uint8 (N, K/8): two bits
    for each value, the first in the lowest bits, rising in every four columns. Errors: ValueError naming a group with more elements.
    """
    parts = dict(_core.sparse_tensors("x.weight", as_tensor(weight).detach(), "2:4"))
    return parts["x.compressed"], parts["x.meta"]
