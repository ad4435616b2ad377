"""The Auto classes for models: they choose the concrete class by the checkpoint's configuration."""
from __future__ import annotations

import os
from typing import Any

from . import _core
from .configuration import PretrainedConfig
from .modeling import PreTrainedModel, load_model, model_class


class _AutoModel:
    """Made by from_pretrained or from_config, never by its constructor."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise OSError(f"{type(self).__name__} is made with {type(self).__name__}.from_pretrained(folder) or .from_config(config)")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: "str | os.PathLike[str]", *model_args: Any, **kwargs: Any) -> PreTrainedModel:
        """See PreTrainedModel.from_pretrained."""
        return load_model(cls.__name__, pretrained_model_name_or_path, kwargs)

    @classmethod
    def from_config(cls, config: PretrainedConfig, **kwargs: Any) -> PreTrainedModel:
        """A model with fresh weights. Errors: ValueError if there is no such model for the configuration."""
        for model_type, class_name, auto_class in _core.registry():
            if model_type == config.model_type and auto_class == cls.__name__:
                return model_class(class_name)(config, **kwargs)
        known = sorted({row[0] for row in _core.registry() if row[2] == cls.__name__})
        raise ValueError(f"[{cls.__name__}] the architecture {config.model_type!r} is not known; known are: {', '.join(known)}")


_classes: dict[str, type[_AutoModel]] = {}


def class_names() -> list[str]:
    """The Auto classes that the registry names."""
    return list(dict.fromkeys(row[2] for row in _core.registry() if row[2]))


def __getattr__(name: str) -> Any:
    if name not in _classes:
        if name not in class_names():
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        _classes[name] = type(name, (_AutoModel,), {"__module__": __name__, "__doc__": f"Opens any checkpoint that serves as {name}."})
    return _classes[name]
