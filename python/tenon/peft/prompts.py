"""Virtual tokens: prompt tuning (embeddings before the text) and prefix tuning (keys and values before those of every layer)."""
from __future__ import annotations

import math
import warnings
from typing import Any

from .. import functions
from ..conversion import Tensor, as_tensor, dtype, host_array, wrap
from .._lazy import np
from ..grad_mode import no_grad
from ..nn.containers import Sequential
from ..nn.layers import Embedding, Linear, Tanh
from ..nn.module import Module
from ..random import next_seed
from .config import PeftType, PrefixTuningConfig, PromptLearningConfig, PromptTuningConfig, PromptTuningInit, TaskType


class PromptEmbedding(Module):
    """The embeddings of virtual tokens. forward(): (num_transformer_submodules * n, C)."""

    def __init__(self, config: PromptTuningConfig, word_embeddings: Any) -> None:
        super().__init__()
        n = config.num_virtual_tokens * config.num_transformer_submodules
        self.embedding = Embedding(n, config.token_dim)
        if config.prompt_tuning_init == PromptTuningInit.RANDOM or config.inference_mode:
            return
        if config.prompt_tuning_init == PromptTuningInit.SAMPLE_VOCAB:
            ids = np.random.default_rng(next_seed()).integers(0, word_embeddings.num_embeddings, n)
        else:
            ids = _ids_of_text(config, n)
        with no_grad():
            self.embedding.weight.copy_(word_embeddings(wrap(ids.astype(np.int64)))._to(dtype.float32))

    def forward(self, indices: Any = None) -> Tensor:
        return self.embedding.weight if indices is None else self.embedding(indices)

    def load_prompt_embeddings(self, prompt_embeddings: Tensor) -> None:
        """Errors: ValueError for another shape."""
        _load(self.embedding.weight, prompt_embeddings)


class PrefixEncoder(Module):
    """The prefixes of all layers, made by a small network with prefix_projection. forward(): (n, layers * 2 * width)."""

    def __init__(self, config: PrefixTuningConfig) -> None:
        super().__init__()
        n, width, made = config.num_virtual_tokens, config.token_dim, config.num_layers * 2 * config.token_dim
        self.prefix_projection = config.prefix_projection
        if config.prefix_projection and not config.inference_mode:
            self.embedding = Embedding(n, width)
            self.transform = Sequential(Linear(width, config.encoder_hidden_size), Tanh(), Linear(config.encoder_hidden_size, made))
            last = self.transform[2]
            zero = [last.weight, last.bias]
        else:
            self.embedding = Embedding(n, made)
            zero = [self.embedding.weight]
        if config.init_weights == "zero":
            with no_grad():
                for t in zero:
                    t.zero_()

    def forward(self, prefix: Any = None) -> Tensor:
        rows = self.embedding.weight if prefix is None else self.embedding(prefix)
        return self.transform(rows) if "transform" in self._modules else rows  # type: ignore[no-any-return]

    def load_prompt_embeddings(self, prompt_embeddings: Tensor) -> None:
        """Errors: ValueError for another shape, and where a network makes the prefixes."""
        if "transform" in self._modules:
            raise ValueError("[prefix tuning] what a projection made cannot be put into the projection; open it for inference")
        _load(self.embedding.weight, prompt_embeddings)


def _load(to: Tensor, value: Tensor) -> None:
    if tuple(to.shape) != tuple(value.shape):
        raise ValueError(f"[adapter] prompt_embeddings: expected {tuple(to.shape)}, got {tuple(value.shape)}; the adapter is for another model")
    if not value.dtype.is_floating_point:
        raise ValueError(f"[adapter] prompt_embeddings: expected floating point numbers, got {value.dtype}")
    with no_grad():
        to.copy_(value._to(dtype.float32))


def _ids_of_text(config: PromptTuningConfig, n: int) -> Any:
    """A text's tokens, repeated or cut to n. Errors: ValueError for a text without tokens."""
    from .. import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(config.tokenizer_name_or_path, **{k: v for k, v in (config.tokenizer_kwargs or {}).items()
                                                                                if k != "trust_remote_code"})
    ids = list(tokenizer(config.prompt_tuning_init_text)["input_ids"])
    if not ids:
        raise ValueError(f"[PromptTuningConfig] prompt_tuning_init_text: expected a text with tokens, got {config.prompt_tuning_init_text!r}")
    return np.array((ids * math.ceil(n / len(ids)))[:n], dtype=np.int64)


def make_encoder(model: Any, config: PromptLearningConfig) -> Any:
    """Fills in the sizes that are the model's and makes what is trained.

    Errors: ValueError for a number of virtual tokens that is not positive, and for prefixes before a model that is no decoder.
    """
    n = config.num_virtual_tokens
    if not isinstance(n, int) or isinstance(n, bool) or not 0 < n <= 1 << 20:
        raise ValueError(f"[{type(config).__name__}] num_virtual_tokens: expected a positive number, got {n!r}")
    c = model.config
    config.num_layers = config.num_layers or c.num_hidden_layers
    config.token_dim = config.token_dim or c.hidden_size
    config.num_attention_heads = config.num_attention_heads or c.num_attention_heads
    if config.num_transformer_submodules is None:
        config.num_transformer_submodules = 2 if config.task_type == TaskType.SEQ_2_SEQ_LM else 1
    if config.num_transformer_submodules not in (1, 2):
        raise ValueError(f"[{type(config).__name__}] num_transformer_submodules: expected 1 or 2, got {config.num_transformer_submodules!r}")
    if isinstance(config, PromptTuningConfig):
        words = model.get_input_embeddings()
        if config.token_dim != words.embedding_dim:
            raise ValueError(f"[PromptTuningConfig] token_dim: expected {words.embedding_dim} as {type(model).__name__} has, got {config.token_dim}")
        return PromptEmbedding(config, words)
    if "prefix_key_values" not in c.family.inputs or hasattr(c, "kv_lora_rank"):
        raise ValueError(f"[PrefixTuningConfig] {type(model).__name__} cannot have keys and values before its own; decoders can")
    heads = getattr(c, "num_key_value_heads", None) or c.num_attention_heads
    width = heads * (getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads)
    config.token_dim, config.num_attention_heads = width, heads
    if config.num_layers != c.num_hidden_layers:
        raise ValueError(f"[PrefixTuningConfig] num_layers: expected {c.num_hidden_layers} as {type(model).__name__} has, got {config.num_layers}")
    config.encoder_hidden_size = getattr(config, "encoder_hidden_size", None) or config.token_dim
    return PrefixEncoder(config)  # type: ignore[arg-type]


def check_file(config: PromptLearningConfig, tensors: "dict[str, Tensor]") -> None:
    """Whether a file can hold what its configuration says, before memory is taken for it. Errors: ValueError."""
    t = tensors.get("prompt_embeddings")
    n = config.num_virtual_tokens
    if t is None or t.ndim != 2 or not isinstance(n, int) or t.shape[0] not in (n, 2 * n):
        found = "none" if t is None else tuple(t.shape)
        raise ValueError(f"[adapter] prompt_embeddings: expected a matrix of {n!r} virtual tokens, got {found}")


def repeated(prompt: Tensor, batch_size: int) -> Tensor:
    """Shapes: (n,C) -> (B,n,C)."""
    return prompt.unsqueeze(0).expand(batch_size, *prompt.shape)


def _longer(t: Any, n: int, fill: int) -> Tensor:
    """n columns of `fill` before those of t, as int64."""
    values = host_array(as_tensor(t)).astype(np.int64)
    return wrap(np.concatenate([np.full((values.shape[0], n), fill, np.int64), values], axis=1))


def _ignored(name: str, arguments: "dict[str, Any]") -> None:
    if arguments.get(name) is not None:
        warnings.warn(f"{name} is not supported with virtual tokens and ignored")
        arguments[name] = None


def forward(peft: Any, arguments: "dict[str, Any]") -> Any:
    """A model's forward pass with virtual tokens: the mask grows, labels of the new places are -100."""
    config, model = peft.active_peft_config, peft.base_model
    n = config.num_virtual_tokens
    given = {k: v for k, v in arguments.items() if v is not None}
    if given.get("attention_mask") is not None:
        given["attention_mask"] = _longer(given["attention_mask"], n, 1)
    encoder = peft.prompt_encoder[peft.active_adapter]
    if config.peft_type == PeftType.PREFIX_TUNING:
        given["prefix_key_values"] = encoder()
        if given.get("position_ids") is not None:
            given["position_ids"] = as_tensor(given["position_ids"]) + n
        if given.get("attention_mask") is not None:  # the prefix is no column of the batch
            given["attention_mask"] = arguments["attention_mask"]
        return model(**{**given, "use_cache": False})
    _ignored("position_ids", given)
    if config.task_type != TaskType.SEQ_CLS:
        _ignored("token_type_ids", given)
    elif given.get("token_type_ids") is not None:
        given["token_type_ids"] = _longer(given["token_type_ids"], n, 0)
    embeds = given.pop("inputs_embeds", None)
    ids = given.pop("input_ids", None)
    embeds = _words(model, ids) if embeds is None else as_tensor(embeds)
    given["inputs_embeds"] = functions.cat([repeated(encoder()[:n], embeds.shape[0]), embeds], dim=1)
    if given.get("labels") is not None and config.task_type == TaskType.CAUSAL_LM:
        given["labels"] = _longer(given["labels"], n, -100)
    return model(**given)


def _words(model: Any, ids: Any) -> Tensor:
    if ids is None:
        raise ValueError("[forward] expected input_ids or inputs_embeds")
    words = model.get_input_embeddings()
    values = as_tensor(ids)
    table = host_array(values)
    if table.size and (table.min() < 0 or table.max() >= words.num_embeddings):
        raise ValueError(f"[forward] input_ids: expected 0 to {words.num_embeddings - 1}, got {int(table.min())} to {int(table.max())}")
    with no_grad():
        return words(values)._to(dtype.float32)  # type: ignore[no-any-return]


def generate(peft: Any, inputs: Any = None, **kwargs: Any) -> Any:
    """A model's generate() with virtual tokens. Errors: as generate(); ValueError without input_ids."""
    config, model = peft.active_peft_config, peft.base_model
    ids = kwargs.pop("input_ids", None) if inputs is None else inputs
    if ids is None:
        raise ValueError("[generate] expected input_ids")
    with no_grad():
        made = peft.prompt_encoder[peft.active_adapter]()
    made = made.detach()
    if getattr(model.config, "is_encoder_decoder", False):
        n = config.num_virtual_tokens
        words = _words(model, ids)
        embeds = functions.cat([repeated(made[:n], words.shape[0]), words], dim=1)
        mask = kwargs.pop("attention_mask", None)
        mask = wrap(np.ones(tuple(embeds.shape[:2]), np.int64)) if mask is None else _longer(mask, n, 1)
        with no_grad():
            encoded = model.get_encoder()(inputs_embeds=embeds, attention_mask=mask)
        return model.generate(encoder_outputs=encoded, attention_mask=mask, **kwargs)
    name = "prefix_key_values" if config.peft_type == PeftType.PREFIX_TUNING else "prompt_embeds"
    return model.generate(ids, **{name: made}, **kwargs)
