"""Batches for language models: labels from the text itself, tokens masked 80/10/10 for masked ones."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

from .._lazy import np
from ..batch import convert
from .collators import PAD_LABEL, numbers, plain


@dataclass
class DataCollatorForLanguageModeling:
    """Pads examples and makes their labels.

    mlm=False: labels are the input_ids, padding left out (models shift them). mlm=True: mlm_probability of the tokens become labels; of
    those mask_replace_prob are masked, random_replace_prob become any token, the rest stay. whole_word_mask (needs offset_mapping in the
    examples) chooses and masks whole words. Draws follow `seed`, or NumPy's global random numbers; in a Trainer they
    follow its seed, the epoch and the batch.
    Errors: ValueError for probabilities outside of [0, 1] and for a tokenizer without mask token.
    """

    tokenizer: Any
    mlm: bool = True
    whole_word_mask: bool = False
    mlm_probability: "float | None" = 0.15
    mask_replace_prob: float = 0.8
    random_replace_prob: float = 0.1
    pad_to_multiple_of: "int | None" = None
    return_tensors: str = "pt"
    seed: "int | None" = None

    def __post_init__(self) -> None:
        if self.whole_word_mask and not self.mlm:
            raise ValueError("[DataCollatorForLanguageModeling] whole_word_mask: expected mlm=True")
        if self.mlm and self.tokenizer.mask_token is None:
            raise ValueError("[DataCollatorForLanguageModeling] mlm: expected a tokenizer with a mask_token; causal models want mlm=False")
        shares = {"mlm_probability": self.mlm_probability if self.mlm else 0.0, "mask_replace_prob": self.mask_replace_prob,
                  "random_replace_prob": self.random_replace_prob,
                  "mask_replace_prob + random_replace_prob": self.mask_replace_prob + self.random_replace_prob}
        for name, value in shares.items():
            if value is None or not 0 <= value <= 1:
                raise ValueError(f"[DataCollatorForLanguageModeling] {name}: expected a number in [0, 1], got {value}")
        if self.whole_word_mask:
            self.mask_replace_prob, self.random_replace_prob = 1.0, 0.0
        self.generator: Any = None

    def set_batch(self, seed: int, epoch: int, number: int) -> None:
        """Makes the next draws those of a batch of an epoch; the Trainer calls it."""
        self.generator = np.random.default_rng([(self.seed if self.seed is not None else seed) % 2**63, epoch, number])

    def _random(self) -> Any:
        if self.generator is None and self.seed is not None:
            self.generator = np.random.default_rng(self.seed)
        return self.generator if self.generator is not None else np.random.default_rng(np.random.randint(2**31))

    def __call__(self, examples: list[Any], return_tensors: "str | None" = None) -> dict[str, Any]:
        kind = return_tensors or self.return_tensors
        rows = [{k: v for k, v in e.items() if k not in ("labels", "offset_mapping")} if isinstance(e, Mapping) else {"input_ids": plain(e)}
                for e in examples]
        if any("input_ids" not in row for row in rows):
            raise ValueError(f"[DataCollatorForLanguageModeling] expected examples with input_ids, got "
                             f"{', '.join(map(str, rows[0])) or 'none'}")
        lengths = {len(row["input_ids"]) for row in rows}
        needs_padding = len(lengths) > 1 or bool(self.pad_to_multiple_of and next(iter(lengths)) % self.pad_to_multiple_of)
        with_mask = isinstance(examples[0], Mapping)
        padded = self.tokenizer.pad(rows, padding=needs_padding, pad_to_multiple_of=self.pad_to_multiple_of, return_tensors="np",
                                    return_attention_mask=None if with_mask else False)
        batch = {name: numbers(value) for name, value in padded.items()}
        special = batch.pop("special_tokens_mask", None)
        ids = batch["input_ids"]
        if self.mlm:
            words = self._words(examples, ids.shape) if self.whole_word_mask else None
            batch["input_ids"], batch["labels"] = self.mask_tokens(ids, special, words)
        else:
            pad = self.tokenizer.pad_token_id
            batch["labels"] = ids.copy() if pad is None else np.where(ids == pad, PAD_LABEL, ids)
        return {name: convert(value, kind) for name, value in batch.items()}

    def _words(self, examples: list[Any], shape: tuple[int, ...]) -> Any:
        """For each token the number of its word, -1 for special tokens and padding. Errors: ValueError without offset_mapping."""
        words = np.full(shape, -1, np.int64)
        for i, example in enumerate(examples):
            if not isinstance(example, Mapping) or "offset_mapping" not in example:
                raise ValueError("[DataCollatorForLanguageModeling] whole_word_mask: expected offset_mapping in the examples "
                                 "(tokenizer(..., return_offsets_mapping=True))")
            spans = [tuple(map(int, span)) for span in example["offset_mapping"]]
            begin = shape[1] - len(spans) if self.tokenizer.padding_side == "left" else 0
            word, end = -1, -1
            for j, (first, last) in enumerate(spans):
                if first == last:  # a special token
                    end = -1
                    continue
                word += first != end
                words[i, begin + j], end = word, last
        return words

    def mask_tokens(self, ids: Any, special_tokens_mask: Any = None, words: Any = None) -> tuple[Any, Any]:
        """Masked ids and labels. Shapes: ids (B,T) -> (B,T), (B,T) with -100 where nothing is to be told."""
        random = self._random()
        if special_tokens_mask is None:
            special_tokens_mask = [self.tokenizer.get_special_tokens_mask(row, already_has_special_tokens=True) for row in ids.tolist()]
        ordinary = ~np.asarray(special_tokens_mask, bool)
        draws = random.random(ids.shape)
        if words is not None:
            ordinary &= words >= 0
            draws = np.take_along_axis(draws, np.maximum(words, 0), axis=1)  # one draw for all tokens of a word
        chosen = (draws < self.mlm_probability) & ordinary
        labels = np.where(chosen, ids, PAD_LABEL)
        fate = random.random(ids.shape)
        masked = np.where(chosen & (fate < self.mask_replace_prob), self.tokenizer.mask_token_id, ids)
        anything = chosen & (fate >= self.mask_replace_prob) & (fate < self.mask_replace_prob + self.random_replace_prob)
        return np.where(anything, random.integers(0, len(self.tokenizer), ids.shape), masked), labels


class DataCollatorForWholeWordMask(DataCollatorForLanguageModeling):
    """DataCollatorForLanguageModeling with whole_word_mask, under its name of Transformers 4."""

    def __init__(self, tokenizer: Any, mlm: bool = True, mlm_probability: float = 0.15, **kwargs: Any) -> None:
        super().__init__(tokenizer, mlm=mlm, whole_word_mask=True, mlm_probability=mlm_probability, **kwargs)
