"""What tokenizers and processors return: BatchFeature and BatchEncoding."""
from __future__ import annotations

from collections import namedtuple
from typing import Any, Sequence

from ._core import Encoding, Encodings, Tensor
from .conversion import as_tensor, device, device_name

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
        where = kwargs.get("device")
        for arg in args:
            if isinstance(arg, (str, int, device)) and not isinstance(arg, bool):
                where = arg
        target = None if where is None or where == "" else device_name(where)
        dtypes = [a for a in (*args, kwargs.get("dtype")) if a is not None and not isinstance(a, (str, int)) and hasattr(a, "itemsize")]
        for name, value in self.items():
            if dtypes and isinstance(value, Tensor) and value.dtype.is_floating_point:
                self[name] = value = value.to(dtypes[0])
            if target is not None and isinstance(value, Tensor):
                self[name] = value.to(target)
        return self

    def convert_to_tensors(self, tensor_type: Any = None, prepend_batch_axis: bool = False, **kwargs: Any) -> "BatchFeature":
        """Turns lists into tensors or arrays; None leaves all as it is."""
        if tensor_type is not None:
            for name, value in self.items():
                self[name] = convert([value] if prepend_batch_axis else value, tensor_type)
        return self

    def __reduce__(self) -> Any:
        return type(self), (dict(self),)


class BatchEncoding(BatchFeature):
    """The encodings of a batch; knows which token came from which part of which text.

    The methods that take a token, word or character take (index) for the first text or (text, index).
    """

    def __init__(self, data: Any = None, encoding: "Encoding | Sequence[Encoding] | Encodings | None" = None, tensor_type: Any = None,
                 prepend_batch_axis: bool = False, n_sequences: "int | None" = None) -> None:
        super().__init__(data or {})
        encodings = [encoding] if isinstance(encoding, Encoding) else encoding
        self.__dict__["_encodings"] = encodings
        self.__dict__["_n_sequences"] = encodings[0].n_sequences if n_sequences is None and encodings is not None and len(encodings) else n_sequences
        self.convert_to_tensors(tensor_type, prepend_batch_axis)

    def __getitem__(self, key: Any) -> Any:
        """By name; an integer or a slice gives the Encoding of one text or of several."""
        if isinstance(key, str):
            return super().__getitem__(key)
        if self.encodings is not None:
            return self.encodings[key]
        if isinstance(key, slice):
            return {name: value[key] for name, value in self.items()}
        raise KeyError("[BatchEncoding] expected a name, a slice or, where a tokenizer made it, the index of a text")

    def __reduce__(self) -> Any:
        return type(self), (dict(self), self.encodings, None, False, self.n_sequences)

    @property
    def encodings(self) -> "list[Encoding] | None":
        encodings = self.__dict__.get("_encodings")
        if isinstance(encodings, Encodings):
            encodings = self.__dict__["_encodings"] = list(encodings)
        return encodings

    def _of(self, index: int) -> Encoding:
        if not self.encodings:
            raise ValueError("[BatchEncoding] was not made by a tokenizer: it does not know its texts")
        return self.encodings[index]

    @property
    def is_fast(self) -> bool:
        return self.__dict__.get("_encodings") is not None

    @property
    def n_sequences(self) -> "int | None":
        """1 for texts, 2 for pairs, None if it is not known."""
        return self.__dict__.get("_n_sequences")

    def tokens(self, batch_index: int = 0) -> list[str]:
        return self._of(batch_index).tokens

    def word_ids(self, batch_index: int = 0) -> "list[int | None]":
        return self._of(batch_index).word_ids

    words = word_ids

    def sequence_ids(self, batch_index: int = 0) -> "list[int | None]":
        return self._of(batch_index).sequence_ids

    def _pick(self, batch_or_index: int, index: "int | None") -> tuple[Encoding, int]:
        return (self._of(0), batch_or_index) if index is None else (self._of(batch_or_index), index)

    def _pick_token(self, batch_or_index: int, index: "int | None") -> tuple[Encoding, int]:
        encoding, at = self._pick(batch_or_index, index)
        return encoding, at + len(encoding) if at < 0 else at

    def char_to_token(self, batch_or_char_index: int, char_index: "int | None" = None, sequence_index: int = 0) -> "int | None":
        encoding, at = self._pick(batch_or_char_index, char_index)
        return encoding.char_to_token(at, sequence_index)

    def char_to_word(self, batch_or_char_index: int, char_index: "int | None" = None, sequence_index: int = 0) -> "int | None":
        encoding, at = self._pick(batch_or_char_index, char_index)
        return encoding.char_to_word(at, sequence_index)

    def token_to_chars(self, batch_or_token_index: int, token_index: "int | None" = None) -> "CharSpan | None":
        encoding, at = self._pick_token(batch_or_token_index, token_index)
        found = encoding.token_to_chars(at)
        return None if found is None else CharSpan(*found)

    def token_to_word(self, batch_or_token_index: int, token_index: "int | None" = None) -> "int | None":
        encoding, at = self._pick_token(batch_or_token_index, token_index)
        return encoding.token_to_word(at)

    def token_to_sequence(self, batch_or_token_index: int, token_index: "int | None" = None) -> "int | None":
        encoding, at = self._pick_token(batch_or_token_index, token_index)
        return encoding.token_to_sequence(at)

    def word_to_tokens(self, batch_or_word_index: int, word_index: "int | None" = None, sequence_index: int = 0) -> "TokenSpan | None":
        encoding, at = self._pick(batch_or_word_index, word_index)
        found = encoding.word_to_tokens(at, sequence_index)
        return None if found is None else TokenSpan(*found)

    def word_to_chars(self, batch_or_word_index: int, word_index: "int | None" = None, sequence_index: int = 0) -> CharSpan:
        """Errors: TypeError for a word that has no token."""
        encoding, at = self._pick(batch_or_word_index, word_index)
        found = encoding.word_to_chars(at, sequence_index)
        if found is None:
            raise TypeError(f"[BatchEncoding] word_to_chars: expected the index of a word that has tokens, got {at}")
        return CharSpan(*found)
