"""The LoRA adapters that a model has: their tensors under PEFT's names, and the model's own beside them."""
from __future__ import annotations

import weakref
from typing import Any, Iterator, NamedTuple

from .. import _core
from ..conversion import Tensor, as_tensor
from ..grad_mode import no_grad
from ..random import next_seed


class Entry(NamedTuple):
    """A tensor of an adapter: a factor of a layer, or what stands in for a parameter of the model."""

    module: str  # "model.layers.0.self_attn.q_proj", "score"
    part: str    # "lora_A.weight", "weight", "base_layer.bias"
    saved: bool
    tensor: Tensor

    @property
    def key(self) -> str:
        """As adapter_model.safetensors has it."""
        return f"base_model.model.{self.module}.{self.part}"

    def name(self, adapter: str) -> str:
        """As named_parameters() of a model with adapters has it."""
        if not self.saved:
            return f"{self.module}.{self.part.removesuffix('.weight')}.{adapter}.weight"
        return f"{self.module}.modules_to_save.{adapter}.{self.part.removeprefix('base_layer.')}"

    @property
    def parameter(self) -> str:
        """The model's parameter that it stands in for."""
        return f"{self.module}.{self.part.removeprefix('base_layer.')}"


class Attached:
    """The adapters of one model. What changes which of them act must not run beside forward passes."""

    def __init__(self, model: Any) -> None:
        self._model = weakref.ref(model)
        model._tensors()  # the model's parameters as they are without adapters
        self.core = _core.Adapters(model._core)
        self.entries: dict[str, list[Entry]] = {}
        self.chosen: list[str] = []  # active unless disabled
        self.enabled = True

    @classmethod
    def of(cls, model: Any) -> "Attached":
        """A model's adapters; it gets a place for them if it has none. Errors: TypeError for what is no model with layers."""
        if getattr(model, "_core", None) is None:
            raise TypeError(f"[adapter] expected a model, got {type(model).__name__}")
        if model._adapters is None:
            object.__setattr__(model, "_adapters", cls(model))
        return model._adapters  # type: ignore[no-any-return]

    # Adapters come and go
    def add(self, name: str, config: dict[str, Any]) -> None:
        self.core.add(name, config, next_seed())
        self._list(name)

    def load(self, name: str, folder: str) -> list[str]:
        missing: list[str] = self.core.load(name, folder)
        self._list(name)
        return missing

    def remove(self, name: str) -> None:
        self.core.remove(name)
        self.entries.pop(name)
        self.chosen = [n for n in self.chosen if n != name]
        self._bind()

    def _list(self, name: str) -> None:
        self.entries[name] = [Entry(*row) for row in self.core.parameters(name)]
        weights = self._model()._tensors()
        for entry in self.entries[name]:
            entry.tensor.__dict__.update(_requires_grad=False, _parameter=True)
            if entry.saved:  # as the parameter that it stands in for: what is packed is let go of before it is written to
                entry.tensor.__dict__["_prepare"] = weights[entry.parameter].__dict__.get("_prepare")

    # Which of them act
    def choose(self, names: "list[str]") -> None:
        self._known(names)
        self.chosen = list(names)
        self._activate()

    def enable(self, enabled: bool) -> None:
        self.enabled = enabled
        self._activate()

    def _activate(self) -> None:
        self.core.activate(self.chosen if self.enabled else [])
        self._bind()

    def merge(self, names: "list[str]") -> None:
        self._known(names)
        self.core.merge(names)
        self._bind()

    def unmerge(self) -> None:
        self.core.unmerge()
        self._bind()

    def to(self, where: str) -> None:
        """Moves the model with its adapters; the tensors stay the same objects."""
        self.core.to(where)
        for name, entries in self.entries.items():
            for entry, row in zip(entries, self.core.parameters(name)):
                entry.tensor._rebind(Entry(*row).tensor)
                if entry.tensor.grad is not None:
                    entry.tensor.grad = entry.tensor.grad.to(where)

    def leave(self) -> None:
        """Takes all adapters away; what was merged and, of active ones, the own parameters are the model's from now on."""
        self.core.forget()
        self.entries.clear()
        model = self._model()
        object.__setattr__(model, "_adapters", None)
        model._bind_parameters()

    def _known(self, names: "list[str]") -> None:
        for name in names:
            if name not in self.entries:
                raise ValueError(f"[adapter] expected one of {', '.join(self.entries)}, got {name!r}")

    def _bind(self) -> None:
        model = self._model()
        if model is not None:
            model._bind_parameters()

    @property
    def lent(self) -> "frozenset[str]":
        """The model's parameters in whose place something of an adapter stands."""
        acting = [*self.core.active, *self.core.merged]
        return frozenset(e.parameter for name in acting for e in self.entries.get(name, ()) if e.saved)

    # Tensors
    def _places(self) -> "tuple[set[str], dict[str, str]]":
        """The layers that have factors, and the module of each parameter that some adapter has a copy of."""
        layers = {e.module for entries in self.entries.values() for e in entries if not e.saved}
        copies = {e.parameter: e.module for entries in self.entries.values() for e in entries if e.saved and e.module not in layers}
        return layers, copies

    def named(self) -> "Iterator[tuple[str, Tensor]]":
        """All tensors under PEFT's names: x.base_layer.weight, x.lora_A.default.weight, score.modules_to_save.default.weight, ..."""
        model = self._model()
        layers, copies = self._places()
        beside: dict[str, list[tuple[str, Tensor]]] = {}
        for adapter, entries in self.entries.items():
            for e in entries:
                beside.setdefault(e.module, []).append((e.name(adapter), e.tensor))
        given: set[str] = set()
        for name, t in model._tensors().items():
            module = name.rpartition(".")[0]
            at = module if module in layers else copies.get(name)
            if at is None:
                yield name, t
                continue
            middle = "base_layer" if at in layers else "original_module"
            yield f"{at}.{middle}.{name[len(at) + 1:]}", t
            if at not in given:
                given.add(at)
                yield from beside.get(at, ())
        for at, rest in beside.items():
            if at not in given:
                yield from rest

    def tensors(self) -> "dict[str, Tensor]":
        return dict(self.named())

    def state(self, adapter: str) -> "dict[str, Tensor]":
        """The tensors of an adapter as a file has them."""
        self._known([adapter])
        return {e.key: e.tensor for e in self.entries[adapter]}

    def assign(self, adapter: str, values: "dict[str, Any]") -> "tuple[list[str], list[str]]":
        """Copies tensors, named as in a file, into an adapter. Returns what is missing and what is unexpected.
        Errors: RuntimeError for another shape."""
        own = self.state(adapter)
        shapes = [f"{n}: expected {tuple(own[n].shape)}, got {tuple(as_tensor(v).shape)}" for n, v in values.items()
                  if n in own and tuple(own[n].shape) != tuple(as_tensor(v).shape)]
        if shapes:
            raise RuntimeError(f"[set_peft_model_state_dict] wrong shapes: {'; '.join(shapes)}")
        with no_grad():
            for name, value in values.items():
                if name in own:
                    own[name].copy_(as_tensor(value))
        self._activate()  # what is packed is packed again
        return [n for n in own if n not in values], [n for n in values if n not in own]

    def set_requires_grad(self, adapter: str, requires_grad: bool) -> None:
        for e in self.entries[adapter]:
            e.tensor.__dict__["_requires_grad"] = requires_grad
