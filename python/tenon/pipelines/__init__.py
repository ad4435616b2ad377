"""pipeline(task, model=...): from raw inputs to results in one call."""
from __future__ import annotations

import importlib
import os
from typing import Any

from .. import hub

# task: (module, class, Auto class, the hub name that Transformers takes where none is given)
_TASKS: dict[str, tuple[str, str, str, str]] = {
    "text-classification": ("text", "TextClassificationPipeline", "AutoModelForSequenceClassification",
                            "distilbert/distilbert-base-uncased-finetuned-sst-2-english"),
    "feature-extraction": ("text", "FeatureExtractionPipeline", "AutoModel", "distilbert/distilbert-base-cased"),
    "fill-mask": ("text", "FillMaskPipeline", "AutoModelForMaskedLM", "distilbert/distilroberta-base"),
    "image-classification": ("image", "ImageClassificationPipeline", "AutoModelForImageClassification", "google/vit-base-patch16-224"),
    "image-feature-extraction": ("image", "ImageFeatureExtractionPipeline", "AutoModel", "google/vit-base-patch16-224"),
    "zero-shot-image-classification": ("image", "ZeroShotImageClassificationPipeline", "AutoModelForZeroShotImageClassification",
                                       "openai/clip-vit-large-patch14"),
    "text-generation": ("generation", "TextGenerationPipeline", "AutoModelForCausalLM", "openai-community/gpt2"),
    "text2text-generation": ("generation", "Text2TextGenerationPipeline", "AutoModelForSeq2SeqLM", "google-t5/t5-base"),
    "summarization": ("generation", "SummarizationPipeline", "AutoModelForSeq2SeqLM", "google-t5/t5-base"),
    "translation": ("generation", "TranslationPipeline", "AutoModelForSeq2SeqLM", "google-t5/t5-base"),
}
_ALIASES = {"sentiment-analysis": "text-classification"}
_BY_HEAD = {"ForSequenceClassification": "text-classification", "ForMaskedLM": "fill-mask", "ForImageClassification": "image-classification",
            "CLIPModel": "zero-shot-image-classification", "ForCausalLM": "text-generation", "LMHeadModel": "text-generation",
            "MTModel": "translation", "M2M100ForConditionalGeneration": "translation", "ForConditionalGeneration": "text2text-generation"}


def _task_of(model: Any, resolved: "str | None") -> str:
    """The task that a model is for, by the class that its configuration names."""
    architectures: Any = [type(model.get_base_model() if hasattr(model, "get_base_model") else model).__name__]
    if resolved is not None:
        from .. import _core

        architectures = _core.read_config(resolved).get("architectures") or []
    for name in architectures:
        for head, task in _BY_HEAD.items():
            if name.endswith(head):
                return task
    return "image-feature-extraction" if any("ViT" in name or "Vision" in name for name in architectures) else "feature-extraction"


def _base_folder(folder: "str | None", fetch: "dict[str, Any]") -> "str | None":
    """Where the model lies: for an adapter's folder that of the model which it names."""
    if folder is None or not os.path.isfile(os.path.join(folder, "adapter_config.json")) or os.path.isfile(os.path.join(folder, "config.json")):
        return folder
    from ..peft.auto import base_of
    from ..peft.config import PeftConfig

    return hub.resolve(base_of(folder, PeftConfig.from_pretrained(folder)), **fetch)


def _holder(folder: "str | None", base: "str | None") -> "str | None":
    """The folder that a tokenizer or processor comes from: the adapter's own, if it has one."""
    own = folder is not None and any(os.path.isfile(os.path.join(folder, f)) for f in ("tokenizer_config.json", "preprocessor_config.json"))
    return folder if own else base


def pipeline(task: "str | None" = None, model: Any = None, config: Any = None, tokenizer: Any = None, feature_extractor: Any = None,
             image_processor: Any = None, processor: Any = None, revision: "str | None" = None, use_fast: bool = True, token: Any = None,
             device: Any = None, device_map: Any = None, dtype: Any = None, trust_remote_code: "bool | None" = None,
             model_kwargs: "dict[str, Any] | None" = None, pipeline_class: Any = None, exact: "bool | None" = None, **kwargs: Any) -> Any:
    """A Pipeline for a task from a checkpoint folder, a cached hub name, or a model object with its tokenizer or image processor.

    Tasks: text-classification (sentiment-analysis), feature-extraction, fill-mask, image-classification, image-feature-extraction,
    zero-shot-image-classification, text-generation, translation (translation_en_to_de), summarization, text2text-generation.
    device: -1 or "cpu", 0 or "cuda", where tenon.cuda.is_available(); a model object is moved there. exact: of quantised checkpoints, as from_pretrained() has it. Other arguments (top_k, batch_size, ...) are defaults of each call.
    Errors: KeyError for an unknown task; FileNotFoundError; TypeError for unknown arguments.
    """
    from .. import auto
    from ..image_processing import AutoImageProcessor
    from ..conversion import device_name
    from ..tokenization import AutoTokenizer

    where = device_name(device if device is not None else device_map)
    if task is None and model is None:
        raise RuntimeError("[pipeline] expected a task or a model")
    model_kwargs = dict(model_kwargs or {})
    fetch = {k: v for k, v in {"revision": revision, "token": token, "cache_dir": model_kwargs.pop("cache_dir", None)}.items() if v is not None}
    name = _ALIASES.get(task, task) if task is not None else None
    if name is not None and name.startswith("translation_"):
        name = "translation"
    if name is not None and name not in _TASKS:
        raise KeyError(f"[pipeline] unknown task {task!r}; known are {', '.join([*_TASKS, *_ALIASES])}")
    source: Any = model if model is not None else _TASKS[name or ""][3]
    folder = hub.resolve(source, **fetch) if isinstance(source, (str, os.PathLike)) else None
    base = _base_folder(folder, fetch)
    name = name or _task_of(model, base)
    module, class_name, auto_class, _ = _TASKS[name]
    cls = pipeline_class or getattr(importlib.import_module(f".{module}", __name__), class_name)
    if exact is not None:
        if folder is None:
            raise ValueError("[pipeline] exact: expected with a folder or name; from_pretrained(exact=...) says it of a model object")
        model_kwargs["exact"] = exact
    if folder is not None:
        dtype = kwargs.pop("torch_dtype", None) if dtype is None else dtype
        source = getattr(auto, auto_class).from_pretrained(folder, dtype=dtype, config=config, device=where, **model_kwargs)
    tokenizer = tokenizer if tokenizer is not None else getattr(processor, "tokenizer", None)
    images = next((p for p in (image_processor, feature_extractor, getattr(processor, "image_processor", None)) if p is not None), None)
    parts = {}
    for part, value, opener in (("tokenizer", tokenizer, AutoTokenizer), ("image_processor", images, AutoImageProcessor)):
        if part in cls.needs:
            value = _holder(folder, base) if value is None else value
            parts[part] = opener.from_pretrained(value, **fetch) if isinstance(value, (str, os.PathLike)) else value
    if folder is None and (device is not None or device_map is not None):
        kwargs["device"] = where
    if name == "translation":
        kwargs.setdefault("task", task)  # its name says which languages
    return cls(source, **parts, **kwargs)


def __getattr__(name: str) -> Any:
    for module, class_name, _, _ in _TASKS.values():
        if name == class_name:
            return getattr(importlib.import_module(f".{module}", __name__), name)
    if name in ("Pipeline", "PipelineException"):
        return getattr(importlib.import_module(".base", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
