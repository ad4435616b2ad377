"""Reading and writing safetensors files, with the names of safetensors.torch."""
from __future__ import annotations

import os
from typing import Any, Mapping

from . import _core
from .conversion import Tensor, as_tensor

__all__ = ["load_file", "save_file"]


def load_file(filename: "str | os.PathLike[str]", device: Any = "cpu") -> dict[str, Tensor]:
    """The tensors of a file by name, read-only over its mapped memory. Errors: FileNotFoundError; ValueError for damage."""
    return _core.load_file(os.fspath(filename))


def save_file(tensors: Mapping[str, Any], filename: "str | os.PathLike[str]", metadata: Mapping[str, str] | None = None) -> None:
    """Writes tensors (or arrays) in place of what was there, atomically."""
    _core.save_file([(name, as_tensor(t)) for name, t in tensors.items()], os.fspath(filename), dict(metadata or {}))
