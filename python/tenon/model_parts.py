"""Parts of compiled models by name, and models that users make of models: opened and saved by the names of their weights."""
from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Iterator

from . import _core, hub
from ._core import Tensor
from .conversion import device_name
from .nn.module import Module

if TYPE_CHECKING:
    from .modeling import PreTrainedModel


class Part(Module):
    """A part of a compiled model (model.bert.encoder.layer[0]): lists its parameters and freezes them; it is not called on its own."""

    def __init__(self, model: "PreTrainedModel", prefix: str) -> None:
        super().__init__()
        self.__dict__.update(_model=model, _prefix=prefix)
        self.__dict__.pop("training")

    @staticmethod
    def names(model: "PreTrainedModel") -> set[str]:
        """The names of a model's own parts."""
        return {name.partition(".")[0] for name in model._tensors()} if model.__dict__.get("_core") is not None else set()

    @staticmethod
    def find(model: "PreTrainedModel", path: str) -> Any:
        """The weight or part of this name, or None."""
        weights = model._tensors() if model.__dict__.get("_core") is not None else {}
        if path in weights:
            return weights[path]
        return Part(model, path) if any(name.startswith(path + ".") for name in weights) else None

    @property
    def training(self) -> bool:  # type: ignore[override]
        return self._model.training  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        found = Part.find(self._model, f"{self._prefix}.{name}") if not name.startswith("_") else None
        if found is None:
            raise AttributeError(f"{self._prefix} of {type(self.__dict__['_model']).__name__} has no attribute {name!r}")
        return found

    def __getitem__(self, index: Any) -> Any:
        parts = list(self)
        return parts[index]

    def __len__(self) -> int:
        return len({name.partition(".")[0] for name, _ in self._own_parameters() if name.partition(".")[0].isdigit()})

    def __iter__(self) -> Iterator[Any]:
        return iter([getattr(self, str(i)) for i in range(len(self))])

    def _own_parameters(self) -> "Iterator[tuple[str, Tensor | None]]":
        lead = self._prefix + "."
        return ((name[len(lead) :], t) for name, t in self._model._tensors().items() if name.startswith(lead))

    def train(self, mode: bool = True) -> Any:
        if mode != self.training:
            raise RuntimeError(f"[{self._prefix}] a part of a compiled model is in the mode of the whole; call train() or eval() of the model")
        return self

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"[{self._prefix}] a part of a compiled model is not called on its own; call the model, with "
                                  "output_hidden_states=True for what is between the layers")

    def __repr__(self) -> str:
        return f"Part({self._prefix!r}, parameters={sum(p.numel() for p in self.parameters()):,})"


def _weights(folder: str) -> dict[str, Tensor]:
    """All tensors of a checkpoint folder."""
    found: dict[str, Tensor] = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors") and name.startswith("model"):
            found.update(_core.load_file(os.path.join(folder, name)))
    if not found:
        raise FileNotFoundError(f"[from_pretrained] expected model.safetensors in {folder}")
    return found


def load_composed(cls: Any, path: Any, model_args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """from_pretrained for a class of the user's: made from the configuration, then filled by the names of the weights.

    A checkpoint of the base model alone fills the part whose name is its prefix (bert), and the other way round.
    """
    kwargs = dict(kwargs)
    folder = os.fspath(hub.resolve(path, **hub.split_arguments(kwargs)))
    where = device_name(kwargs.pop("device", None))
    wants_info = kwargs.pop("output_loading_info", False)
    config = kwargs.pop("config", None) or cls.config_class.from_pretrained(folder)
    known = {k: kwargs.pop(k) for k in list(kwargs) if k in config or k in ("num_labels", "id2label", "label2id")}
    if known:
        config.override(known)
    model = cls(config, *model_args, **kwargs)
    own, given = model._state(), _weights(folder)
    inner = [(name, part._core.base_prefix) for name, part in model.named_children() if getattr(part, "_core", None) is not None]
    renamed = {}
    for name, t in given.items():
        first, _, rest = name.partition(".")
        candidates = [name, *(f"{part}.{name}" for part, _ in inner), *(f"{part}.{rest}" for part, prefix in inner if prefix == first)]
        renamed[next((c for c in candidates if c in own), name)] = t
    fitting = {n: t for n, t in renamed.items() if n in own and tuple(t.shape) == tuple(own[n].shape)}
    result = model.load_state_dict(fitting, strict=False)
    unexpected = [n for n in renamed if n not in own]
    mismatched = [n for n in renamed if n in own and n not in fitting]
    if result.missing_keys:
        hub.warn(f"{cls.__name__}: weights that {os.fspath(path)} lacks were newly initialized: {', '.join(result.missing_keys[:12])}. "
                 "Train this model before using its predictions.")
    model.to(where).eval()
    if not wants_info:
        return model
    return model, {"missing_keys": result.missing_keys, "unexpected_keys": unexpected, "mismatched_keys": mismatched, "error_msgs": []}


def save_composed(model: "PreTrainedModel", folder: str) -> None:
    """save_pretrained for a model with parts of the user's."""
    _core.make_folders(folder)
    config = {**model.config.to_diff_dict(), "architectures": [type(model).__name__]}
    _core.write_json(config, os.path.join(folder, "config.json"))
    _core.save_file([(name, t.detach()) for name, t in model._state().items()], os.path.join(folder, "model.safetensors"), {"format": "pt"})
