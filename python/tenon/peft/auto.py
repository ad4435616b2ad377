"""AutoPeftModel and its kin: an adapter's folder together with the model that it names."""
from __future__ import annotations

import os
from typing import Any

from .. import hub
from .config import CONFIG_NAME, PeftConfig, TaskType
from .model import PeftModel

_AUTO = {TaskType.SEQ_CLS: "AutoModelForSequenceClassification", TaskType.SEQ_2_SEQ_LM: "AutoModelForSeq2SeqLM",
         TaskType.CAUSAL_LM: "AutoModelForCausalLM", TaskType.FEATURE_EXTRACTION: "AutoModel"}


def is_adapter(folder: str) -> bool:
    """Whether a folder holds an adapter and no model."""
    return os.path.isfile(os.path.join(folder, CONFIG_NAME)) and not os.path.isfile(os.path.join(folder, "config.json"))


def base_of(folder: str, config: PeftConfig) -> str:
    """Where the model of an adapter lies: as its configuration says, or beside the adapter. Errors: ValueError if it does not say."""
    name = config.base_model_name_or_path
    if not name:
        raise ValueError(f"[{folder}] {CONFIG_NAME}: base_model_name_or_path is not set; open the model, then "
                         "PeftModel.from_pretrained(model, folder)")
    beside = os.path.normpath(os.path.join(folder, name))
    return beside if not os.path.isdir(name) and os.path.isdir(beside) else name


class _AutoPeftModel:
    task_type: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise EnvironmentError(f"{type(self).__name__} is made by {type(self).__name__}.from_pretrained(folder)")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: "str | os.PathLike[str]", adapter_name: str = "default", is_trainable: bool = False,
                        config: "PeftConfig | None" = None, revision: "str | None" = None, **kwargs: Any) -> Any:
        """Opens the model that an adapter's folder names, then the adapter. Other arguments are the model's.

        Errors: as PeftModel.from_pretrained; ValueError if the folder names no model or is for another task.
        """
        from .. import __getattr__ as by_name

        folder = hub.resolve(pretrained_model_name_or_path, **({"revision": revision} if revision else {}))
        if config is None:
            config = PeftConfig.from_pretrained(folder)
        if cls.task_type is not None and config.task_type != cls.task_type:
            raise ValueError(f"[{cls.__name__}] expected an adapter for {cls.task_type.value}, got task_type {config.task_type}")
        auto = _AUTO.get(config.task_type)  # type: ignore[arg-type]
        mapping = config.auto_mapping if isinstance(config.auto_mapping, dict) else {}
        name = auto or mapping.get("base_model_class") or "AutoModel"
        model = by_name(name).from_pretrained(base_of(folder, config), **kwargs)
        return PeftModel.from_pretrained(model, folder, adapter_name, is_trainable, config)


class AutoPeftModel(_AutoPeftModel):
    """For any adapter."""


class AutoPeftModelForCausalLM(_AutoPeftModel):
    """For adapters of task_type CAUSAL_LM."""

    task_type = TaskType.CAUSAL_LM


class AutoPeftModelForSeq2SeqLM(_AutoPeftModel):
    """For adapters of task_type SEQ_2_SEQ_LM."""

    task_type = TaskType.SEQ_2_SEQ_LM


class AutoPeftModelForSequenceClassification(_AutoPeftModel):
    """For adapters of task_type SEQ_CLS."""

    task_type = TaskType.SEQ_CLS


class AutoPeftModelForFeatureExtraction(_AutoPeftModel):
    """For adapters of task_type FEATURE_EXTRACTION."""

    task_type = TaskType.FEATURE_EXTRACTION
