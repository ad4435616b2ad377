"""Batches from examples: plain stacking, padding, token labels, sequences to sequences, flattened sequences."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

from .._lazy import np
from ..batch import convert
from ..conversion import Tensor, host_array

PAD_LABEL = -100  # what losses leave out


def numbers(value: Any) -> Any:
    """A Python list, number, array or tensor as a NumPy array, integers as int64 and fractions as float32."""
    if isinstance(value, Tensor):
        value = host_array(value)
    elif hasattr(value, "detach"):
        value = value.detach().numpy()
    array = np.asarray(value)
    if array.dtype == bool or array.dtype.kind in "iu":
        return array.astype(np.int64)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def plain(value: Any) -> Any:
    """Lists of whatever holds a sequence."""
    return value.tolist() if hasattr(value, "tolist") else list(value)


def _stack(name: str, values: list[Any]) -> Any:
    arrays = [numbers(v) for v in values]
    shapes = {a.shape for a in arrays}
    if len(shapes) > 1:
        raise ValueError(f"[data collator] {name}: expected examples of one shape, got {', '.join(map(str, sorted(shapes)[:3]))}; "
                         "pad them, or give the Trainer a tokenizer (processing_class=) or DataCollatorWithPadding")
    if arrays[0].dtype.kind not in "iuf":
        raise TypeError(f"[data collator] {name}: expected numbers, got {type(values[0]).__name__}")
    kinds = {a.dtype for a in arrays}
    return np.stack([a.astype(np.float32) for a in arrays] if len(kinds) > 1 else arrays)


def with_labels(example: Any) -> dict[str, Any]:
    """An example as a dict whose label, label_ids or labels is called labels. Errors: TypeError for what has no names."""
    if not isinstance(example, Mapping):
        if not hasattr(example, "__dict__"):
            raise TypeError(f"[data collator] expected examples with names, such as dicts, got {type(example).__name__}")
        example = vars(example)
    renamed = dict(example)
    for old in ("label", "label_ids"):
        if old in renamed:
            value = renamed.pop(old)
            if value is not None:
                renamed["labels"] = value
    return renamed


def default_data_collator(features: list[Any], return_tensors: str = "pt") -> dict[str, Any]:
    """Stacks every column that holds numbers; label and label_ids become labels. Errors: ValueError for columns of different lengths."""
    rows = [with_labels(f) for f in features]
    names = [k for k, v in rows[0].items() if v is not None and not isinstance(v, (str, bytes, dict))]
    return {name: convert(_stack(name, [_value(row, name, i) for i, row in enumerate(rows)]), return_tensors) for name in names}


def _value(row: dict[str, Any], name: str, i: int) -> Any:
    if name not in row:
        raise ValueError(f"[data collator] {name}: example {i} of the batch has none, it has {', '.join(row)}")
    return row[name]


class DefaultDataCollator:
    """default_data_collator as an object."""

    def __init__(self, return_tensors: str = "pt") -> None:
        self.return_tensors = return_tensors

    def __call__(self, features: list[Any], return_tensors: "str | None" = None) -> dict[str, Any]:
        return default_data_collator(features, return_tensors or self.return_tensors)


def _length(longest: int, padding: Any, max_length: "int | None", multiple: "int | None") -> int:
    length = max_length if getattr(padding, "value", padding) == "max_length" and max_length is not None else longest
    return -(-length // multiple) * multiple if multiple else length


def _padded(rows: list[Any], length: int, fill: Any, is_left: bool) -> Any:
    """Ragged rows of numbers as one array. Errors: ValueError for a row that is longer."""
    first = numbers(rows[0])
    array = np.full((len(rows), length, *first.shape[1:]), fill, np.float32 if first.dtype.kind == "f" else np.int64)
    for i, row in enumerate(rows):
        row = numbers(row)
        if len(row) > length:
            raise ValueError(f"[data collator] labels: expected at most {length} in an example, got {len(row)}")
        if is_left:
            array[i, length - len(row):] = row
        else:
            array[i, : len(row)] = row
    return array


def padded_batch(collator: Any, rows: list[dict[str, Any]], return_tensors: str) -> dict[str, Any]:
    """Rows through the tokenizer's pad(), as the fields of a collator say. Errors: TypeError that names a column of texts."""
    first = {name: value[0] if isinstance(value, list) and value else value for name, value in rows[0].items()}
    texts = [name for name, value in first.items() if isinstance(value, (str, bytes))]
    if texts:
        raise TypeError(f"[data collator] {', '.join(texts)}: expected numbers, got texts; take such columns away, or leave it to "
                        f"remove_unused_columns=True")
    return dict(collator.tokenizer.pad(rows, padding=collator.padding, max_length=collator.max_length,
                                       pad_to_multiple_of=collator.pad_to_multiple_of, return_tensors=return_tensors))


@dataclass
class DataCollatorWithPadding:
    """Pads a batch to its longest example (or as `padding` says) with the tokenizer's padding."""

    tokenizer: Any
    padding: Any = True
    max_length: "int | None" = None
    pad_to_multiple_of: "int | None" = None
    return_tensors: str = "pt"

    def __call__(self, features: list[Any]) -> dict[str, Any]:
        return padded_batch(self, [with_labels(f) for f in features], self.return_tensors)


@dataclass
class DataCollatorForTokenClassification:
    """DataCollatorWithPadding that pads the labels of tokens too."""

    tokenizer: Any
    padding: Any = True
    max_length: "int | None" = None
    pad_to_multiple_of: "int | None" = None
    label_pad_token_id: int = PAD_LABEL
    return_tensors: str = "pt"

    def __call__(self, features: list[Any], return_tensors: "str | None" = None) -> dict[str, Any]:
        kind = return_tensors or self.return_tensors
        rows = [with_labels(f) for f in features]
        labels = [row.pop("labels") for row in rows] if "labels" in rows[0] else None
        batch = padded_batch(self, rows, kind)
        if labels is not None:
            length = batch[self.tokenizer.model_input_names[0]].shape[1]
            is_left = self.tokenizer.padding_side == "left"
            batch["labels"] = convert(_padded(labels, length, self.label_pad_token_id, is_left), kind)
        return batch


@dataclass
class DataCollatorForSeq2Seq:
    """Pads inputs and labels, each to its own length. A model that has prepare_decoder_input_ids_from_labels() makes decoder_input_ids."""

    tokenizer: Any
    model: Any = None
    padding: Any = True
    max_length: "int | None" = None
    pad_to_multiple_of: "int | None" = None
    label_pad_token_id: int = PAD_LABEL
    return_tensors: str = "pt"

    def __call__(self, features: list[Any], return_tensors: "str | None" = None) -> dict[str, Any]:
        kind = return_tensors or self.return_tensors
        rows = [with_labels(f) for f in features]
        labels = [row.pop("labels", None) for row in rows]
        batch = padded_batch(self, rows, kind)
        if any(label is not None for label in labels):
            length = _length(max(len(label) for label in labels), self.padding, self.max_length, self.pad_to_multiple_of)
            batch["labels"] = convert(_padded(labels, length, self.label_pad_token_id, self.tokenizer.padding_side == "left"), kind)
            if hasattr(self.model, "prepare_decoder_input_ids_from_labels"):
                batch["decoder_input_ids"] = self.model.prepare_decoder_input_ids_from_labels(labels=batch["labels"])
        return batch


class DataCollatorWithFlattening:
    """Joins the examples of a batch to one long row: input_ids, position_ids that start anew and labels whose first one is left out.

    The Trainer gives models such a row as a padded batch again, whose padding they do not compute: examples do not see each other.
    """

    def __init__(self, return_position_ids: bool = True, separator_id: int = PAD_LABEL, return_flash_attn_kwargs: bool = False,
                 return_seq_idx: bool = False, position_ids_start: int = 0, return_tensors: str = "pt") -> None:
        self.return_position_ids, self.separator_id, self.return_tensors = return_position_ids, separator_id, return_tensors
        self.return_flash_attn_kwargs, self.return_seq_idx = return_flash_attn_kwargs, return_seq_idx
        self.position_ids_start = position_ids_start

    def __call__(self, features: list[Any], return_tensors: "str | None" = None, separator_id: "int | None" = None) -> dict[str, Any]:
        """Errors: ValueError for a batch of empty examples."""
        kind = return_tensors or self.return_tensors
        separator = self.separator_id if separator_id is None else separator_id
        rows = [row for row in map(with_labels, features) if len(row["input_ids"])]
        if not rows:
            raise ValueError("[DataCollatorWithFlattening] expected examples with tokens, got a batch of empty ones")
        ids = [plain(row["input_ids"]) for row in rows]
        labels = [plain(row["labels"]) if "labels" in rows[0] else own for row, own in zip(rows, ids)]
        columns: dict[str, Any] = {"input_ids": ids, "labels": [[separator, *label[1:]] for label in labels]}
        if self.return_position_ids:
            columns["position_ids"] = [range(self.position_ids_start, self.position_ids_start + len(own)) for own in ids]
        if self.return_seq_idx:
            columns["seq_idx"] = [[i] * len(own) for i, own in enumerate(ids)]
        batch = {name: convert(np.array([[x for row in rows for x in row]], np.int64), kind) for name, rows in columns.items()}
        if self.return_flash_attn_kwargs:
            ends = convert(np.cumsum([0, *map(len, ids)]).astype(np.int32), kind)
            batch.update(cu_seq_lens_q=ends, cu_seq_lens_k=ends, max_length_q=max(map(len, ids)), max_length_k=max(map(len, ids)))
        return batch
