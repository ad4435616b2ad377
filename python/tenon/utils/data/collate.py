"""How examples become a batch."""
from __future__ import annotations

from typing import Any, Mapping

from ..._core import Tensor
from ...conversion import as_tensor, dtype, wrap
from ...functions import stack, tensor

__all__ = ["default_collate", "default_convert"]


def default_collate(batch: Any) -> Any:
    """Stacks tensors, arrays and numbers; goes into dicts, tuples and lists; leaves texts as a list.

    Errors: ValueError for parts of different length or shape; TypeError for what cannot be stacked.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(batch)
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, float):
        return tensor(batch, dtype=dtype.float64)
    if isinstance(first, (bool, int)):
        return tensor(batch)
    if hasattr(first, "__array__"):
        return stack([as_tensor(item) if item.ndim else wrap(item) for item in batch])
    if isinstance(first, Mapping):
        return {key: default_collate([item[key] for item in batch]) for key in first}
    if isinstance(first, (tuple, list)):
        if any(len(item) != len(first) for item in batch):
            raise ValueError("[default_collate] expected examples of one length")
        parts = [default_collate(list(column)) for column in zip(*batch)]
        return type(first)(*parts) if hasattr(first, "_fields") else parts
    raise TypeError(f"[default_collate] expected tensors, arrays, numbers, texts, dicts, tuples or lists, got {type(first).__name__}")


def default_convert(data: Any) -> Any:
    """Turns arrays into tensors; goes into dicts, tuples and lists."""
    if isinstance(data, (Tensor, str, bytes)):
        return data
    if hasattr(data, "__array__"):
        return as_tensor(data)
    if isinstance(data, Mapping):
        return {key: default_convert(value) for key, value in data.items()}
    return [default_convert(item) for item in data] if isinstance(data, (tuple, list)) else data
