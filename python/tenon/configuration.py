"""Model configurations: PretrainedConfig, one class per family, AutoConfig."""
from __future__ import annotations

import copy
import os
from typing import Any, Iterator

from . import _core, hub
from .families import FAMILIES, Family, family_of

_COMMON: dict[str, Any] = {
    "architectures": None, "dtype": None, "output_hidden_states": False, "output_attentions": False, "return_dict": True,
    "chunk_size_feed_forward": 0, "is_encoder_decoder": False, "problem_type": None, "tie_word_embeddings": True,
}


class PretrainedConfig:
    """The settings of a model as attributes, under the keys of its config.json."""

    model_type: str = ""
    family: Family = family_of("")
    name_or_path: str

    def __init__(self, **kwargs: Any) -> None:
        values = {**_COMMON, **copy.deepcopy(self.family.defaults)}
        num_labels, id2label, label2id = (kwargs.pop(name, None) for name in ("num_labels", "id2label", "label2id"))
        kwargs.pop("model_type", None)
        dtype = kwargs.pop("torch_dtype", None)
        if dtype is not None:
            kwargs.setdefault("dtype", dtype)
        self.__dict__["name_or_path"] = str(kwargs.pop("name_or_path", kwargs.pop("_name_or_path", "")))
        for key, model_type in self.family.sub_configs.items():
            part = kwargs.pop(key, None)
            part = part.to_dict() if isinstance(part, PretrainedConfig) else dict(part or {})
            values[key] = config_class(model_type)(**part)
        for key, value in values.items():
            self.__dict__[key] = value
        for key, value in kwargs.items():
            setattr(self, key, value)
        if id2label is None:
            self.num_labels = 2 if num_labels is None else num_labels
        else:
            self.id2label = {int(i): name for i, name in id2label.items()}
            if num_labels is not None and num_labels != len(id2label):
                raise ValueError(f"[config] num_labels: expected {len(id2label)} as id2label has, got {num_labels}")
            self.label2id = {name: i for i, name in self.id2label.items()}
        if label2id is not None:
            self.label2id = dict(label2id)

    # Attributes
    def __setattr__(self, name: str, value: Any) -> None:
        name = self.family.attribute_map.get(name, name)
        if name == "torch_dtype":
            name = "dtype"
        if name == "dtype" and value is not None:
            value = str(value).rpartition(".")[2]
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:  # only reached when there is no such attribute
        mapped = "dtype" if name == "torch_dtype" else self.family.attribute_map.get(name)
        if mapped is not None and mapped in self.__dict__:
            return self.__dict__[mapped]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __contains__(self, name: str) -> bool:
        return name in self.__dict__ or self.family.attribute_map.get(name) in self.__dict__

    @property
    def num_labels(self) -> int:
        """The number of classes; setting it renames them to LABEL_0, LABEL_1, ..."""
        return len(self.id2label)

    @num_labels.setter
    def num_labels(self, n: int) -> None:
        if n != len(self.__dict__.get("id2label") or ()):
            self.id2label = {i: f"LABEL_{i}" for i in range(n)}
            self.label2id = {name: i for i, name in self.id2label.items()}

    @property
    def use_return_dict(self) -> bool:
        return bool(self.return_dict)

    def get_text_config(self, decoder: bool = False) -> "PretrainedConfig":
        return self.__dict__.get("text_config", self)

    def update(self, values: dict[str, Any]) -> None:
        for key, value in values.items():
            setattr(self, key, value)

    # To and from files
    def to_dict(self) -> dict[str, Any]:
        """All settings, sub-configurations as dicts, and model_type."""
        values = {k: v.to_dict() if isinstance(v, PretrainedConfig) else copy.deepcopy(v) for k, v in self.__dict__.items() if k != "name_or_path"}
        return {**values, "_name_or_path": self.name_or_path, "model_type": self.model_type}

    def to_diff_dict(self) -> dict[str, Any]:
        """What config.json holds: the family's settings, and of the common ones those that differ from their defaults."""
        plain = {**_COMMON, "id2label": {0: "LABEL_0", 1: "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}
        own = self.family.defaults
        values = {k: v.to_diff_dict() if isinstance(v, PretrainedConfig) else v for k, v in self.__dict__.items() if k != "name_or_path"}
        kept = {k: v for k, v in values.items() if k in own or k not in plain or v != plain[k]}
        return dict(sorted({**kept, "model_type": self.model_type}.items()))

    def to_json_string(self, use_diff: bool = True) -> str:
        return _core.dump_json(self.to_diff_dict() if use_diff else self.to_dict()) + "\n"

    def to_json_file(self, path: "str | os.PathLike[str]", use_diff: bool = True) -> None:
        _core.write_json(self.to_diff_dict() if use_diff else self.to_dict(), os.fspath(path))

    def save_pretrained(self, save_directory: "str | os.PathLike[str]", push_to_hub: bool = False, **kwargs: Any) -> None:
        """Writes config.json into a folder, which is made if needed."""
        folder = os.fspath(save_directory)
        _core.make_folders(folder)
        self.to_json_file(os.path.join(folder, "config.json"))

    @classmethod
    def get_config_dict(cls, path: "str | os.PathLike[str]", **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The content of config.json, and the arguments that were not needed to find it."""
        fetch = hub.split_arguments(kwargs)
        if os.path.isfile(path):
            return _core.read_json(os.fspath(path)), kwargs
        return _core.read_config(hub.resolve(path, **fetch)), kwargs

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: "str | os.PathLike[str]", *, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """Reads a checkpoint's config.json; further arguments override its settings. Errors: FileNotFoundError, ValueError, TypeError."""
        values, kwargs = cls.get_config_dict(pretrained_model_name_or_path, **kwargs)
        config_type = cls if cls.model_type else config_class(_model_type(values, pretrained_model_name_or_path))
        if values.get("model_type") != config_type.model_type:  # CLIPTextConfig opens a whole CLIP checkpoint
            for part in (values[k] for k, t in family_of(values.get("model_type", "")).sub_configs.items() if t == config_type.model_type and k in values):
                values = part
        config = config_type.from_dict(values, name_or_path=os.fspath(pretrained_model_name_or_path))
        unused = config.override(kwargs)
        if return_unused_kwargs:
            return config, unused
        if unused:
            raise TypeError(f"[from_pretrained] unknown arguments: {', '.join(sorted(unused))}")
        return config

    def override(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Takes over the settings among kwargs and returns the rest."""
        kwargs = dict(kwargs)
        labels = {name: kwargs.pop(name) for name in ("num_labels", "id2label", "label2id") if name in kwargs}
        if labels.get("id2label") is not None:
            self.id2label = {int(i): name for i, name in labels["id2label"].items()}
            self.label2id = {name: i for i, name in self.id2label.items()}
        elif labels.get("num_labels") is not None:
            self.num_labels = labels["num_labels"]
        if labels.get("label2id") is not None:
            self.label2id = dict(labels["label2id"])
        known = [name for name in kwargs if name in self or name in ("torch_dtype", "add_pooling_layer")]
        for name in known:
            setattr(self, name, kwargs.pop(name))
        return kwargs

    @classmethod
    def from_dict(cls, values: dict[str, Any], **kwargs: Any) -> Any:
        for name in ("id2label", "label2id"):
            if values.get(name) is not None and not isinstance(values[name], dict):
                raise TypeError(f"[config.json] {name}: expected an object, got {type(values[name]).__name__}")
        config = cls(**{**values, **{k: v for k, v in kwargs.items() if k == "name_or_path"}})
        config.override({k: v for k, v in kwargs.items() if k != "name_or_path"})
        return config

    @classmethod
    def from_json_file(cls, path: "str | os.PathLike[str]") -> Any:
        return cls.from_dict(_core.read_json(os.fspath(path)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PretrainedConfig) and self.to_dict() == other.to_dict()

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string().rstrip()}\n"

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)


PreTrainedConfig = PretrainedConfig  # Transformers 5 spells it so


def known_model_types() -> list[str]:
    """The model_types that the library opens."""
    return list(dict.fromkeys(row[0] for row in _core.registry()))


def _model_type(values: dict[str, Any], where: Any) -> str:
    model_type = values.get("model_type")
    architectures = values.get("architectures") or []
    if model_type is None:  # configurations from before 2020
        model_type = next((row[0] for row in _core.registry() if row[1] in architectures), None)
    if not isinstance(model_type, str) or model_type not in known_model_types():
        named = f" ({', '.join(map(str, architectures))})" if architectures else ""
        raise ValueError(f"[config.json] {os.fspath(where)}: the architecture {model_type!r}{named} is not known; known are: "
                         f"{', '.join(known_model_types())}")
    return model_type


_classes: dict[str, type[PretrainedConfig]] = {}


def config_class(model_type: str) -> type[PretrainedConfig]:
    """The configuration class of a model_type; made at its first use."""
    if model_type not in _classes:
        family = family_of(model_type)
        name = family.config_class
        if name == "PretrainedConfig":
            stem = next(row[1] for row in _core.registry() if row[0] == model_type).partition("For")[0].removesuffix("Model")
            name = f"{stem}Config"
        members = {"model_type": model_type, "family": family, "__module__": __name__, "__doc__": f"The settings of {model_type} models."}
        _classes[model_type] = type(name, (PretrainedConfig,), members)
    return _classes[model_type]


class AutoConfig:
    """Opens any known configuration."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: "str | os.PathLike[str]", **kwargs: Any) -> Any:
        """Reads config.json and chooses the class by its model_type."""
        return PretrainedConfig.from_pretrained(pretrained_model_name_or_path, **kwargs)

    @classmethod
    def for_model(cls, model_type: str, **kwargs: Any) -> PretrainedConfig:
        """A configuration with the defaults of a family. Errors: ValueError for an unknown one."""
        return config_class(_model_type({"model_type": model_type}, "AutoConfig"))(**kwargs)


def class_names() -> dict[str, str]:
    """Configuration class names to model_types."""
    return {f.config_class: t for t, f in FAMILIES.items()}


def __getattr__(name: str) -> Any:
    model_type = class_names().get(name)
    if model_type is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return config_class(model_type)
