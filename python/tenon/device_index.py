"""Indexing of arrays on a device: slices are views; rows named by integers or masks are gathered and scattered by kernels."""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import _core
from .device_array import DeviceArray, apply, as_array, device_of


def _parts(index: Any, ndim: int) -> list[Any]:
    """The index of every dimension, masks and integers as the host's arrays, the ellipsis spelled out."""
    parts = list(index) if isinstance(index, tuple) else [index]
    parts = [p.host() if isinstance(p, DeviceArray) else np.asarray(p) if isinstance(p, (list, np.ndarray)) else p for p in parts]
    taken = sum(0 if p is None or p is Ellipsis else p.ndim if isinstance(p, np.ndarray) and p.dtype == bool else 1 for p in parts)
    if taken > ndim:
        raise IndexError(f"too many indices: expected at most {ndim}, got {taken}")
    rest = [slice(None)] * (ndim - taken)
    at = next((i for i, p in enumerate(parts) if p is Ellipsis), len(parts))
    return [*parts[:at], *rest, *parts[at + 1 :]]


def _basic(parts: list[Any]) -> bool:
    return all(p is None or isinstance(p, slice) or (isinstance(p, (int, np.integer)) and not isinstance(p, (bool, np.bool_))) for p in parts)


def _sliced(a: DeviceArray, parts: list[Any]) -> DeviceArray:
    begin, shape, strides, d = a.begin, [], [], 0
    for p in parts:
        if p is None:
            shape.append(1)
            strides.append(0)
            continue
        n, step = a.shape[d], a.strides[d]
        if isinstance(p, slice):
            first, stop, by = p.indices(n)
            count = max(0, -(-(stop - first) // by))
            begin += first * step if count else 0
            shape.append(count)
            strides.append(step * by)
        else:
            if not -n <= p < n:
                raise IndexError(f"index {p} is out of bounds for axis {d} with size {n}")
            begin += int(p) % n * step
        d += 1
    return a.view(begin, shape, strides)


def _places(a: DeviceArray, parts: list[Any]) -> tuple[Any, list[int]]:
    """Where the elements that an index with arrays names begin in the memory, and the shape of what lies there one behind the other."""
    tail: list[int] = []
    lead = list(parts)
    step = 1
    while lead and isinstance(lead[-1], slice) and lead[-1] == slice(None) and len(tail) < a.ndim and a.strides[a.ndim - 1 - len(tail)] == step:
        lead.pop()
        n = a.shape[a.ndim - 1 - len(tail)]
        tail.insert(0, n)
        step *= n
    shape, strides = a.shape[: a.ndim - len(tail)], a.strides[: a.ndim - len(tail)]
    if len(lead) == len(shape) and all(isinstance(p, (int, np.integer)) or (isinstance(p, np.ndarray) and p.dtype != bool) for p in lead):
        at: Any = a.begin
        for d, (p, n, s) in enumerate(zip(lead, shape, strides)):
            numbers = np.asarray(p, np.int64)
            if numbers.size and not (-n <= numbers.min() and numbers.max() < n):
                wrong = numbers.min() if numbers.min() < -n else numbers.max()
                raise IndexError(f"index {wrong} is out of bounds for axis {d} with size {n}")
            at = at + np.where(numbers < 0, numbers + n, numbers) * s
        return np.asarray(at), tail
    grid: Any = np.asarray(a.begin)
    for d, (n, s) in enumerate(zip(shape, strides)):
        grid = grid + (np.arange(n) * s).reshape([-1 if i == d else 1 for i in range(len(shape))])
    return np.broadcast_to(grid, shape)[tuple(lead)], tail


def _rows(places: Any, width: int) -> tuple[Any, int]:
    """Places as numbers of rows: of `width` elements, or of the longest that all places are a multiple of."""
    flat = np.ascontiguousarray(places, np.int64).reshape(-1)
    unit = math.gcd(width, int(np.gcd.reduce(flat))) if flat.size else width
    unit = unit or width
    if unit != width:
        flat = (flat[:, None] + np.arange(0, width, unit)).reshape(-1)
    return _core.from_buffer(np.ascontiguousarray(flat // unit)), unit


def _whole(a: DeviceArray) -> Any:
    """The memory that an array lies in, as one row of elements."""
    return a.base._view([a.base.numel()])


def get_items(a: DeviceArray, index: Any) -> DeviceArray:
    parts = _parts(index, a.ndim)
    if _basic(parts):
        return _sliced(a, parts)
    places, tail = _places(a, parts)
    width, shape = math.prod(tail), [*places.shape, *tail]
    if not math.prod(shape):
        return DeviceArray(_core._array_zeros(shape, a.base.dtype, a.where))
    rows, unit = _rows(places, width)
    return DeviceArray(_core._array_take(_whole(a), rows, unit)._view(shape))


def _fitting(name: str, a: DeviceArray, value: Any, shape: Any) -> DeviceArray:
    device_of(name, [a, value])
    return apply("copy", as_array(value, a.kind, a.where).broadcast_to(tuple(shape)), to=a.kind)


def write(to: DeviceArray, value: Any) -> None:
    """Elements of `value`, broadcast, into the places of a view."""
    if not to.size:
        return
    source = _fitting("index_put", to, value, to.shape)
    if to.contiguous:
        to.tensor()._assign(source.tensor())
        return
    dims: list[list[int]] = []  # (size, stride) of what is left when neighbours that lie one behind the other are joined
    for n, s in zip(to.shape, to.strides):
        if n == 1:
            continue
        if dims and dims[-1][1] == n * s:
            dims[-1] = [dims[-1][0] * n, s]
        else:
            dims.append([n, s])
    width = dims.pop()[0] if dims[-1][1] == 1 else 1
    if len(dims) <= 2:
        (rows, row), (parts, part) = ([1, 0], [1, 0], *dims)[-2:]
        _core._array_move(_whole(to), to.begin, row, part, source.tensor(), parts * width, width, rows, parts, width)
        return
    places: Any = np.asarray(to.begin)
    for d, (n, s) in enumerate(dims):
        places = places + (np.arange(n) * s).reshape([-1 if i == d else 1 for i in range(len(dims))])
    numbers, unit = _rows(places, width)
    _core._array_put(_whole(to), numbers, unit, source.tensor(), False)


def set_items(a: DeviceArray, index: Any, value: Any, add: bool = False) -> None:
    parts = _parts(index, a.ndim)
    if _basic(parts) and not add:
        write(_sliced(a, parts), value)
        return
    places, tail = _places(a, parts)
    shape = [*places.shape, *tail]
    if not math.prod(shape):
        return
    source = _fitting("index_put", a, value, shape)
    rows, unit = _rows(places, math.prod(tail))
    _core._array_put(_whole(a), rows, unit, source.tensor(), add)
