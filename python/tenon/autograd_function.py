"""autograd.Function: operations of the user's with a gradient of their own."""
from __future__ import annotations

from typing import Any

from ._core import Tensor
from .autograd import Node, wanted
from .grad_mode import no_grad


class FunctionContext:
    """What forward() leaves for backward(): saved tensors and any attributes."""

    def __init__(self) -> None:
        self._saved: tuple[Any, ...] = ()
        self._quiet: tuple[int, ...] = ()
        self._materialize = True
        self.needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        self._saved = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        return self._saved

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        self._quiet = tuple(map(id, tensors))

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Accepted; forward() must not write to its inputs here."""

    def set_materialize_grads(self, value: bool) -> None:
        self._materialize = value


class Function:
    """Base of operations with a gradient of their own: static forward(ctx, ...) and backward(ctx, *gradients); call it with apply()."""

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("[Function] expected a static forward()")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        raise NotImplementedError("[Function] forward() takes ctx unless there is a setup_context()")

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise NotImplementedError("[Function] expected a static backward()")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Runs forward() and notes backward() for it."""
        ctx = FunctionContext()
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        track = wanted(*args)
        separate = cls.setup_context is not Function.setup_context
        with no_grad():
            result = cls.forward(*args) if separate else cls.forward(ctx, *args)
        outputs = result if isinstance(result, tuple) else (result,)
        if separate:
            cls.setup_context(ctx, args, result)
        if not track:
            return result
        mine = [t._handle() if isinstance(t, Tensor) and (t.requires_grad or any(t is a for a in args)) else t for t in outputs]
        shapes = [(t.shape, t.dtype) for t in mine if isinstance(t, Tensor)]

        def backward(*gradients: Any) -> Any:
            if ctx._materialize:
                from . import _core

                gradients = tuple(_core.zeros(list(s), d) if g is None else g for g, (s, d) in zip(gradients, shapes))
            found = cls.backward(ctx, *gradients)
            return found if isinstance(found, tuple) else (found,)

        saved = [t if not any(t is o for o in outputs) else t._handle() for t in ctx._saved if isinstance(t, Tensor)]
        ctx._saved = tuple(t._handle() if any(t is o for o in outputs) else t for t in ctx._saved)
        node = Node(cls.__name__, args, backward, saved, arrays=False)
        for t, original in zip(mine, outputs):
            if isinstance(t, Tensor):
                quiet = id(original) in ctx._quiet or not t.dtype.is_floating_point
                if quiet:
                    node.outputs.append((t.shape, t.dtype))
                else:
                    node.output(t)
        return tuple(mine) if isinstance(result, tuple) else mine[0]


__all__ = ["Function", "FunctionContext"]
