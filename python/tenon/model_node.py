"""A model's forward pass as one node of the graph of gradients: recorded at once in train() mode, only if it is needed in eval() mode."""
from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Iterator

from . import _core
from ._core import Tensor
from .autograd import Node, wants, without_gradient
from .autocast_mode import product_type
from .grad_mode import state
from .random import next_stream

if TYPE_CHECKING:
    from .modeling import PreTrainedModel


@contextmanager
def _anomalies() -> Iterator[None]:
    """Under detect_anomaly() what the recorder finds is the error that PyTorch has there."""
    try:
        yield
    except ValueError as error:
        if state.anomaly:
            raise RuntimeError(str(error)) from None
        raise


class _Call:
    """One call of a model: what to repeat it with, and the recording of it while there is one."""

    def __init__(self, model: "PreTrainedModel", inputs: dict[str, Any], watched: list[Tensor], dropout: bool, matmul: Any) -> None:
        self.model = model
        self.inputs = inputs
        self.watched = watched
        self.options: dict[str, Any] = {"dropout": dropout, "matmul": matmul, "checkpoint": model.is_gradient_checkpointing,
                        "seed": next_stream() if dropout else 0}
        self.names: list[tuple[str, int]] = []
        self.version = _core.versions(watched)
        self.recording: Any = None
        self.recorded: dict[str, Any] = {}

    def record(self) -> dict[str, Any]:
        if self.version != _core.versions(self.watched):
            raise RuntimeError("[backward] a parameter of the model has been modified by an inplace operation since the forward pass")
        self.model._make_trainable()
        self.version = _core.versions(self.watched)
        asked = {**self.inputs, "output_attentions": False}
        with _anomalies():
            outputs, self.recording = self.model._core.record(asked, self.watched, **self.options, check_finite=state.anomaly)
        # Objects of its own: those that the caller gets hold the node, which holds this.
        self.recorded = {name: tuple(t._handle() for t in value) if isinstance(value, tuple) else value._handle()
                         for name, value in outputs.items()}
        return outputs

    def with_attentions(self, outputs: dict[str, Any]) -> dict[str, Any]:
        """The outputs of a recorded pass, and the attentions, which cannot be recorded: of a second pass with the same random numbers."""
        if not self.inputs.get("output_attentions"):
            return outputs
        options = {name: self.options[name] for name in ("dropout", "matmul", "seed")}
        whole: dict[str, Any] = self.model._core.record(self.inputs, [], **options)[0]
        return {name: outputs.get(name, value) for name, value in whole.items()}

    def tracks(self, t: Tensor, name: str) -> bool:
        return self.recording.tracks(t) or name.endswith("attentions")

    def backward(self, *gradients: Any) -> tuple[Any, ...]:
        if self.recording is None:
            self.record()
        elif self.version != _core.versions(self.watched):
            raise RuntimeError("[backward] a parameter of the model has been modified by an inplace operation since the forward pass")
        outputs, given = [], []
        for (name, i), g in zip(self.names, gradients):
            if g is not None and name.endswith("attentions"):
                raise RuntimeError(f"[{type(self.model).__name__}] gradient: {name} have none, but a loss depends on them; detach() them")
            if name.endswith("attentions"):
                continue
            t = self.recorded[name] if i < 0 else self.recorded[name][i]
            if g is None or not self.tracks(t, name):
                continue
            outputs.append(t)
            given.append(g if g.dtype == t.dtype else g._to(t.dtype))
        recording, self.recording, self.recorded = self.recording, None, {}
        self.model._records = True
        with _anomalies():
            return tuple(recording.backward(outputs, given))


def forward(model: "PreTrainedModel", inputs: dict[str, Any]) -> dict[str, Any]:
    """The outputs of a model by name, with a node where gradients are wanted."""
    dropout, matmul = model.training, product_type()
    plain = not dropout and matmul.dtype == _core.dtype.float32
    watched: list[Tensor] = []
    if state.enabled:
        weights = model._tensors() if model._adapters is None else model._adapters.tensors()
        watched = [t for t in weights.values() if t.__dict__.get("_requires_grad")]
        given = [t for t in inputs.values() if wants(t)]
        watched += given
    if not watched:
        if not plain:
            outputs: dict[str, Any] = model._core.record(inputs, [], dropout=dropout, matmul=matmul, seed=next_stream() if dropout else 0)[0]
            return outputs
        return model._core.forward(**inputs)
    call = _Call(model, inputs, watched, dropout, matmul)
    eager = not plain or model._records
    outputs = call.with_attentions(call.record()) if eager else model._core.forward(**inputs)
    node = Node(f"{type(model).__name__}", watched, call.backward, watched[:1], arrays=False, exact=True)
    for name, value in outputs.items():
        for i, t in enumerate(value) if isinstance(value, tuple) else ((-1, value),):
            if t.dtype.is_floating_point and (not eager or call.tracks(t, name)):
                call.names.append((name, i))
                node.output(t)
    return outputs


def refuse_gradients(model: "PreTrainedModel", outputs: dict[str, Any]) -> None:
    """For calls that go on from a cache: a loss over their outputs is an error, not a silent zero."""
    weights = model._tensors() if model._adapters is None else model._adapters.tensors()
    first = next((t for t in weights.values() if wants(t)), None)
    if not state.enabled or first is None:
        return
    for value in outputs.values():
        for t in value if isinstance(value, tuple) else (value,):
            if isinstance(t, Tensor):
                without_gradient(f"{type(model).__name__} with a cache", t, [first])
