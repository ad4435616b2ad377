"""What adapter_config.json holds, as PEFT's configuration classes."""
from __future__ import annotations

import dataclasses
import enum
import os
from typing import Any

from .. import _core, hub

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAMES = ("adapter_model.safetensors", "adapter_model.bin")


class PeftType(str, enum.Enum):
    """The methods that exist here."""

    LORA = "LORA"
    PROMPT_TUNING = "PROMPT_TUNING"
    PREFIX_TUNING = "PREFIX_TUNING"


class TaskType(str, enum.Enum):
    """What an adapted model is for; says which PeftModelFor... class wraps it."""

    SEQ_CLS = "SEQ_CLS"
    SEQ_2_SEQ_LM = "SEQ_2_SEQ_LM"
    CAUSAL_LM = "CAUSAL_LM"
    TOKEN_CLS = "TOKEN_CLS"
    QUESTION_ANS = "QUESTION_ANS"
    FEATURE_EXTRACTION = "FEATURE_EXTRACTION"


class PromptTuningInit(str, enum.Enum):
    """How the virtual tokens start: at random, as words drawn from the vocabulary, or as the words of a text."""

    TEXT = "TEXT"
    SAMPLE_VOCAB = "SAMPLE_VOCAB"
    RANDOM = "RANDOM"


@dataclasses.dataclass
class PeftConfig:
    """What all methods have in common. Errors: ValueError for a task_type or peft_type that is not known."""

    task_type: Any = None
    peft_type: Any = None
    auto_mapping: Any = None
    peft_version: "str | None" = None
    base_model_name_or_path: "str | None" = None
    revision: "str | None" = None
    inference_mode: bool = False

    def __post_init__(self) -> None:
        if self.task_type is not None and not isinstance(self.task_type, TaskType):
            try:
                self.task_type = TaskType(self.task_type)
            except ValueError:
                raise ValueError(f"[{type(self).__name__}] task_type: expected one of {', '.join(TaskType)}, got {self.task_type!r}") from None
        self.other: dict[str, Any] = {}  # fields of newer versions, kept as they are

    @property
    def is_prompt_learning(self) -> bool:
        return False

    @property
    def is_adaption_prompt(self) -> bool:
        return False

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON has them, sorted by name."""
        values = {**getattr(self, "other", {}), **{f.name: getattr(self, f.name) for f in dataclasses.fields(self)}}
        values.pop("runtime_config", None)
        return {name: _plain(values[name]) for name in sorted(values)}

    def save_pretrained(self, save_directory: "str | os.PathLike[str]", **kwargs: Any) -> None:
        """Writes adapter_config.json into a folder, which is made if needed."""
        folder = os.fspath(save_directory)
        _core.make_folders(folder)
        _core.write_json({**self.to_dict(), **{k: v for k, v in kwargs.items() if k == "auto_mapping"}}, os.path.join(folder, CONFIG_NAME))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: "str | os.PathLike[str]", subfolder: "str | None" = None, **kwargs: Any) -> Any:
        """Reads adapter_config.json of an adapter; PeftConfig itself gives the class that the file's peft_type names.

        Errors: FileNotFoundError; ValueError for a damaged file and for methods that are not known; TypeError for fields of another type.
        """
        if subfolder:
            kwargs["subfolder"] = subfolder
        folder = hub.resolve(pretrained_model_name_or_path, **hub.split_arguments(kwargs))
        values = _core.read_json(os.path.join(folder, CONFIG_NAME))
        if not isinstance(values, dict):
            raise ValueError(f"[{folder}] {CONFIG_NAME}: expected an object")
        return cls.from_dict({**values, **kwargs})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Any:
        """A configuration from the fields of a file. Errors: as from_pretrained()."""
        kind = values.get("peft_type", cls().peft_type if cls is not PeftConfig else None)
        target = PEFT_TYPE_TO_CONFIG_MAPPING.get(kind)
        if target is None:
            raise ValueError(f"[adapter] peft_type: expected one of {', '.join(PEFT_TYPE_TO_CONFIG_MAPPING)}, got {kind!r}")
        if cls is not PeftConfig and not issubclass(target, cls):
            raise ValueError(f"[adapter] peft_type: expected a configuration for {cls.__name__}, got {kind!r}")
        known = {f.name for f in dataclasses.fields(target) if f.init and f.name != "peft_type"}
        config = target(**{k: v for k, v in values.items() if k in known and k != "runtime_config"})
        config.other = {k: v for k, v in values.items() if k not in known and k != "peft_type"}
        return config


@dataclasses.dataclass
class LoraRuntimeConfig:
    """Settings of PEFT's LoRA that no file holds; they have no effect here."""

    ephemeral_gpu_offload: bool = False


@dataclasses.dataclass
class LoraConfig(PeftConfig):
    """A LoRA adapter: y = W x + lora_alpha / r * B A x in the layers that target_modules names.

    target_modules: endings of layer names, one regular expression for whole names, or "all-linear"; None: the family's usual ones.
    Errors: as PeftConfig. Fields that change the arithmetic and are not known here (use_dora, ...) are refused, by name, when the adapter
    is made.
    """

    r: int = 8
    target_modules: Any = None
    exclude_modules: Any = None
    lora_alpha: float = 8
    lora_dropout: float = 0.0
    fan_in_fan_out: bool = False
    bias: str = "none"
    use_rslora: bool = False
    modules_to_save: Any = None
    init_lora_weights: Any = True
    layers_to_transform: Any = None
    layers_pattern: Any = None
    rank_pattern: Any = dataclasses.field(default_factory=dict)
    alpha_pattern: Any = dataclasses.field(default_factory=dict)
    megatron_config: Any = None
    megatron_core: Any = "megatron.core"
    trainable_token_indices: Any = None
    loftq_config: Any = dataclasses.field(default_factory=dict)
    eva_config: Any = None
    corda_config: Any = None
    use_dora: bool = False
    alora_invocation_tokens: Any = None
    use_qalora: bool = False
    qalora_group_size: int = 16
    layer_replication: Any = None
    runtime_config: Any = dataclasses.field(default_factory=LoraRuntimeConfig)
    lora_bias: bool = False
    target_parameters: Any = None
    arrow_config: Any = None
    ensure_weight_tying: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType.LORA
        for name in ("target_modules", "exclude_modules"):
            value = getattr(self, name)
            if isinstance(value, (list, tuple)):
                setattr(self, name, set(value))
        if isinstance(self.target_modules, str) and self.layers_to_transform is not None and self.target_modules.lower() != "all-linear":
            raise ValueError("[LoraConfig] layers_to_transform cannot be used when target_modules is a pattern")
        if self.layers_pattern and self.layers_to_transform is None:
            raise ValueError("[LoraConfig] layers_pattern is set: expected layers_to_transform, too")
        if self.modules_to_save is not None:
            self.modules_to_save = list(self.modules_to_save)


@dataclasses.dataclass
class PromptLearningConfig(PeftConfig):
    """What prompt tuning and prefix tuning have in common. Sizes that are None are the model's."""

    num_virtual_tokens: Any = None
    token_dim: Any = None
    num_transformer_submodules: Any = None
    num_attention_heads: Any = None
    num_layers: Any = None
    modules_to_save: Any = None

    @property
    def is_prompt_learning(self) -> bool:
        return True


@dataclasses.dataclass
class PromptTuningConfig(PromptLearningConfig):
    """Virtual tokens before the text, whose embeddings are trained.

    prompt_tuning_init: RANDOM, SAMPLE_VOCAB, or TEXT with prompt_tuning_init_text and tokenizer_name_or_path, repeated or cut to
    num_virtual_tokens. Errors: as PeftConfig; ValueError for TEXT without the two.
    """

    prompt_tuning_init: Any = PromptTuningInit.RANDOM
    prompt_tuning_init_text: "str | None" = None
    tokenizer_name_or_path: "str | None" = None
    tokenizer_kwargs: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType.PROMPT_TUNING
        try:
            self.prompt_tuning_init = PromptTuningInit(self.prompt_tuning_init)
        except ValueError:
            raise ValueError(f"[PromptTuningConfig] prompt_tuning_init: expected one of {', '.join(PromptTuningInit)}, "
                             f"got {self.prompt_tuning_init!r}") from None
        if self.prompt_tuning_init == PromptTuningInit.TEXT:
            for name in ("tokenizer_name_or_path", "prompt_tuning_init_text"):
                if not getattr(self, name):
                    raise ValueError(f"[PromptTuningConfig] prompt_tuning_init is TEXT: expected {name}")
        elif self.tokenizer_kwargs:
            raise ValueError("[PromptTuningConfig] tokenizer_kwargs is only for prompt_tuning_init TEXT")


@dataclasses.dataclass
class PrefixTuningConfig(PromptLearningConfig):
    """Trained keys and values before those of the text, in every layer; with prefix_projection made by a small network while training."""

    init_weights: "str | None" = None
    encoder_hidden_size: Any = None
    prefix_projection: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType.PREFIX_TUNING
        if self.init_weights not in (None, "zero"):
            raise ValueError(f"[PrefixTuningConfig] init_weights: expected None or \"zero\", got {self.init_weights!r}")


PEFT_TYPE_TO_CONFIG_MAPPING: dict[Any, Any] = {
    PeftType.LORA: LoraConfig, PeftType.PROMPT_TUNING: PromptTuningConfig, PeftType.PREFIX_TUNING: PrefixTuningConfig,
}


def get_peft_config(config_dict: dict[str, Any]) -> Any:
    """The configuration that a dict with "peft_type" describes. Errors: ValueError."""
    return PeftConfig.from_dict(config_dict)


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {k: _plain(v) for k, v in dataclasses.asdict(value).items()}
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
