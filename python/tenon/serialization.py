"""save and load: what is made of tensors, numbers, texts, lists and dicts, as safetensors with JSON inside; never pickle."""
from __future__ import annotations

import json
import math
import os
import tempfile
from typing import Any

from . import _core
from ._core import Tensor
from .conversion import as_tensor, device_name

__all__ = ["load", "save"]

_KEY = "tenon"  # of the metadata that holds the tree


def _tree(value: Any, tensors: list[tuple[str, Tensor]], seen: dict[int, str], path: str) -> Any:
    """What JSON can hold of a value: tensors become names, and everything that JSON changes is marked."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, Tensor):
        if id(value) not in seen:
            seen[id(value)] = f"{path or 'tensor'}"
            tensors.append((seen[id(value)], value.detach()))
        return {"tensor": seen[id(value)]}
    if isinstance(value, dict):
        return {"dict": [[_tree(k, tensors, seen, path), _tree(v, tensors, seen, f"{path}.{k}" if path else str(k))] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        items = [_tree(v, tensors, seen, f"{path}.{i}" if path else str(i)) for i, v in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, _core.dtype):
        return {"dtype": str(value).rpartition(".")[2]}
    if hasattr(value, "__array__"):
        array = as_tensor(value)
        return _tree(array if array.ndim else array.item(), tensors, seen, path)
    raise TypeError(f"[save] {path or 'the object'}: expected tensors, numbers, texts, lists, dicts, got {type(value).__name__}"
                    + ("; save its state_dict()" if hasattr(value, "state_dict") else ""))


def _value(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, list):
        return [_value(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    ((kind, inside),) = tree.items()
    if kind == "tensor":
        return tensors[inside]
    if kind == "dict":
        return {_value(k, tensors): _value(v, tensors) for k, v in inside}
    if kind == "tuple":
        return tuple(_value(item, tensors) for item in inside)
    return float(inside) if kind == "float" else _core.dtype.__members__[inside]


def save(obj: Any, f: Any, **options: Any) -> None:
    """Writes a state dict, or anything made of tensors, numbers, texts, lists, tuples and dicts, to a path or an open binary file.

    A path is written atomically: interrupted, the former file stays. Errors: TypeError naming what cannot be saved.
    """
    tensors: list[tuple[str, Tensor]] = []
    tree = _tree(obj, tensors, {}, "")
    names: set[str] = set()
    for name, _ in tensors:
        if name in names:
            raise ValueError(f"[save] two tensors of the name {name!r}")
        names.add(name)
    metadata = {_KEY: json.dumps(tree), "format": "pt"}
    if hasattr(f, "write"):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "saved")
            _core.save_file(tensors, path, metadata)
            with open(path, "rb") as file:
                f.write(file.read())
    else:
        _core.save_file(tensors, os.fspath(f), metadata)


def load(f: Any, map_location: Any = None, *, weights_only: bool = True, mmap: bool = False, **options: Any) -> Any:
    """Reads what save() wrote, a safetensors file, or the tensors of a file that torch.save wrote from a state dict.

    Nothing in a file is executed. mmap=True leaves the tensors over the mapped, read-only file.
    Errors: FileNotFoundError; ValueError for damaged files and pickles of anything else.
    """
    where = "cpu" if map_location is None or callable(map_location) or isinstance(map_location, dict) else device_name(map_location)
    if hasattr(f, "read"):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "saved")
            with open(path, "wb") as file:
                file.write(f.read())
            return _load(path, False, where)
    return _load(os.fspath(f), mmap, where)


def _load(path: str, mapped: bool, where: str) -> Any:
    with open(path, "rb") as file:
        zipped = file.read(2) == b"PK"
    tensors = dict(_core.load_torch_file(path)) if zipped else _core.load_file(path)
    if not mapped:
        tensors = {name: t.clone() if where == "cpu" else t.to(where) for name, t in tensors.items()}
    text = None if zipped else _core.safetensors_metadata(path).get(_KEY)
    if text is None:
        return tensors
    try:
        return _value(json.loads(text), tensors)
    except (KeyError, TypeError, ValueError, RecursionError, AttributeError) as error:
        raise ValueError(f"[load] {path}: damaged tree: {error!r}") from None
