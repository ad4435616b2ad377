"""PeftModel and its kin: a model together with its adapters, as PEFT wraps it."""
from __future__ import annotations

import contextlib
import copy
import os
import sys
import warnings
from typing import Any, Iterator

from .. import _core, hub
from ..conversion import Tensor
from ..nn.containers import ModuleDict
from ..nn.module import LoadResult, Module
from ..safetensors import load_file, save_file
from .config import CONFIG_NAME, WEIGHTS_NAMES, PeftConfig, PeftType, PromptLearningConfig, TaskType
from .lora import LoraModel
from .state import get_peft_model_state_dict, set_peft_model_state_dict

_HEADS = ["classifier", "score"]


class PeftModel(Module):
    """A model with adapters. Attributes that it lacks are the model's.

    What changes which adapters act (set_adapter, disable_adapter, merging) must not run beside forward passes of other threads.
    """

    def __init__(self, model: Any, peft_config: PeftConfig, adapter_name: str = "default", autocast_adapter_dtype: bool = True,
                 low_cpu_mem_usage: bool = False, folder: "str | None" = None, **kwargs: Any) -> None:
        super().__init__()
        self.active_adapter: Any = adapter_name
        self.peft_type = peft_config.peft_type
        self._is_prompt_learning = peft_config.is_prompt_learning
        self._adapters_disabled = False
        self._peft_config: dict[str, PeftConfig] = {}
        self._missing: list[str] = []
        self._adjust(peft_config)
        if peft_config.is_prompt_learning:
            self.base_model = model
            model.requires_grad_(False)
            self.prompt_encoder = ModuleDict({})
            self.add_adapter(adapter_name, peft_config)
        elif folder is None:
            self.base_model = LoraModel(model, {adapter_name: peft_config}, adapter_name)  # type: ignore[dict-item]
        else:
            self.base_model = LoraModel.__new__(LoraModel)
            Module.__init__(self.base_model)
            self.base_model.model = model
            self.base_model.peft_config = {}
            self._missing = self.base_model.add_adapter(adapter_name, peft_config, folder)
            for t in model._tensors().values():
                t.requires_grad = False
            self.base_model.set_adapter(adapter_name, inference_mode=peft_config.inference_mode)
        self.training = model.training

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_model":
                raise
            return getattr(self.base_model, name)

    def __deepcopy__(self, memo: Any) -> "PeftModel":
        base = copy.deepcopy(self.get_base_model(), memo)
        copied: Any = None
        for name, config in self.peft_config.items():
            fresh = copy.deepcopy(config)
            if copied is None:
                copied = type(self)(base, fresh, name)
            else:
                copied.add_adapter(name, fresh)
            set_peft_model_state_dict(copied, get_peft_model_state_dict(self, adapter_name=name), name)
        copied.set_adapter(self.active_adapter)
        wanted = dict(self.named_parameters())
        for name, t in copied.named_parameters():
            t.requires_grad = wanted[name].requires_grad
        copied.training = self.training
        return copied  # type: ignore[no-any-return]

    def _adjust(self, config: PeftConfig) -> None:
        """What a task adds to a configuration."""

    # What there is
    @property
    def peft_config(self) -> "dict[str, Any]":
        return self._peft_config if self._is_prompt_learning else self.base_model.peft_config

    @property
    def active_peft_config(self) -> Any:
        active = self.active_adapter
        return self.peft_config[active if isinstance(active, str) else active[0]]

    @property
    def active_adapters(self) -> "list[str]":
        if not self._is_prompt_learning:
            return self.base_model.active_adapters  # type: ignore[no-any-return]
        return [self.active_adapter] if isinstance(self.active_adapter, str) else list(self.active_adapter)

    @property
    def modules_to_save(self) -> "set[str] | None":
        names = {n for config in self.peft_config.values() for n in getattr(config, "modules_to_save", None) or ()}
        return names or None

    def get_base_model(self) -> Any:
        """The model that has the adapters."""
        return self.base_model if self._is_prompt_learning else self.base_model.model

    def get_nb_trainable_parameters(self) -> "tuple[int, int]":
        """The numbers of trainable parameters and of all."""
        sizes = [(t.numel(), t.requires_grad) for _, t in self.named_parameters()]
        return sum(n for n, wanted in sizes if wanted), sum(n for n, _ in sizes)

    def print_trainable_parameters(self) -> None:
        """Prints the two numbers and their ratio."""
        trainable, all_of_them = self.get_nb_trainable_parameters()
        sys.stdout.write(f"trainable params: {trainable:,d} || all params: {all_of_them:,d} || trainable%: {100 * trainable / all_of_them:.4f}\n")

    # Running
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not self._is_prompt_learning or self._adapters_disabled:
            return self.get_base_model()(*args, **{k: v for k, v in kwargs.items() if k != "task_ids"})
        from . import prompts

        names = self.base_model._input_names()
        return prompts.forward(self, {**dict(zip(names, args)), **{k: v for k, v in kwargs.items() if k != "task_ids"}})

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """As the model's generate(), with the adapters."""
        if not self._is_prompt_learning or self._adapters_disabled:
            return self.get_base_model().generate(*args, **kwargs)
        from . import prompts

        return prompts.generate(self, *args, **kwargs)

    @contextlib.contextmanager
    def disable_adapter(self) -> "Iterator[None]":
        """Within, the model acts as if it had no adapters."""
        before = self._adapters_disabled
        self._adapters_disabled = True
        if not self._is_prompt_learning and not before:
            self.base_model.disable_adapter_layers()
        try:
            yield
        finally:
            self._adapters_disabled = before
            if not self._is_prompt_learning and not before:
                self.base_model.enable_adapter_layers()

    # Adapters
    def add_adapter(self, adapter_name: str, peft_config: PeftConfig, low_cpu_mem_usage: bool = False, autocast_adapter_dtype: bool = True) -> None:
        """A new adapter, which does not act yet. Errors: ValueError for a name that is taken and another peft_type."""
        self._add(adapter_name, peft_config, None)

    def _add(self, adapter_name: str, peft_config: PeftConfig, folder: "str | None") -> "list[str]":
        if adapter_name in self.peft_config:
            raise ValueError(f"[add_adapter] there is already an adapter named {adapter_name!r}")
        if peft_config.peft_type != self.peft_type:
            raise ValueError(f"[add_adapter] peft_type: expected {self.peft_type.value} as the other adapters have, got {peft_config.peft_type}")
        self._adjust(peft_config)
        if not isinstance(peft_config, PromptLearningConfig):
            return self.base_model.add_adapter(adapter_name, peft_config, folder)  # type: ignore[no-any-return]
        from . import prompts

        self.prompt_encoder[adapter_name] = prompts.make_encoder(self.base_model, peft_config).to(self.base_model.device)
        self.peft_config[adapter_name] = peft_config
        return []

    def load_adapter(self, model_id: "str | os.PathLike[str]", adapter_name: str, is_trainable: bool = False, torch_device: Any = None,
                     autocast_adapter_dtype: bool = True, **kwargs: Any) -> LoadResult:
        """Opens an adapter's folder under a new name; it does not act until set_adapter(). Returns what the folder lacked.

        Errors: FileNotFoundError; ValueError for damaged files, and for an adapter of another architecture, naming the first module that
        does not fit.
        """
        folder = hub.resolve(model_id, **hub.split_arguments(kwargs))
        if adapter_name in self.peft_config:
            return set_peft_model_state_dict(self, load_file(os.path.join(folder, WEIGHTS_NAMES[0])), adapter_name)
        config = PeftConfig.from_pretrained(folder)
        config.inference_mode = not is_trainable
        _check_trainable(config, is_trainable)
        weights = _prompt_file(folder, config) if config.is_prompt_learning else {}
        missing = self._add(adapter_name, config, folder)
        if weights:
            set_peft_model_state_dict(self, weights, adapter_name)
        elif is_trainable:
            self.base_model.set_requires_grad(adapter_name)
        if not is_trainable:
            self.eval()
        return LoadResult([f"base_model.model.{name}" for name in missing], [])

    def set_adapter(self, adapter_name: str, inference_mode: bool = False) -> None:
        """The adapter that acts from now on, and that alone wants gradients. Errors: ValueError."""
        for name in [adapter_name] if isinstance(adapter_name, str) else adapter_name:
            if name not in self.peft_config:
                raise ValueError(f"[set_adapter] expected one of {', '.join(self.peft_config)}, got {name!r}")
        if not self._is_prompt_learning:
            self.base_model.set_adapter(adapter_name, inference_mode=inference_mode)
        else:
            for name, encoder in self.prompt_encoder.items():
                encoder.requires_grad_(name == adapter_name and not inference_mode)
        self.active_adapter = adapter_name

    def delete_adapter(self, adapter_name: str) -> None:
        """Errors: ValueError if there is none of that name."""
        if adapter_name not in self.peft_config:
            raise ValueError(f"[delete_adapter] there is no adapter named {adapter_name!r}")
        if self._is_prompt_learning:
            del self.peft_config[adapter_name]
            del self.prompt_encoder[adapter_name]
            if self.active_adapter == adapter_name:
                self.active_adapter = next(iter(self.peft_config), [])
            return
        self.base_model.delete_adapter(adapter_name)
        if len(self.active_adapters) == 1:
            self.active_adapter = self.active_adapters[0]

    # Prompts
    def get_prompt(self, batch_size: int, task_ids: Any = None, max_cache_len: Any = None) -> Tensor:
        """The virtual tokens' embeddings (B, n, C), or the prefixes (n, 2 * layers * width) of prefix tuning."""
        from . import prompts

        encoded: Tensor = self.prompt_encoder[self.active_adapter]()
        return encoded if self.active_peft_config.peft_type == PeftType.PREFIX_TUNING else prompts.repeated(encoded, batch_size)

    def get_prompt_embedding_to_save(self, adapter_name: str) -> Tensor:
        """What adapter_model.safetensors holds of virtual tokens: prompts, or prefixes after their projection."""
        encoded: Tensor = self.prompt_encoder[adapter_name]()
        return encoded.detach()

    def saved_of_model(self, adapter_name: str) -> "dict[str, Tensor]":
        """The model's own parameters that are trained and saved with virtual tokens: those of modules_to_save."""
        config = self.peft_config[adapter_name]
        return {name: t for name, t in self.base_model._tensors().items() if _is_head(name, config)}

    @property
    def word_embeddings(self) -> Any:
        return self.get_base_model().get_input_embeddings()

    # Files
    def save_pretrained(self, save_directory: "str | os.PathLike[str]", safe_serialization: bool = True, selected_adapters: "list[str] | None" = None,
                        save_embedding_layers: Any = "auto", is_main_process: bool = True, **kwargs: Any) -> None:
        """Writes adapter_config.json and adapter_model.safetensors, which PEFT opens; other adapters than "default" in folders of their names.

        Errors: ValueError for adapters that are not there, a file in the folder's place, and safe_serialization=False.
        """
        folder = os.fspath(save_directory)
        if os.path.isfile(folder):
            raise ValueError(f"[save_pretrained] expected a folder, got the file {folder}")
        if not safe_serialization:
            raise ValueError("[save_pretrained] expected safe_serialization=True, the only format that is written")
        for name in self.peft_config if selected_adapters is None else selected_adapters:
            if name not in self.peft_config:
                raise ValueError(f"[save_pretrained] selected_adapters: expected some of {', '.join(self.peft_config)}, got {name!r}")
        for name in list(self.peft_config) if selected_adapters is None else selected_adapters:
            if is_main_process:
                self._save(name, folder if name == "default" else os.path.join(folder, name), kwargs.get("state_dict"))

    def _save(self, name: str, folder: str, state_dict: Any) -> None:
        config = copy.copy(self.peft_config[name])
        base = self.get_base_model()
        config.base_model_name_or_path = config.base_model_name_or_path or base.name_or_path or None
        config.inference_mode = True
        values = config.to_dict()
        if config.task_type is None:
            values["auto_mapping"] = {"base_model_class": type(base).__name__, "parent_library": f"transformers.models.{base.config.model_type}"}
        if not self._is_prompt_learning and state_dict is None:
            self.base_model.adapters.core.set_config(name, values)
            self.base_model.adapters.core.save(name, folder)
            return
        _core.make_folders(folder)
        save_file(get_peft_model_state_dict(self, state_dict, name), os.path.join(folder, WEIGHTS_NAMES[0]), {"format": "pt"})
        _core.write_json(values, os.path.join(folder, CONFIG_NAME))

    @classmethod
    def from_pretrained(cls, model: Any, model_id: "str | os.PathLike[str]", adapter_name: str = "default", is_trainable: bool = False,
                        config: "PeftConfig | None" = None, **kwargs: Any) -> Any:
        """Opens an adapter's folder over a model, which gets the adapter. Without is_trainable it is for inference.

        Errors: FileNotFoundError; ValueError for damaged files, and for an adapter of another architecture, naming the first module that
        does not fit.
        """
        folder = hub.resolve(model_id, **hub.split_arguments(kwargs))
        if config is None:
            config = PeftConfig.from_pretrained(folder)
        _check_trainable(config, is_trainable)
        config.inference_mode = not is_trainable
        target = MODEL_TYPE_TO_PEFT_MODEL_MAPPING.get(config.task_type, cls)  # type: ignore[arg-type]
        if config.is_prompt_learning:
            weights = _prompt_file(folder, config)
            made = target(model, config, adapter_name)
            set_peft_model_state_dict(made, weights, adapter_name)
            made.prompt_encoder.requires_grad_(False)
        else:
            made = target(model, config, adapter_name, folder=folder)
            if made._missing:
                warnings.warn(f"Found missing adapter keys while loading the checkpoint: {made._missing}.")
        if not is_trainable:
            made.eval()
        return made

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.get_base_model()!r}, {', '.join(f'{n}: {c.peft_type.value}' for n, c in self.peft_config.items())})"


class PeftModelForSequenceClassification(PeftModel):
    """The classifier is trained with the adapter and saved in it."""

    def _adjust(self, config: Any) -> None:
        names = config.modules_to_save or []
        config.modules_to_save = [*names, *(n for n in _HEADS if n not in names)]

    def __init__(self, model: Any, peft_config: PeftConfig, adapter_name: str = "default", **kwargs: Any) -> None:
        super().__init__(model, peft_config, adapter_name, **kwargs)
        if self._is_prompt_learning:
            for t in self.saved_of_model(adapter_name).values():
                t.requires_grad = not peft_config.inference_mode


class PeftModelForTokenClassification(PeftModelForSequenceClassification):
    """As PeftModelForSequenceClassification."""


class PeftModelForQuestionAnswering(PeftModel):
    """As PeftModel."""


class PeftModelForCausalLM(PeftModel):
    """As PeftModel."""


class PeftModelForSeq2SeqLM(PeftModel):
    """As PeftModel."""


class PeftModelForFeatureExtraction(PeftModel):
    """As PeftModel."""


MODEL_TYPE_TO_PEFT_MODEL_MAPPING: dict[Any, type[PeftModel]] = {
    TaskType.SEQ_CLS: PeftModelForSequenceClassification,
    TaskType.SEQ_2_SEQ_LM: PeftModelForSeq2SeqLM,
    TaskType.CAUSAL_LM: PeftModelForCausalLM,
    TaskType.TOKEN_CLS: PeftModelForTokenClassification,
    TaskType.QUESTION_ANS: PeftModelForQuestionAnswering,
    TaskType.FEATURE_EXTRACTION: PeftModelForFeatureExtraction,
}


def _is_head(name: str, config: Any) -> bool:
    module = name
    while "." in module:
        module = module.rpartition(".")[0]
        if any(module.endswith(n) for n in config.modules_to_save or ()):
            return True
    return False


def _prompt_file(folder: str, config: Any) -> "dict[str, Tensor]":
    from .prompts import check_file

    weights = load_file(os.path.join(folder, WEIGHTS_NAMES[0]))
    check_file(config, weights)
    return weights


def _check_trainable(config: PeftConfig, is_trainable: bool) -> None:
    if config.is_prompt_learning and is_trainable:
        raise ValueError("[from_pretrained] is_trainable: a saved prompt can be used, not trained further")


def get_peft_model(model: Any, peft_config: PeftConfig, adapter_name: str = "default", mixed: bool = False, autocast_adapter_dtype: bool = True,
                   revision: "str | None" = None, low_cpu_mem_usage: bool = False) -> PeftModel:
    """A model with a new adapter; the model itself is changed and its weights are frozen.

    Errors: TypeError for what is no model; ValueError for target_modules that name no layer, and for methods that are not supported.
    """
    if mixed:
        raise ValueError("[get_peft_model] mixed=True is not supported")
    if not isinstance(peft_config, PeftConfig) or peft_config.peft_type is None:
        raise TypeError(f"[get_peft_model] expected a LoraConfig, PromptTuningConfig or PrefixTuningConfig, got {type(peft_config).__name__}")
    if isinstance(model, PeftModel):
        raise TypeError("[get_peft_model] the model has adapters already; add_adapter() adds one")
    peft_config.base_model_name_or_path = getattr(model, "name_or_path", None) or None
    target = MODEL_TYPE_TO_PEFT_MODEL_MAPPING.get(peft_config.task_type, PeftModel)
    return target(model, peft_config, adapter_name)
