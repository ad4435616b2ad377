"""past_key_values: what a call of a model leaves behind, so that the next one computes the new tokens alone."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from .conversion import as_tensor
from .decoder_families import ROWS as _DECODERS
from .seq2seq_families import ROWS as _ENCODER_DECODERS

if TYPE_CHECKING:
    from .modeling import PreTrainedModel


class Cache:
    """Keys and values of a batch, for model(..., past_key_values=cache, use_cache=True). Without arguments it is empty and the next call
    fills it; afterwards it belongs to that model. Copies (copy.deepcopy) share memory."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Arguments of Transformers (config, max_cache_len, ...) are accepted: memory is taken as it is needed."""
        self._core: Any = None
        self._waiting: "tuple[PreTrainedModel, dict[str, Any] | Callable[[], dict[str, Any]]] | None" = None

    @classmethod
    def _later(cls, model: "PreTrainedModel", inputs: dict[str, Any]) -> "Cache":
        """One that is computed when it is first used: most calls' are never."""
        cache = cls()
        cache._waiting = (model, inputs)
        return cache

    def _past(self) -> Any:
        if self._waiting is not None:
            model, inputs = self._waiting
            self._core = model._core.forward(**(inputs() if callable(inputs) else inputs), use_cache=True)["past_key_values"]
            self._waiting = None
        return self._core

    @property
    def is_initialized(self) -> bool:
        return self._core is not None or self._waiting is not None

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """How many columns of the batch it holds, padding included."""
        past = self._past()
        return 0 if past is None else int(past.columns)

    def crop(self, max_length: int) -> None:
        """Forgets all columns beyond the first max_length; a negative number says how many to forget."""
        past = self._past()
        if past is not None:
            past.crop(max(0, past.columns + max_length) if max_length < 0 else min(max_length, past.columns))

    def reset(self) -> None:
        self._core = self._waiting = None

    def reorder_cache(self, beam_idx: Any) -> None:
        """Row i becomes what row beam_idx[i] was. Errors: ValueError for a row that is not there."""
        past = self._past()
        if past is not None:
            past.reorder(as_tensor(beam_idx).tolist())

    batch_select_indices = reorder_cache

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Each row becomes `repeats` equal ones."""
        past = self._past()
        if past is not None:
            past.reorder([i for i in range(past.size) for _ in range(repeats)])

    def __deepcopy__(self, memo: Any) -> "Cache":
        copy = type(self)()
        past = self._past()
        copy._core = None if past is None else past.clone()
        return copy

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'not computed' if self._waiting else f'{self.get_seq_length()} tokens'})"


class DynamicCache(Cache):
    """Transformers' DynamicCache; see Cache."""


class EncoderDecoderCache(Cache):
    """Transformers' EncoderDecoderCache; see Cache. It holds what the encoder made of the sources, too."""


def has_cache(model: "PreTrainedModel") -> bool:
    """Whether the model's calls can go on from each other."""
    name, kind = type(model).__name__, model.config.model_type
    return (kind in _DECODERS or kind in _ENCODER_DECODERS) and "EncoderModel" not in name and "Classification" not in name


def split(model: "PreTrainedModel", kwargs: dict[str, Any]) -> "tuple[Cache | None, bool | None]":
    """Takes past_key_values and use_cache out of a call's arguments. Errors: TypeError for a past that is not a Cache."""
    past, wanted = take_past(model, kwargs), kwargs.pop("use_cache", None)
    return past, wanted


def take_past(model: "PreTrainedModel", kwargs: dict[str, Any]) -> "Cache | None":
    """Takes past_key_values out of a call's arguments. Errors: TypeError unless it is a Cache."""
    kwargs.pop("cache_position", None)  # tokens stand behind those of the past
    past = kwargs.pop("past_key_values", None)
    newer = kwargs.pop("cache", None)  # its newer name
    past = newer if past is None else past
    if past is not None and not isinstance(past, Cache):
        raise TypeError(f"[{type(model).__name__}] past_key_values: expected those of an earlier call or a DynamicCache, got {type(past).__name__}")
    return past


def forward(model: "PreTrainedModel", inputs: dict[str, Any], past: "Cache | None") -> dict[str, Any]:
    """A call that fills or goes on from a past; without gradients."""
    cache = past
    if cache is None:
        cache = EncoderDecoderCache() if getattr(model.config, "is_encoder_decoder", False) else DynamicCache()
    known = cache._past()
    if known is not None:
        inputs = {**inputs, "past_key_values": known}
    outputs: dict[str, Any] = model._core.forward(**inputs, use_cache=True)
    cache._core = outputs["past_key_values"]
    outputs["past_key_values"] = cache
    return outputs
