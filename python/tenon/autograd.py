"""Gradients of Python tensors: a graph of nodes that hangs on the tensors and is walked backwards, with PyTorch's meaning."""
from __future__ import annotations

import heapq
import itertools
import weakref
from typing import Any, Callable, Iterable, Sequence

from . import _core
from ._core import Tensor, dtype
from ._lazy import np
from .conversion import array_of, as_tensor, is_copied, wrap
from .grad_mode import (detect_anomaly, enable_grad, inference_mode, is_grad_enabled, no_grad, set_detect_anomaly, set_grad_enabled,
                        state)

__all__ = ["Function", "Node", "attach", "backward", "detect_anomaly", "enable_grad", "grad", "inference_mode", "is_grad_enabled", "no_grad",
           "set_detect_anomaly", "set_grad_enabled"]

_count = itertools.count(1)
Edge = Any  # None: no gradient wanted; a leaf Tensor; or (Node, which of its outputs)


class Node:
    """One operation: the edges to what it was computed from, and how their gradients follow from those of its outputs.

    `backward` takes one gradient per output, NumPy arrays if `arrays` is set, and returns one (or a tuple) for the inputs; None stands for
    no gradient. It may return what has another floating type: the gradient takes the input's, unless `exact` says that they are tensors
    of the inputs' shapes and types.
    """

    __slots__ = ("op", "edges", "kinds", "outputs", "backward", "arrays", "exact", "saved", "sequence", "hooks", "retained", "__weakref__")

    def __init__(self, op: str, inputs: Sequence[Any], backward: Callable[..., Any], saved: Iterable[Tensor] = (), arrays: bool = True,
                 exact: bool = False) -> None:
        self.op = op
        self.edges: list[Edge] = [edge_of(t) for t in inputs]
        self.exact = exact
        self.kinds = [] if exact else [(t.shape, t.dtype) if edge is not None else None for t, edge in zip(inputs, self.edges)]
        self.outputs: list[tuple[tuple[int, ...], dtype]] = []
        self.backward: "Callable[..., Any] | None" = backward
        self.arrays = arrays
        self.saved = [(t, t._version) for t in saved]
        self.sequence = next(_count)
        self.hooks: "dict[int, dict[int, Callable[[Tensor], Any]]]" = {}
        self.retained: dict[int, Any] = {}

    def name(self) -> str:
        return "".join(part[:1].upper() + part[1:] for part in self.op.split("_")) + "Backward0"

    def __repr__(self) -> str:
        return f"<{self.name()}>"

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        return tuple((None, 0) if e is None else e if isinstance(e, tuple) else (AccumulateGrad(e), 0) for e in self.edges)

    def wants(self, i: int) -> bool:
        """Whether the i-th input wants a gradient."""
        return self.edges[i] is not None

    def output(self, t: Tensor) -> Tensor:
        """Makes `t` the next output of this node."""
        d = t.__dict__
        d["_requires_grad"], d["_node"] = True, (self, len(self.outputs))
        self.outputs.append((t.shape, t.dtype))
        return t


class AccumulateGrad:
    """Where the graph ends: a leaf, whose `grad` grows."""

    def __init__(self, variable: Tensor) -> None:
        self.variable = variable

    next_functions: tuple[Any, ...] = ()

    def name(self) -> str:
        return "AccumulateGrad"


def wants(t: Any) -> bool:
    """Whether a gradient is wanted for `t`. A view of what has been written to since was computed as its base was."""
    if not isinstance(t, Tensor):
        return False
    d = t.__dict__
    if "_base" in d:
        node = d["_base"].__dict__.get("_node")
        if node is not None and node is not d.get("_seen"):
            d["_seen"] = node
            Node("as_strided", (d["_base"],), view_backward(d["_base"], t)).output(t)
    return bool(d.get("_requires_grad"))


def view_backward(base: Tensor, view: Tensor) -> Callable[[Any], Any]:
    """The gradient of a view as one of its base: zero beside it."""
    start, shape, size = (view.data_ptr() - base.data_ptr()) // base.dtype.itemsize, tuple(base.shape), base.numel()

    def backward(g: Any) -> Any:
        if g.size == size:
            return g.reshape(shape)
        d = np.zeros(size, g.dtype, like=g)
        d[start : start + g.size] = g.reshape(-1)
        return d.reshape(shape)

    return backward


def edge_of(t: Any) -> Edge:
    return (t.__dict__.get("_node") or t) if wants(t) else None


def wanted(*inputs: Any) -> bool:
    """Whether gradients are noted now and one of the tensors wants one."""
    return state.enabled and any(map(wants, inputs))


def attach(op: str, y: Tensor, inputs: Sequence[Any], backward: Callable[..., Any], saved: Iterable[Tensor] = (),
           arrays: bool = True) -> Tensor:
    """Notes that `y`, a tensor that nobody else has, was computed from `inputs`; `saved` are the tensors whose elements `backward` reads."""
    if state.enabled and any(map(wants, inputs)):
        return Node(op, inputs, backward, saved, arrays).output(y)
    return y


def without_gradient(op: str, y: Tensor, inputs: Sequence[Any]) -> Tensor:
    """For operations that have no gradient: asking for it is an error that names them."""
    def refuse(*gradients: Any) -> Any:
        raise RuntimeError(f"[{op}] gradient: this operation has none, but an input wants one; detach() the input")

    return attach(op, y, inputs, refuse) if y.dtype.is_floating_point else y


# Walking the graph
def _sum(a: Tensor, b: Tensor, own: bool) -> Tensor:
    """a + b, in a's memory if it is ours."""
    if not own:
        a = a._clone()
    if a.dtype == dtype.float32 and b.dtype == dtype.float32:
        _core.add_in_place([a], [b])
    elif a.dtype in (dtype.float64, dtype.float16) and not is_copied(a):
        array_of(a)[...] += array_of(b)
    else:
        a = (wrap(array_of(a) + array_of(b)))._to(a.dtype)
    return a


def _add(table: dict[Any, tuple[Tensor, bool]], key: Any, g: Tensor) -> None:
    before = table.get(key)
    table[key] = (g, False) if before is None else (_sum(before[0], g, before[1]), True)


def _fitting(node: Node, i: int, g: Any) -> Tensor:
    """The gradient for the i-th input in the input's shape and type."""
    kind = node.kinds[i]
    assert kind is not None
    t = g if isinstance(g, Tensor) else wrap(g)
    if t.shape != kind[0]:
        if t.numel() != _numel(kind[0]):
            raise RuntimeError(f"[{node.op}] gradient: expected shape {tuple(kind[0])}, got {tuple(t.shape)}")
        t = t._view(list(kind[0]))
    return t if t.dtype == kind[1] else t._to(kind[1])


def _numel(shape: Sequence[int]) -> int:
    n = 1
    for s in shape:
        n *= s
    return n


def _through_hooks(hooks: "dict[int, Callable[[Tensor], Any]] | None", g: Tensor) -> Tensor:
    for hook in list(hooks.values()) if hooks else ():
        changed = hook(g)
        g = g if changed is None else changed
    return g


def _play(node: Node, gradients: list[Any], retain: bool) -> Any:
    function = node.backward
    if function is None:
        raise RuntimeError(f"[backward] {node.op}: trying to go through the graph a second time, but what it had saved was freed; the first "
                           "backward() needs retain_graph=True")
    for t, version in node.saved:
        if t._version != version:
            raise RuntimeError(f"[backward] {node.op}: a tensor needed for the gradient, of shape {tuple(t.shape)}, has been modified by an "
                               f"inplace operation: it is at version {t._version}, expected {version}")
    if node.arrays:
        gradients = [None if g is None else array_of(g) for g in gradients]
    with no_grad(), np.errstate(all="ignore"):  # infinities and NaN are results here, as in PyTorch
        result = function(*gradients)
    if not retain and node.saved:
        node.backward = None
        node.saved = []
    return result


def _walk(roots: Sequence[tuple[Tensor, Tensor]], retain: bool, captured: "dict[Any, Tensor | None] | None") -> None:
    """Plays the nodes from the latest to the earliest, which is an order in which every gradient is complete before it is passed on."""
    pending: dict[tuple[Node, int], tuple[Tensor, bool]] = {}
    leaves: dict[Tensor, tuple[Tensor, bool]] = {}
    heap: list[tuple[int, Node]] = []
    seen: set[Node] = set()

    def send(edge: Edge, g: Tensor) -> None:
        if isinstance(edge, Tensor):
            _add(leaves, edge, g)
            return
        _add(pending, edge, g)
        if edge[0] not in seen:
            seen.add(edge[0])
            heapq.heappush(heap, (-edge[0].sequence, edge[0]))

    for t, g in roots:
        send(edge_of(t), g)
    while heap:
        node = heapq.heappop(heap)[1]
        gradients: list[Any] = []
        for i in range(len(node.outputs)):
            found = pending.pop((node, i), None)
            complete = None if found is None else _through_hooks(node.hooks.get(i), found[0])
            if complete is not None and i in node.retained:
                _retain(node.retained[i], complete)
            if captured is not None and complete is not None and (node, i) in captured:
                captured[node, i] = complete
            gradients.append(complete)
        result = _play(node, gradients, retain)
        if not isinstance(result, (tuple, list)):
            result = (result,)
        if len(result) != len(node.edges):
            raise RuntimeError(f"[{node.op}] gradient: expected one for each of {len(node.edges)} inputs, got {len(result)}")
        for i, (edge, g) in enumerate(zip(node.edges, result)):
            if edge is not None and g is not None:
                if state.anomaly and np.isnan(array_of(g) if isinstance(g, Tensor) else g).any():
                    raise RuntimeError(f"[backward] {node.op} gave NaN as the gradient of its input {i}")
                send(edge, g if node.exact else _fitting(node, i, g))
    finished = {leaf: _through_hooks(leaf.__dict__.get("_hooks"), g) for leaf, (g, _) in leaves.items()}
    if captured is None:
        accumulate(finished, {g.data_ptr() for _, g in roots})
    else:
        captured.update((leaf, g) for leaf, g in finished.items() if leaf in captured)


def _retain(where: Any, g: Tensor) -> None:
    t = where()
    if t is not None:
        t.grad = g._clone() if t.grad is None else _sum(t.grad, g, False)


def accumulate(gradients: "dict[Tensor, Tensor]", foreign: Iterable[int] = ()) -> None:
    """Adds gradients to the `grad` of leaves. A first gradient is taken as it is, unless someone else may write to its memory."""
    taken = set(foreign)
    sums: list[Tensor] = []
    terms: list[Tensor] = []
    for leaf, g in gradients.items():
        before = leaf.__dict__.get("_grad")
        if before is None:
            address = g.data_ptr()
            leaf.__dict__["_grad"] = g._clone() if address in taken or g.read_only else g
            taken.add(address)
        elif before.dtype == dtype.float32 and g.dtype == dtype.float32:
            sums.append(before)
            terms.append(g)
        else:
            leaf.__dict__["_grad"] = _sum(before, g, True)
    if sums:
        _core.add_in_place(sums, terms)
    for leaf in gradients:
        for hook in list(leaf.__dict__.get("_after_hooks", {}).values()):
            hook(leaf)


def _roots(tensors: Any, gradients: Any) -> list[tuple[Tensor, Tensor]]:
    tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    gradients = [gradients] * len(tensors) if gradients is None or isinstance(gradients, Tensor) else list(gradients)
    if len(tensors) != len(gradients):
        raise RuntimeError(f"[backward] expected {len(tensors)} gradients, got {len(gradients)}")
    roots = []
    for t, g in zip(tensors, gradients):
        if not t.requires_grad:
            raise RuntimeError("[backward] the tensor does not require grad and does not have a grad_fn: it was computed from nothing that "
                               "requires grad, or under no_grad()")
        if g is None:
            if t.numel() != 1:
                raise RuntimeError(f"[backward] grad can be implicitly created only for scalar outputs, got shape {tuple(t.shape)}; "
                                   "pass gradient=")
            g = _ones(t)
        else:
            g = as_tensor(g)
            if g.shape != t.shape:
                raise RuntimeError(f"[backward] gradient: expected shape {tuple(t.shape)}, got {tuple(g.shape)}")
            g = g._to(t.dtype)
        roots.append((t, g))
    return roots


def _ones(t: Tensor) -> Tensor:
    one = _core.zeros([1] * t.ndim, dtype.float32)
    array_of(one)[...] = 1
    return one._to(t.dtype)._to_device(t._device)


def _no_second_order(create_graph: bool) -> None:
    if create_graph:
        raise RuntimeError("[backward] create_graph=True: gradients of gradients are not supported")


def backward(tensors: Any, grad_tensors: Any = None, retain_graph: "bool | None" = None, create_graph: bool = False,
             inputs: Any = None) -> None:
    """Adds the gradients of the tensors' sum, weighted with `grad_tensors`, to the `grad` of the leaves, or of `inputs` alone.

    Errors: RuntimeError for a tensor that does not require grad, several elements without gradient, a graph whose memory was freed, and
    tensors that were changed in place since.
    """
    _no_second_order(create_graph)
    roots = _roots(tensors, grad_tensors)
    if inputs is None:
        _walk(roots, bool(retain_graph), None)
        return
    leaves = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    captured: dict[Any, "Tensor | None"] = {edge_of(t): None for t in leaves}
    _walk(roots, bool(retain_graph), captured)
    accumulate({t: g for t in leaves if (g := captured[edge_of(t)]) is not None}, {g.data_ptr() for _, g in roots})


def grad(outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: "bool | None" = None, create_graph: bool = False,
         allow_unused: "bool | None" = None, is_grads_batched: bool = False, materialize_grads: bool = False) -> "tuple[Any, ...]":
    """The gradients of outputs with respect to inputs, as a tuple; nothing is added to any `grad`.

    Errors: as backward(); RuntimeError for an input that nothing depends on, unless allow_unused (then None).
    """
    _no_second_order(create_graph)
    wanted_for = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    captured: dict[Any, "Tensor | None"] = {}
    for t in wanted_for:
        if edge_of(t) is None:
            raise RuntimeError("[grad] one of the inputs does not require grad")
        captured[edge_of(t)] = None
    _walk(_roots(outputs, grad_outputs), bool(retain_graph), captured)
    found = tuple(captured[edge_of(t)] for t in wanted_for)
    if materialize_grads:
        found = tuple(_core.zeros(t.shape, t.dtype) if g is None else g for t, g in zip(wanted_for, found))
    if not allow_unused and any(g is None for g in found):
        raise RuntimeError("[grad] one of the inputs was not used for the outputs; allow_unused=True gives None for it")
    return found


class Removable:
    """What register_hook() returns; remove() takes the hook away."""

    _ids = itertools.count()

    def __init__(self, hooks: dict[int, Any], hook: Callable[..., Any]) -> None:
        self.id = next(self._ids)
        self._hooks = hooks
        hooks[self.id] = hook

    def remove(self) -> None:
        self._hooks.pop(self.id, None)

    def __enter__(self) -> "Removable":
        return self

    def __exit__(self, *error: Any) -> None:
        self.remove()


def register_hook(t: Tensor, hook: Callable[[Tensor], Any]) -> Removable:
    """Calls `hook` with the gradient of `t`; what it returns, if anything, takes the gradient's place."""
    if not t.requires_grad:
        raise RuntimeError("[register_hook] expected a tensor that requires grad")
    node = t.__dict__.get("_node")
    return Removable(t.__dict__.setdefault("_hooks", {}) if node is None else node[0].hooks.setdefault(node[1], {}), hook)


def retain_grad(t: Tensor) -> None:
    """Keeps the gradient of a tensor that is no leaf in its `grad`."""
    if not t.requires_grad:
        raise RuntimeError("[retain_grad] expected a tensor that requires grad")
    node = t.__dict__.get("_node")
    if node is not None:
        node[0].retained[node[1]] = weakref.ref(t)


def __getattr__(name: str) -> Any:
    if name == "Function":
        from .autograd_function import Function

        return Function
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
