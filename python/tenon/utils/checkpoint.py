"""torch.utils.checkpoint: parts of a computation that are computed again for their gradient instead of being kept."""
from __future__ import annotations

from typing import Any, Callable

from .._core import Tensor
from ..autograd import Node, backward
from ..grad_mode import enable_grad, is_grad_enabled, no_grad
from ..random import get_rng_state, set_rng_state

__all__ = ["checkpoint", "checkpoint_sequential"]


def checkpoint(function: Callable[..., Any], *args: Any, use_reentrant: "bool | None" = None, preserve_rng_state: bool = True, **kwargs: Any) -> Any:
    """function(*args, **kwargs), of which only the arguments are kept; backward() runs it again, with the same random numbers.

    Gradients of parameters that the function reads come about as well, if gradients are on, whether or not an argument wants one.
    """
    if not is_grad_enabled():
        return function(*args, **kwargs)
    state = get_rng_state() if preserve_rng_state else None
    with no_grad():
        result = function(*args, **kwargs)
    outputs = result if isinstance(result, tuple) else (result,)
    inputs = [a for a in args if isinstance(a, Tensor)]

    def again(*gradients: Any) -> Any:
        after = get_rng_state()
        if state is not None:
            set_rng_state(state)
        leaves = [a.detach().requires_grad_(a.requires_grad) if isinstance(a, Tensor) else a for a in args]
        with enable_grad():
            replayed = function(*leaves, **kwargs)
        if state is not None:
            set_rng_state(after)
        pairs = [(t, g) for t, g in zip(replayed if isinstance(replayed, tuple) else (replayed,), gradients)
                 if g is not None and isinstance(t, Tensor) and t.requires_grad]
        if pairs:
            backward([t for t, _ in pairs], [g for _, g in pairs])
        return tuple(leaf.grad for leaf in leaves if isinstance(leaf, Tensor))

    node = Node("checkpoint", inputs, again, [t._handle() for t in inputs], arrays=False)
    for t in outputs:
        if isinstance(t, Tensor):
            if t.dtype.is_floating_point:
                node.output(t)
            else:
                node.outputs.append((t.shape, t.dtype))
    return result


def checkpoint_sequential(functions: Any, segments: int, input: Any, use_reentrant: "bool | None" = None, **kwargs: Any) -> Any:
    """Runs modules one after another in `segments` parts, each of them a checkpoint."""
    modules = list(functions)
    size = -(-len(modules) // segments)

    def run(part: list[Any]) -> Callable[[Any], Any]:
        def function(x: Any) -> Any:
            for module in part:
                x = module(x)
            return x

        return function

    for start in range(0, len(modules), size):
        input = checkpoint(run(modules[start : start + size]), input, **kwargs)
    return input
