"""Operations on tensors that write to their memory: PyTorch's rules for leaves, views and gradients."""
# mypy: disable-error-code="misc"
# (the methods are written for Tensor, which the stub derives from their class)
from __future__ import annotations

import math
from typing import Any

from ._core import Tensor, dtype
from ._lazy import np
from .autograd import Node, attach, wanted, wants
from .conversion import array_of, as_array, as_tensor, is_copied, wrap
from .grad_mode import state
from .random import generator
from .tensor_math import apply_binary, summed_to


def writable(op: str, t: Tensor) -> None:
    """Makes sure that `t` may be written to. Errors: TypeError for mapped files; RuntimeError for leaves that require grad."""
    d = t.__dict__
    if state.enabled:
        if wants(t) and "_node" not in d:
            raise RuntimeError(f"[{op}] a leaf tensor that requires grad is being used in an in-place operation; use no_grad()")
        base = d.get("_base")
        if base is not None and base.__dict__.get("_requires_grad") and "_node" not in base.__dict__:
            raise RuntimeError(f"[{op}] a view of a leaf tensor that requires grad is being used in an in-place operation; use no_grad()")
    prepare = d.get("_prepare")
    if prepare is not None:
        prepare()
    if t.read_only:
        raise TypeError(f"[{op}] cannot write: the memory is read-only (a mapped file)")


def _write(t: Tensor, source: Tensor) -> None:
    source = source if source.dtype == t.dtype else source._to(t.dtype)
    if t._device == source._device == "cpu":
        np.copyto(array_of(t._bytes()), array_of(source._bytes()))
    else:
        t._assign(source)
    t._changed()


def store(op: str, t: Tensor, result: Tensor) -> Tensor:
    """Writes `result` into t's memory; from now on `t` was computed as `result` was."""
    writable(op, t)
    if t.shape != result.shape:
        raise RuntimeError(f"[{op}] expected a result of shape {tuple(t.shape)}, got {tuple(result.shape)}")
    if result.dtype.is_floating_point and not t.dtype.is_floating_point:
        raise RuntimeError(f"[{op}] a result of type {result.dtype} cannot be written to {t.dtype}")
    result = result.to(t.dtype)
    _write(t, result)
    node = result.__dict__.get("_node")
    if not state.enabled or (node is None and not wanted(t)):
        return t
    if node is None:
        node = (Node(op, (), lambda g: ()), 0)
        node[0].outputs.append((t.shape, t.dtype))
    t.__dict__.update(_requires_grad=True, _node=node)
    base = t.__dict__.get("_base")
    if base is not None:
        _put_into_base(base, t)
    return t


def _put_into_base(base: Tensor, view: Tensor) -> None:
    """The base of a view that was written to was computed from its former self and the view."""
    start, shape = (view.data_ptr() - base.data_ptr()) // base.dtype.itemsize, tuple(view.shape)
    part = slice(start, start + math.prod(shape))

    def backward(g: Any) -> Any:
        rest = g.copy()
        rest.reshape(-1)[part] = 0
        return rest, g.reshape(-1)[part].reshape(shape)

    Node("copy_slices", (base, view), backward).output(base)
    view.__dict__["_seen"] = base.__dict__["_node"]


def set_items(t: Tensor, index: Any, value: Any) -> None:
    """t[index] = value."""
    writable("index_put", t)
    given = as_tensor(value) if not isinstance(value, (bool, int, float)) else value
    shape = tuple(given.shape) if isinstance(given, Tensor) else ()
    track = wanted(t, given)
    elements: Any = array_of(given) if isinstance(given, Tensor) else given
    if isinstance(given, Tensor) and given.data_ptr() == t.data_ptr():
        elements = elements.copy()
    a = array_of(t)
    a[index] = elements
    if is_copied(t):
        _write(t, wrap(a))
    else:
        t._changed()
    if not track:
        return

    def backward(g: Any) -> Any:
        rest = g.copy()
        rest[index] = 0
        return rest, summed_to(as_array(g[index]), shape) if isinstance(given, Tensor) else None

    Node("index_put", (t, given), backward).output(t)
    base = t.__dict__.get("_base")
    if base is not None:
        _put_into_base(base, t)


def binary_(name: str, t: Tensor, other: Any) -> Tensor:
    """A ufunc whose result goes into the first operand."""
    writable(name, t)
    if wanted(t, other) or is_copied(t):
        return store(name, t, apply_binary(name, _former(t), other))
    if not isinstance(other, (Tensor, bool, int, float)):
        other = as_tensor(other)
    if isinstance(other, Tensor) and other.dtype == t.dtype or isinstance(other, (int, float)) and t.dtype.is_floating_point:
        a = array_of(t)
        try:
            getattr(np, name)(a, array_of(other) if isinstance(other, Tensor) else a.dtype.type(other), out=a)
        except ValueError as error:
            raise RuntimeError(f"[{name}_] {error}") from None
        t._changed()
        return t
    return store(name, t, apply_binary(name, t, other))


def _former(t: Tensor) -> Tensor:
    """What `t` is now, in memory of its own, so that a gradient may read it after `t` has changed."""
    y = t._clone()
    for name in ("_requires_grad", "_node"):
        if name in t.__dict__:
            y.__dict__[name] = t.__dict__[name]
    return y


class InPlaceMethods:
    """Methods of Tensor whose names end in _: the result goes into the tensor's own memory."""

    def copy_(self: Tensor, other: Any, non_blocking: bool = False) -> Tensor:
        """Writes the elements of `other`, broadcast, into this tensor's memory. Errors: TypeError if it is read-only."""
        source = as_tensor(other)
        writable("copy_", self)
        if wanted(self, source):
            shape = tuple(source.shape)
            copied = wrap(np.broadcast_to(array_of(source), tuple(self.shape)).copy())._to(self.dtype)
            return store("copy", self, attach("copy", copied, (_former(self), source), lambda g: (np.zeros_like(g), summed_to(g, shape))))
        if source.shape != self.shape:
            source = wrap(np.broadcast_to(array_of(source), tuple(self.shape)))
        _write(self, source)
        return self

    def fill_(self: Tensor, value: Any) -> Tensor:
        return self.copy_(value)

    def zero_(self: Tensor) -> Tensor:
        return self.copy_(0)

    def add_(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
        return binary_("add", self, other if alpha == 1 else other * alpha)

    def sub_(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
        return binary_("subtract", self, other if alpha == 1 else other * alpha)

    def mul_(self: Tensor, other: Any) -> Tensor:
        return binary_("multiply", self, other)

    def div_(self: Tensor, other: Any) -> Tensor:
        return binary_("true_divide", self, other)

    def pow_(self: Tensor, exponent: Any) -> Tensor:
        return binary_("power", self, exponent)

    def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
        """Draws every element from the normal distribution."""
        return self.copy_(wrap(_random(generator).standard_normal(tuple(self.shape), np.float32) * np.float32(std) + np.float32(mean)))

    def uniform_(self: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
        """Draws every element evenly from [a, b)."""
        return self.copy_(wrap(_random(generator).random(tuple(self.shape), np.float32) * np.float32(b - a) + np.float32(a)))

    def bernoulli_(self: Tensor, p: float = 0.5, generator: Any = None) -> Tensor:
        """1 with probability p, else 0."""
        return self.copy_(wrap(_random(generator).random(tuple(self.shape)) < p))

    def trunc_normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Tensor:
        """Draws from the normal distribution again and again until every element is in [a, b]."""
        x = _random(None).standard_normal(tuple(self.shape)) * std + mean
        while (outside := (x < a) | (x > b)).any():
            x[outside] = _random(None).standard_normal(int(outside.sum())) * std + mean
        return self.copy_(wrap(x))

    # Shapes
    def unsqueeze_(self: Tensor, dim: int) -> Tensor:
        return _reshaped(self, self.unsqueeze(dim))

    def squeeze_(self: Tensor, dim: Any = None) -> Tensor:
        return _reshaped(self, self.squeeze(dim))

    def detach_(self: Tensor) -> Tensor:
        """Forgets how the tensor was computed."""
        for name in ("_node", "_requires_grad", "_base"):
            self.__dict__.pop(name, None)
        return self


def _random(own: Any) -> Any:
    return generator() if own is None else own.numpy()


def _reshaped(t: Tensor, view: Tensor) -> Tensor:
    if "_node" in view.__dict__:
        t.__dict__["_node"] = view.__dict__["_node"]
    t._rebind(view)
    return t


# Names of methods that exist without the underscore as well
FROM_COPY = ("abs", "ceil", "clamp", "clip", "cos", "exp", "floor", "log", "neg", "reciprocal", "relu", "round", "rsqrt", "sigmoid", "sign",
             "sin", "sqrt", "square", "tanh", "tril", "triu", "masked_fill", "scatter", "scatter_add", "index_add", "addcmul", "addcdiv", "lerp",
             "remainder", "floor_divide", "softmax")
OPERATORS = {"iadd": "add", "isub": "subtract", "imul": "multiply", "itruediv": "true_divide", "ipow": "power", "ifloordiv": "floor_divide",
             "imod": "remainder", "iand": "bitwise_and", "ior": "bitwise_or", "ixor": "bitwise_xor"}


def from_copy(name: str) -> Any:
    """The in-place form of a method."""
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        writable(name + "_", self)
        return store(name + "_", self, getattr(_former(self) if wanted(self, *args) else self, name)(*args, **kwargs))

    method.__name__ = method.__qualname__ = name + "_"
    method.__doc__ = f"Tensor.{name}, written to the tensor's own memory."
    return method


def in_place_operator(ufunc: str) -> Any:
    return lambda self, other: binary_(ufunc, self, other)
