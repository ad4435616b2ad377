"""What tokenizers and processors return: BatchFeature and BatchEncoding."""
from __future__ import annotations

from collections import namedtuple
from typing import Any, Iterator

from ._core import Encoding, Tensor
from .conversion import as_tensor, check_device

CharSpan = namedtuple("CharSpan", ["start", "end"])
TokenSpan = namedtuple("TokenSpan", ["start", "end"])


def convert(values: Any, return_tensors: Any) -> Any:
    """Nested lists or a tensor in the form that return_tensors names. Errors: ValueError for an unknown name or ragged lists."""
    name = getattr(return_tensors, "value", return_tensors)
    if name is None:
        return values.tolist() if isinstance(values, Tensor) else values
    if name not in ("pt", "np"):
        raise ValueError(f"[return_tensors] expected \"pt\" (tenon.Tensor), \"np\" (NumPy arrays) or None, got {return_tensors!r}")
    t = as_tensor(values)
    return t if name == "pt" else t.numpy()


class BatchFeature(dict):
    """A model's inputs by name, also as attributes: model(**features)."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None

    @property
    def data(self) -> dict[str, Any]:
        return self

    def to(self, *args: Any, **kwargs: Any) -> "BatchFeature":
        """Moves tensors; a floating point dtype changes floating point tensors only."""
        for arg in (*args, kwargs.get("device")):
            if isinstance(arg, str) and arg:
                check_device(arg)
        dtypes = [a for a in (*args, kwargs.get("dtype")) if a is not None and not isinstance(a, (str, int)) and hasattr(a, "itemsize")]
        for name, value in self.items():
            if dtypes and isinstance(value, Tensor) and value.dtype.is_floating_point:
                self[name] = value.to(dtypes[0])
        return self

    def convert_to_tensors(self, tensor_type: Any = None, **kwargs: Any) -> "BatchFeature":
        for name, value in self.items():
            self[name] = convert(value, tensor_type)
        return self

    def __reduce__(self) -> Any:
        return type(self), (dict(self),)


class BatchEncoding(BatchFeature):
    """The encodings of a batch; knows which token came from which part of which text."""

    def __init__(self, data: Any = None, encodings: "list[Encoding] | None" = None, is_single: bool = False, **kwargs: Any) -> None:
        super().__init__(data or {})
        self.__dict__["_encodings"] = encodings
        self.__dict__["_is_single"] = is_single

    def __getitem__(self, key: Any) -> Any:
        """By name; an integer gives the Encoding of one text, a slice those values of each name."""
        if isinstance(key, str):
            return super().__getitem__(key)
        if isinstance(key, slice):
            return {name: value[key] for name, value in self.items()}
        return self.encodings[key]

    @property
    def encodings(self) -> "list[Encoding]":
        found = self.__dict__.get("_encodings")
        if found is None:
            raise ValueError("[BatchEncoding] was not made by a tokenizer: it does not know its texts")
        return found

    @property
    def is_fast(self) -> bool:
        return self.__dict__.get("_encodings") is not None

    @property
    def n_sequences(self) -> int:
        """1 for texts, 2 for pairs."""
        return 2 if any(1 in e.sequence_ids for e in self.encodings) else 1

    def tokens(self, batch_index: int = 0) -> list[str]:
        return [self.__dict__["_to_token"](i) for i in self.encodings[batch_index].ids]

    def word_ids(self, batch_index: int = 0) -> "list[int | None]":
        return self.encodings[batch_index].word_ids

    words = word_ids

    def sequence_ids(self, batch_index: int = 0) -> "list[int | None]":
        return self.encodings[batch_index].sequence_ids

    def _pick(self, batch_or_index: int, index: "int | None") -> tuple[Encoding, int]:
        return (self.encodings[0], batch_or_index) if index is None else (self.encodings[batch_or_index], index)

    def char_to_token(self, batch_or_char_index: int, char_index: "int | None" = None, sequence_index: int = 0) -> "int | None":
        encoding, at = self._pick(batch_or_char_index, char_index)
        found = encoding.char_to_token(at, sequence_index)
        return None if found < 0 else found

    def char_to_word(self, batch_or_char_index: int, char_index: "int | None" = None, sequence_index: int = 0) -> "int | None":
        encoding, at = self._pick(batch_or_char_index, char_index)
        found = encoding.char_to_word(at, sequence_index)
        return None if found < 0 else found

    def token_to_chars(self, batch_or_token_index: int, token_index: "int | None" = None) -> "CharSpan | None":
        encoding, at = self._pick(batch_or_token_index, token_index)
        return None if encoding.sequence_ids[at] is None else CharSpan(*encoding.offsets[at])

    def token_to_word(self, batch_or_token_index: int, token_index: "int | None" = None) -> "int | None":
        encoding, at = self._pick(batch_or_token_index, token_index)
        return encoding.word_ids[at]

    def token_to_sequence(self, batch_or_token_index: int, token_index: "int | None" = None) -> "int | None":
        encoding, at = self._pick(batch_or_token_index, token_index)
        return encoding.sequence_ids[at]

    def word_to_tokens(self, batch_or_word_index: int, word_index: "int | None" = None, sequence_index: int = 0) -> "TokenSpan | None":
        encoding, at = self._pick(batch_or_word_index, word_index)
        begin, end = encoding.word_to_tokens(at, sequence_index)
        return None if begin == end else TokenSpan(begin, end)

    def word_to_chars(self, batch_or_word_index: int, word_index: "int | None" = None, sequence_index: int = 0) -> CharSpan:
        encoding, at = self._pick(batch_or_word_index, word_index)
        return CharSpan(*encoding.word_to_chars(at, sequence_index))

    def __iter__(self) -> Iterator[str]:
        return super().__iter__()
