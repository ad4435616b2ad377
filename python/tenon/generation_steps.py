"""What generate() can tell beside ids: attentions and hidden states of each step, and the cache to go on from.

The steps are computed again from the ids, once they are known: a search that keeps them for nobody is faster, and they are what the
model's calls give."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._lazy import np
from .cache_utils import Cache, DynamicCache, EncoderDecoderCache
from .conversion import as_tensor

if TYPE_CHECKING:
    from ._core import Tensor
    from .modeling import PreTrainedModel

_STEPS = {"attentions": "attentions", "hidden_states": "hidden_states"}
_DECODER_STEPS = {name: name for name in ("decoder_attentions", "cross_attentions", "decoder_hidden_states")}
_ENCODED = {"attentions": "encoder_attentions", "hidden_states": "encoder_hidden_states"}


class Recorder:
    """Notes the rows that each step reads: a logits processor that changes nothing. Beams need it, whose rows do not tell it later."""

    def __init__(self) -> None:
        self.steps: list[Any] = []

    def __call__(self, input_ids: "Tensor", scores: "Tensor") -> "Tensor":
        self.steps.append(np.asarray(input_ids).copy())
        return scores


class Steps:
    """The calls that generation made of a model, made again."""

    def __init__(self, model: "PreTrainedModel", tensors: "dict[str, Tensor]", options: dict[str, Any], past: "Cache | None") -> None:
        self._model = model
        self._decoder = not getattr(model.config, "is_encoder_decoder", False)
        self._tensors = tensors
        self._past = past
        self._held = 0 if past is None else past.get_seq_length()
        self._roles = options.get("pad_token_id"), options.get("eos_token_id")

    def _prompt_mask(self) -> Any:
        """Which columns of the prompt hold tokens; those that a past holds are part of it. None: all of them."""
        ids, mask = self._tensors.get("input_ids"), self._tensors.get("attention_mask")
        if mask is not None:
            return (np.asarray(mask) != 0).astype(np.int64)
        pad, eos = self._roles
        if not self._decoder or ids is None or pad is None or pad in (eos if isinstance(eos, (list, tuple)) else [eos]):
            return None
        shown = (np.asarray(ids) != pad).astype(np.int64)
        shown[:, :self._held] = 1
        return shown

    def _inputs(self, ids: Any, begin: int, before: int) -> dict[str, Any]:
        """The arguments of a call with the columns of ids from `begin` on, behind `before` columns that are not among them."""
        rows, new = ids.shape[0], as_tensor(np.ascontiguousarray(ids[:, begin:]))
        repeat = 1
        if not self._decoder:
            given = {name: self._tensors[name] for name in ("input_ids", "attention_mask", "encoder_outputs") if name in self._tensors}
            repeat = rows // len(next(iter(given.values())))
            return {**{n: as_tensor(np.repeat(np.asarray(t), repeat, 0)) if repeat > 1 else t for n, t in given.items()}, "decoder_input_ids": new}
        mask = np.ones((rows, before + ids.shape[1]), dtype=np.int64)
        of_prompt = self._prompt_mask()
        if of_prompt is not None:
            mask[:, :of_prompt.shape[1]] = np.repeat(of_prompt, rows // len(of_prompt), 0)
        positions = np.maximum(mask.cumsum(-1) - 1, 0)
        most = getattr(self._model.config, "max_position_embeddings", None)
        if most is not None:  # rows that ended since their context was full go on as padding
            mask[positions >= most] = 0
            positions = np.minimum(positions, most - 1)
        return {"input_ids": new, "attention_mask": as_tensor(mask), "position_ids": as_tensor(np.ascontiguousarray(positions[:, before + begin:]))}

    def _columns(self, prompt: int) -> "tuple[int, int]":
        """Where the ids that the first call reads begin among those of the prompt, and how many columns lie before the prompt's."""
        mask = self._tensors.get("attention_mask") if self._decoder else None
        return (self._held, 0) if mask is None or mask.shape[1] == prompt else (0, self._held)

    def replay(self, steps: list[Any], beams: int, attentions: bool, hidden_states: bool) -> dict[str, Any]:
        """steps: the ids (rows, tokens) that each step continued; beams: rows of a text that may take each other's place. Returns tuples of one tuple a step of one tensor a layer, and with
        "past_key_values" the core's cache behind the last step."""
        flags = {"output_attentions": attentions, "output_hidden_states": hidden_states}
        names = _STEPS if self._decoder else _DECODER_STEPS
        told: dict[str, list[Any]] = {name: [] for name in names}
        result: dict[str, Any] = {}
        core, past = self._model._core, None if self._past is None or self._held == 0 else self._past._past().clone()
        begin, before = self._columns(steps[0].shape[1])
        if past is not None:
            past.reorder([i for i in range(past.size) for _ in range(steps[0].shape[0] // past.size)])
        if not self._decoder:
            result.update(self._encoder(flags))
        for i, ids in enumerate(steps):
            if i > 0:
                begin = ids.shape[1] - 1
                if beams > 1:
                    past.reorder(_parents(steps[i - 1], ids, beams))
            given = self._inputs(ids, begin, before)
            out = core.forward(**given, **flags, use_cache=True, **({} if past is None else {"past_key_values": past}))
            past = out["past_key_values"]
            for name in names:
                if name in out:
                    told[name].append(out[name])
        result.update({name: tuple(values) for name, values in told.items() if values})
        return {**result, "past_key_values": past}

    def _encoder(self, flags: dict[str, bool]) -> dict[str, Any]:
        if "input_ids" not in self._tensors:
            return {}
        given = {name: self._tensors[name] for name in ("input_ids", "attention_mask") if name in self._tensors}
        out = self._model._core.encode(**given, **flags)
        return {name: out[of] for of, name in _ENCODED.items() if of in out}

    def cache(self, sequences: Any, prompt: int, core: Any = None) -> Cache:
        """The cache behind sequences (rows, tokens), of which the last token was never read; the past, if one was given, becomes it.
        Without `core`, what was computed already, it is computed when it is first used."""
        cache = self._past
        if cache is None:
            cache = DynamicCache() if self._decoder else EncoderDecoderCache()
        if core is not None:
            cache._core, cache._waiting = core, None
            return cache
        past = cache._past() if self._held else None

        def inputs() -> dict[str, Any]:
            given = self._inputs(np.asarray(sequences)[:, :-1], *self._columns(prompt))
            if past is not None:
                past.reorder([i for i in range(past.size) for _ in range(len(sequences) // past.size)])
                given["past_key_values"] = past
            return given

        cache._core, cache._waiting = None, (self._model, inputs)
        return cache


def _parents(earlier: Any, ids: Any, beams: int) -> list[int]:
    """For each row of ids the row of the step before that it continues, among those of its text; equal rows are one to a cache."""
    texts = (earlier.reshape(-1, beams, earlier.shape[1]), ids[:, :-1].reshape(-1, beams, earlier.shape[1]))
    same = (texts[0][:, None] == texts[1][:, :, None]).all(-1)  # (texts, beams, beams before)
    return [int(p) for p in (same.argmax(-1) + beams * np.arange(len(same))[:, None]).ravel()]
