"""Shapes, orders of dimensions and indexing of tensors, and their gradients."""
# mypy: disable-error-code="misc"
# (the methods are written for Tensor, which the stub derives from their class)
from __future__ import annotations

import math
from typing import Any, Callable

from ._core import Tensor
from ._lazy import np
from .autograd import attach, view_backward, wants
from .conversion import array_of, as_array, as_tensor, host_array, placed, wrap
from .grad_mode import state
from .tensor_math import like, operand, result_type, summed_to


def sizes_of(args: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(args[0]) if len(args) == 1 and isinstance(args[0], (tuple, list)) else tuple(int(a) for a in args)


def index_of(index: Any) -> Any:
    """An index as NumPy takes it."""
    if isinstance(index, tuple):
        return tuple(index_of(i) for i in index)
    if isinstance(index, list):
        return np.asarray([host_array(i) if isinstance(i, Tensor) else i for i in index], dtype=None if index else "int64")
    return host_array(index) if isinstance(index, Tensor) else index


def _is_basic(index: Any) -> bool:
    """Whether an index names no element twice: integers, slices, ellipsis, None, a mask."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(isinstance(i, (int, slice, type(None), type(...))) or getattr(i, "dtype", None) == bool for i in parts)


def moved(op: str, t: Tensor, move: Callable[[Any], Any], back: Callable[[Any], Any]) -> Tensor:
    """The result of an operation that only moves elements, in the same type; `back` moves the gradient."""
    try:
        y = like(move(array_of(t)), t)
    except np.exceptions.AxisError as error:
        raise IndexError(f"[{op}] {error} of shape {tuple(t.shape)}") from None
    return attach(op, y, (t,), back)


def view_of(op: str, t: Tensor, y: Tensor) -> Tensor:
    """A tensor over the same memory as `t`, all of it or some of its rows, with its gradient."""
    if not state.enabled:
        return y
    base = t.__dict__.get("_base", t)
    if wants(t):
        attach(op, y, (t,), view_backward(t, y))
    y.__dict__.update(_base=base, _seen=base.__dict__.get("_node"))
    return y


def _along(shape: Any, index: Any, dim: int) -> Any:
    """The index arrays that name, for each element of `index`, its place along `dim`."""
    grid = list(np.ogrid[tuple(slice(0, n) for n in index.shape)])
    grid[dim % max(len(shape), 1)] = index
    return tuple(grid)


class ShapeMethods:
    """Shapes and indexing of Tensor."""

    def view(self: Tensor, *shape: Any) -> Tensor:
        """The same elements under another shape; one size may be -1. A dtype instead reads the same bytes as that type."""
        if len(shape) == 1 and hasattr(shape[0], "itemsize"):
            return self._reinterpret(shape[0])
        return self.reshape(*shape)

    def reshape(self: Tensor, *shape: Any) -> Tensor:
        sizes = list(sizes_of(shape))
        if sizes.count(-1) == 1:
            known = math.prod(s for s in sizes if s != -1)
            if known == 0 or self.numel() % known:
                raise ValueError(f"[view] expected a shape for {self.numel()} elements, got {tuple(sizes)}")
            sizes[sizes.index(-1)] = self.numel() // known
        return view_of("view", self, self._view(sizes))

    def view_as(self: Tensor, other: Tensor) -> Tensor:
        return self.reshape(other.shape)

    reshape_as = view_as

    def flatten(self: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        s, n = self.shape, self.ndim
        if not n:
            return self.reshape(1)
        start, end = start_dim % n, end_dim % n
        return self.reshape([*s[:start], math.prod(s[start : end + 1]), *s[end + 1 :]])

    def unflatten(self: Tensor, dim: int, sizes: Any) -> Tensor:
        s, at = self.shape, dim % self.ndim
        sizes = list(sizes)
        if -1 in sizes:
            sizes[sizes.index(-1)] = s[at] // math.prod(n for n in sizes if n != -1)
        return self.reshape([*s[:at], *sizes, *s[at + 1 :]])

    def ravel(self: Tensor) -> Tensor:
        return self.reshape(-1)

    def squeeze(self: Tensor, dim: Any = None) -> Tensor:
        dims = range(self.ndim) if dim is None else [d % max(self.ndim, 1) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
        return self.reshape([s for i, s in enumerate(self.shape) if s != 1 or i not in dims])

    def unsqueeze(self: Tensor, dim: int) -> Tensor:
        at = dim % (self.ndim + 1)
        return self.reshape([*self.shape[:at], 1, *self.shape[at:]])

    def permute(self: Tensor, *dims: Any) -> Tensor:
        order = sizes_of(dims)
        return moved("permute", self, lambda a: np.transpose(a, order), lambda g: np.transpose(g, np.argsort([d % len(order) for d in order])))

    def transpose(self: Tensor, dim0: int, dim1: int) -> Tensor:
        return moved("transpose", self, lambda a: np.swapaxes(a, dim0, dim1), lambda g: np.swapaxes(g, dim0, dim1))

    swapaxes = transpose

    def movedim(self: Tensor, source: Any, destination: Any) -> Tensor:
        return moved("movedim", self, lambda a: np.moveaxis(a, source, destination), lambda g: np.moveaxis(g, destination, source))

    def t(self: Tensor) -> Tensor:
        return moved("t", self, np.transpose, np.transpose)

    @property
    def T(self: Tensor) -> Tensor:
        return self.t()

    @property
    def mT(self: Tensor) -> Tensor:
        return self.transpose(-1, -2)

    def flip(self: Tensor, *dims: Any) -> Tensor:
        axes = sizes_of(dims)
        return moved("flip", self, lambda a: np.flip(a, axes), lambda g: np.flip(g, axes))

    def roll(self: Tensor, shifts: Any, dims: Any = None) -> Tensor:
        back = tuple(-s for s in shifts) if isinstance(shifts, (tuple, list)) else -shifts
        return moved("roll", self, lambda a: np.roll(a, shifts, dims), lambda g: np.roll(g, back, dims))

    def expand(self: Tensor, *sizes: Any) -> Tensor:
        """Repeats dimensions of size 1; -1 keeps a size. Unlike PyTorch's the result has memory of its own."""
        wanted = sizes_of(sizes)
        shape = tuple(self.shape)
        own = (1,) * (len(wanted) - self.ndim) + shape
        full = [o if w == -1 else w for w, o in zip(wanted, own)]
        return moved("expand", self, lambda a: np.broadcast_to(a, full), lambda g: summed_to(g, shape))

    def expand_as(self: Tensor, other: Tensor) -> Tensor:
        return self.expand(other.shape)

    def repeat(self: Tensor, *sizes: Any) -> Tensor:
        times = sizes_of(sizes)
        shape = (1,) * (len(times) - self.ndim) + tuple(self.shape)

        def back(g: Any) -> Any:
            return g.reshape([n for pair in zip(times, shape) for n in pair]).sum(axis=tuple(range(0, 2 * len(times), 2)))

        return moved("repeat", self, lambda a: np.tile(a, times), back)

    def repeat_interleave(self: Tensor, repeats: Any, dim: "int | None" = None) -> Tensor:
        x = self.reshape(-1) if dim is None else self
        axis = 0 if dim is None else dim
        counts = host_array(repeats) if isinstance(repeats, Tensor) else repeats
        return x.index_select(axis, wrap(np.repeat(np.arange(x.shape[axis]), counts)))

    def chunk(self: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        step = max(1, -(-self.shape[dim] // chunks))
        return self.split(step, dim)

    def split(self: Tensor, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
        n = self.shape[dim]
        sizes = [min(split_size, n - i) for i in range(0, n, split_size)] if isinstance(split_size, int) else list(split_size)
        if sum(sizes) != n:
            raise ValueError(f"[split] expected sizes that add up to {n}, got {sizes}")
        before = (slice(None),) * (dim % self.ndim)
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        return tuple(self[(*before, slice(start, start + size))] for start, size in zip(starts, sizes))

    def unbind(self: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
        return tuple(self if dim % self.ndim == 0 else self.movedim(dim, 0))

    def narrow(self: Tensor, dim: int, start: int, length: int) -> Tensor:
        return self[(*(slice(None),) * (dim % self.ndim), slice(start, start + length))]

    def select(self: Tensor, dim: int, index: int) -> Tensor:
        return self[(*(slice(None),) * (dim % self.ndim), index)]

    def tril(self: Tensor, diagonal: int = 0) -> Tensor:
        return moved("tril", self, lambda a: np.tril(a, diagonal), lambda g: np.tril(g, diagonal))

    def triu(self: Tensor, diagonal: int = 0) -> Tensor:
        return moved("triu", self, lambda a: np.triu(a, diagonal), lambda g: np.triu(g, diagonal))

    def diagonal(self: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
        places = np.diagonal(np.arange(self.numel()).reshape(tuple(self.shape)), offset, dim1, dim2)
        return self.reshape(-1)[wrap(np.ascontiguousarray(places))]

    def diag(self: Tensor, diagonal: int = 0) -> Tensor:
        """The diagonal of a matrix, or a matrix with a vector on its diagonal."""
        if self.ndim == 2:
            return self.diagonal(diagonal)
        return moved("diag", self, lambda a: np.diag(a, diagonal), lambda g: np.diagonal(g, diagonal))

    # Indexing
    def __getitem__(self: Tensor, index: Any) -> Tensor:
        """As NumPy and PyTorch; integers and slices of the first dimension share memory."""
        if isinstance(index, int) and not isinstance(index, bool):
            n = len(self)
            if not -n <= index < n:
                raise IndexError(f"[index] expected an index in [-{n}, {n}), got {index}")
            i = index % n
            return view_of("select", self, self._rows(i, i + 1)._view(self.shape[1:]))
        if isinstance(index, slice) and self.ndim:
            start, stop, step = index.indices(self.shape[0])
            if step == 1:
                return view_of("slice", self, self._rows(start, max(start, stop)))
        at, shape = index_of(index), tuple(self.shape)

        def back(g: Any) -> Any:
            d = np.zeros(shape, g.dtype, like=g)
            if _is_basic(at):
                d[at] = g
            else:
                np.add.at(d, at, g)
            return d

        return moved("index", self, lambda a: a[at], back)

    def __setitem__(self: Tensor, index: Any, value: Any) -> None:
        from .tensor_in_place import set_items

        set_items(self, index_of(index), value)

    def take(self: Tensor, index: Tensor) -> Tensor:
        return self.reshape(-1)[index]

    def gather(self: Tensor, dim: int, index: Tensor) -> Tensor:
        """y[i][j] = x[index[i][j]][j] for dim=0, and so on."""
        at, shape = host_array(as_tensor(index)), tuple(self.shape)
        if at.ndim != len(shape):
            raise IndexError(f"[gather] expected an index with {len(shape)} dimensions, got {at.ndim}")
        n = shape[dim] if shape else 1
        if at.size and not (0 <= at.min() and at.max() < n):
            raise IndexError(f"[gather] expected indices in [0, {n}), got {at.min()} to {at.max()}")
        if not shape:
            return self.clone()
        places = _along(shape, at, dim)

        def back(g: Any) -> Any:
            d = np.zeros(shape, g.dtype, like=g)
            np.add.at(d, places, g)
            return d

        return moved("gather", self, lambda a: a[places], back)

    def take_along_dim(self: Tensor, indices: Tensor, dim: "int | None" = None) -> Tensor:
        return self.reshape(-1).gather(0, indices.reshape(-1)) if dim is None else self.gather(dim, indices)

    def index_select(self: Tensor, dim: int, index: Tensor) -> Tensor:
        return self[(*(slice(None),) * (dim % self.ndim), index)]

    def masked_select(self: Tensor, mask: Tensor) -> Tensor:
        shape = np.broadcast_shapes(tuple(self.shape), tuple(mask.shape))
        return self.expand(shape)[mask.expand(shape)]

    def nonzero(self: Tensor, as_tuple: bool = False) -> Any:
        found = np.nonzero(array_of(self))
        return tuple(map(wrap, found)) if as_tuple else wrap(np.stack(found, -1))

    def masked_fill(self: Tensor, mask: Any, value: Any) -> Tensor:
        """`value` (a number or a tensor with one element) where the mask holds."""
        at = array_of(as_tensor(mask))
        if at.dtype != bool:
            raise RuntimeError(f"[masked_fill] expected a bool mask, got {as_tensor(mask).dtype}")
        filler = array_of(value) if isinstance(value, Tensor) else value
        shape = tuple(self.shape)
        y = like(np.where(at, as_array(filler).astype(array_of(self).dtype), array_of(self)), self)

        def backward(g: Any) -> Any:
            return summed_to(np.where(at, 0, g), shape), np.where(at, g, 0).sum() if isinstance(value, Tensor) else None

        return attach("masked_fill", y, (self, value), backward)

    def where(self: Tensor, condition: Any, other: Any) -> Tensor:
        """`self` where the condition holds, else `other`."""
        return choose(condition, self, other)

    def scatter(self: Tensor, dim: int, index: Tensor, src: Any) -> Tensor:
        """A copy with y[index[i][j]][j] = src[i][j] for dim=0, and so on."""
        return _scattered("scatter", self, dim, index, src)

    def scatter_add(self: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
        return _scattered("scatter_add", self, dim, index, src)

    def index_add(self: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
        at, axis = host_array(index), dim
        a = array_of(self).copy()
        places = (*(slice(None),) * (axis % self.ndim), at)
        np.add.at(a, places, array_of(source) * np.asarray(alpha, a.dtype))
        return attach("index_add", like(a, self), (self, source), lambda g: (g, g[places] * alpha))


def _scattered(op: str, t: Tensor, dim: int, index: Tensor, src: Any) -> Tensor:
    at, a = host_array(index), array_of(t).copy()
    places = _along(a.shape, at, dim)
    values = array_of(src)[tuple(slice(0, n) for n in at.shape)] if isinstance(src, Tensor) else src
    add = op == "scatter_add"
    if add:
        np.add.at(a, places, values)
    else:
        a[places] = values

    def backward(g: Any) -> Any:
        kept = g
        if not add:
            kept = g.copy()
            kept[places] = 0
        if not isinstance(src, Tensor):
            return kept, None
        d = np.zeros(tuple(src.shape), g.dtype, like=g)
        d[tuple(slice(0, n) for n in at.shape)] = g[places]
        return kept, d

    return attach(op, like(a, t), (t, src), backward)


def choose(condition: Any, x: Any, y: Any) -> Tensor:
    """x where the condition holds, else y, with broadcasting."""
    at = array_of(as_tensor(condition)).astype(bool)
    x, y = operand(x), operand(y)
    kind = result_type(x, y)
    a, b = (array_of(v.to(kind)) if isinstance(v, Tensor) else as_array(v) for v in (x, y))
    z = wrap(np.where(at, a, b))
    return attach("where", z if z.dtype == kind else z._to(kind), (x, y),
                  lambda g: (summed_to(np.where(at, g, 0), a.shape), summed_to(np.where(at, 0, g), b.shape)))
