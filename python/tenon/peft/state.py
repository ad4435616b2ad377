"""The tensors of an adapter as its file has them: taken from a model, put into a model, read from a folder."""
from __future__ import annotations

import os
from typing import Any

from .. import hub
from ..conversion import Tensor, as_tensor
from ..nn.module import LoadResult
from ..safetensors import load_file
from .config import WEIGHTS_NAMES


def get_peft_model_state_dict(model: Any, state_dict: Any = None, adapter_name: str = "default", unwrap_compiled: bool = False,
                              save_embedding_layers: Any = "auto") -> "dict[str, Tensor]":
    """The tensors of one adapter by the names that adapter_model.safetensors has. Errors: ValueError if there is none of that name."""
    if hasattr(model, "peft_config") and adapter_name not in model.peft_config:
        raise ValueError(f"[get_peft_model_state_dict] expected one of {', '.join(model.peft_config)}, got {adapter_name!r}")
    if getattr(model, "_is_prompt_learning", False):
        return {"prompt_embeddings": model.get_prompt_embedding_to_save(adapter_name),
                **{f"base_model.{name}": t.detach() for name, t in model.saved_of_model(adapter_name).items()}}
    adapters = _adapters_of(model)
    own: dict[str, Tensor] = adapters.state(adapter_name)
    if state_dict is None:
        return {name: t.detach() for name, t in own.items()}
    given = dict(state_dict)
    names = {e.key: f"base_model.model.{e.name(adapter_name)}" for e in adapters.entries[adapter_name]}
    return {key: as_tensor(given[names[key]] if names[key] in given else given.get(key, own[key])) for key in own}


def set_peft_model_state_dict(model: Any, peft_model_state_dict: "dict[str, Any]", adapter_name: str = "default",
                              ignore_mismatched_sizes: bool = False, low_cpu_mem_usage: bool = False) -> LoadResult:
    """Copies tensors, named as in a file, into an adapter. Errors: ValueError if there is none of that name; RuntimeError for another shape."""
    if getattr(model, "_is_prompt_learning", False):
        values = dict(peft_model_state_dict)
        embeddings = values.pop("prompt_embeddings", None)
        if embeddings is None:
            raise ValueError("[set_peft_model_state_dict] prompt_embeddings is missing")
        model.prompt_encoder[adapter_name].load_prompt_embeddings(as_tensor(embeddings))
        own = model.saved_of_model(adapter_name)
        heads = {name: as_tensor(values.pop(f"base_model.{name}")) for name in own if f"base_model.{name}" in values}
        if heads:
            model.base_model.load_state_dict(heads, strict=False)
        return LoadResult([f"base_model.{name}" for name in own if name not in heads], list(values))
    adapters = _adapters_of(model)
    if ignore_mismatched_sizes and adapter_name in adapters.entries:
        own = adapters.state(adapter_name)
        peft_model_state_dict = {n: v for n, v in peft_model_state_dict.items()
                                 if n not in own or tuple(own[n].shape) == tuple(as_tensor(v).shape)}
    return LoadResult(*adapters.assign(adapter_name, peft_model_state_dict))


def load_peft_weights(model_id: "str | os.PathLike[str]", device: Any = None, **kwargs: Any) -> "dict[str, Tensor]":
    """The tensors of an adapter's folder. Errors: FileNotFoundError; ValueError for a damaged file."""
    folder = hub.resolve(model_id, **hub.split_arguments(kwargs))
    return load_file(os.path.join(folder, WEIGHTS_NAMES[0]))


def _adapters_of(model: Any) -> Any:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    adapters = getattr(base, "_adapters", None)
    if adapters is None:
        raise ValueError(f"[adapter] {type(base).__name__} has no adapters")
    return adapters
