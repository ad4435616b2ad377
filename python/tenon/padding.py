"""Sequences of ids to one length, with what belongs to them: tokenizer.pad(), truncate_sequences(), prepare_for_model()."""
from __future__ import annotations

from typing import Any, Mapping, Sequence

from . import _core
from ._core import Tensor
from .batch import BatchEncoding, convert

VERY_LARGE_INTEGER = int(1e30)
EARLY_COLUMNS = {"token_type_ids": "type_ids", "attention_mask": "attention_mask"}  # columns of ids that the engine makes while it encodes
_PADDING = {False: "none", "do_not_pad": "none", None: "none", True: "longest", "longest": "longest", "max_length": "max_length"}
_TRUNCATION = {False: "none", None: "none", "do_not_truncate": "none", True: "longest_first", "longest_first": "longest_first",
               "only_first": "only_first", "only_second": "only_second"}


def _choose(table: dict[Any, str], enum: Any, value: Any, name: str) -> Any:
    value = getattr(value, "value", value)
    if not isinstance(value, (bool, str, type(None))) or value not in table:
        raise ValueError(f"[tokenizer] {name}: expected one of {', '.join(repr(k) for k in table)}, got {value!r}")
    return enum.__members__[table[value]]


def padding_of(value: Any) -> Any:
    return _choose(_PADDING, _core.Padding, value, "padding")


def truncation_of(value: Any) -> Any:
    return _choose(_TRUNCATION, _core.Truncation, value, "truncation")


def side_of(value: Any, name: str) -> Any:
    if value not in ("left", "right"):
        raise ValueError(f"[tokenizer] {name}: expected \"left\" or \"right\", got {value!r}")
    return _core.Side.__members__[value]


def _kind_of(value: Any) -> "str | None":
    """Which tensors these are: "pt", "np" or None for lists."""
    if isinstance(value, Tensor):
        return "pt"
    if type(value).__module__ == "numpy":
        return "np"
    if type(value).__module__.partition(".")[0] == "torch":
        return "pt"
    return _kind_of(value[0]) if isinstance(value, (list, tuple)) and len(value) else None


def as_lists(value: Any) -> Any:
    """Arrays and tensors, also those in lists, as lists of numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [as_lists(v) for v in value] if isinstance(value, (list, tuple)) else value


class Padding:
    """The part of a tokenizer that makes sequences of one length."""

    model_input_names: Any
    model_max_length: int
    padding_side: str
    pad_token: "str | None"
    pad_token_id: "int | None"
    pad_token_type_id: Any

    def pad(self, encoded_inputs: Any, padding: Any = True, max_length: "int | None" = None, pad_to_multiple_of: "int | None" = None,
            padding_side: "str | None" = None, return_attention_mask: "bool | None" = None, return_tensors: Any = None, verbose: bool = True) -> BatchEncoding:
        """Pads encodings (a dict of lists or tensors, or a list of such dicts) to one length; other columns stay as they are.

        Errors: ValueError without input_ids, without a pad token, or for columns of different lengths.
        """
        if isinstance(encoded_inputs, (list, tuple)) and encoded_inputs and isinstance(encoded_inputs[0], Mapping):
            encoded_inputs = {k: [e[k] for e in encoded_inputs] for k in encoded_inputs[0]}
        name = self.model_input_names[0]
        if not isinstance(encoded_inputs, Mapping) or name not in encoded_inputs:
            got = ", ".join(map(str, encoded_inputs)) if isinstance(encoded_inputs, Mapping) else type(encoded_inputs).__name__
            raise ValueError(f"[tokenizer] pad: expected {name}, got {got or 'nothing'}")
        if return_tensors is None:
            return_tensors = _kind_of(encoded_inputs[name])
        data = {k: as_lists(v) for k, v in encoded_inputs.items()}
        wants_mask = "attention_mask" in self.model_input_names if return_attention_mask is None else return_attention_mask
        if not data[name]:
            return BatchEncoding({**data, **({"attention_mask": []} if return_attention_mask else {})})
        is_single = not isinstance(data[name][0], list)
        if is_single:
            data = {k: [v] for k, v in data.items()}
        count = len(data[name])
        odd = next((k for k, v in data.items() if not isinstance(v, list) or len(v) != count), None)
        if odd is not None:
            raise ValueError(f"[tokenizer] pad: expected {count} rows in every column, got another number in {odd}")
        if wants_mask:
            data.setdefault("attention_mask", [[1] * len(ids) for ids in data[name]])
        target = self._padded_length(padding_of(padding), max_length, pad_to_multiple_of, max(map(len, data[name])))
        if target is not None:
            is_left = side_of(padding_side or self.padding_side, "padding_side") == _core.Side.left
            fill = {name: self.pad_token_id, "token_type_ids": self.pad_token_type_id, "special_tokens_mask": 1, "attention_mask": 0}
            for key in fill.keys() & data.keys():
                rows = ((row, [fill[key]] * (target - len(row))) for row in data[key])
                data[key] = [more + row if is_left else row + more for row, more in rows]
        if is_single:
            data = {k: v[0] for k, v in data.items()}
        return BatchEncoding({k: convert(v, return_tensors) for k, v in data.items()})

    def _padded_length(self, kind: Any, max_length: "int | None", multiple: "int | None", longest: int) -> "int | None":
        if kind == _core.Padding.max_length:
            target = self.model_max_length if max_length is None else max_length
            if target >= VERY_LARGE_INTEGER // 10**10:
                return None
        else:
            target = longest
        if kind == _core.Padding.none:
            return None
        if self.pad_token is None or self.pad_token_id is None:
            raise ValueError("[tokenizer] padding: expected a tokenizer with a pad_token; set one (often the eos_token) first")
        return -(-target // multiple) * multiple if multiple else target

    def truncate_sequences(self, ids: list[int], pair_ids: "list[int] | None" = None, num_tokens_to_remove: int = 0,
                           truncation_strategy: Any = "longest_first", stride: int = 0) -> "tuple[list[int], list[int] | None, list[int]]":
        """Takes tokens off one text or both; returns the texts and, for one that is cut alone, what was cut off with `stride` tokens before it.

        Errors: ValueError if the text that gives way is too short.
        """
        strategy = truncation_of(truncation_strategy)
        first, second, over = list(ids), None if pair_ids is None else list(pair_ids), list[int]()
        if num_tokens_to_remove <= 0 or strategy == _core.Truncation.none:
            return first, second, over
        is_left = self.truncation_side == "left"  # type: ignore[attr-defined]

        def cut(tokens: list[int], n: int) -> "tuple[list[int], list[int]]":
            window = min(len(tokens), stride + n)
            return (tokens[n:], tokens[:window]) if is_left else (tokens[: len(tokens) - n], tokens[len(tokens) - window:])

        if strategy == _core.Truncation.longest_first and second is not None:
            for _ in range(num_tokens_to_remove):
                longer = first if len(first) > len(second) else second
                if longer:
                    longer.pop(0 if is_left else -1)
            return first, second, over
        gives_way = second if strategy == _core.Truncation.only_second else first
        if gives_way is None or len(gives_way) <= num_tokens_to_remove:
            raise ValueError(f"[tokenizer] truncation {strategy.name}: expected more than {num_tokens_to_remove} tokens to take away, got "
                             f"{0 if gives_way is None else len(gives_way)}")
        rest, over = cut(gives_way, num_tokens_to_remove)
        return (first, rest, over) if gives_way is second else (rest, second, over)


def columns(encodings: "Sequence[Any] | _core.Encodings", wanted: dict[str, bool], return_tensors: Any) -> dict[str, Any]:
    """The fields of encodings under the names that models know, as lists or tensors."""
    fields = {"input_ids": ("ids", _core.stack_ids), "token_type_ids": ("type_ids", _core.stack_type_ids),
              "attention_mask": ("attention_mask", _core.stack_attention_mask),
              "special_tokens_mask": ("special_tokens_mask", _core.stack_special_tokens_mask)}
    data: dict[str, Any] = {}

    def lists(field: str) -> Any:
        return getattr(encodings, field) if isinstance(encodings, _core.Encodings) else [getattr(e, field) for e in encodings]

    for name, (field, stack) in fields.items():
        if name == "input_ids" or wanted[name]:
            data[name] = lists(field) if return_tensors is None else convert(stack(encodings), return_tensors)
    if wanted["offset_mapping"]:
        data["offset_mapping"] = convert(lists("offsets"), return_tensors)
    if wanted["length"]:
        data["length"] = convert([len(e) for e in encodings], return_tensors)
    return data
