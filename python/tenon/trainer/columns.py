"""What a model takes and whether a dataset has it: column names, and labels within their range."""
from __future__ import annotations

import inspect
from typing import Any, Mapping, Sequence

from .._lazy import np
from ..modeling import PreTrainedModel
from .collators import PAD_LABEL

LABEL_COLUMNS = ("label", "label_ids", "labels")


def unwrap(model: Any) -> Any:
    """The model below adapters."""
    return model.get_base_model() if callable(getattr(model, "get_base_model", None)) else model


def is_library_model(model: Any) -> bool:
    """True for a model whose forward pass is this library's own, adapters or not."""
    base = unwrap(model)
    return isinstance(base, PreTrainedModel) and type(base).forward is PreTrainedModel.forward


def router_logs(model: Any) -> dict[str, float]:
    """What the routers of a mixture of experts did since the last call; {} for models without, or whose routing reports nothing."""
    base = unwrap(model)
    return base.router_log.take() if is_library_model(model) and base._router_log is not None else {}


def router_progress(model: Any) -> dict[str, Any]:
    """The routers' log as a checkpoint keeps it."""
    base = unwrap(model)
    return {"router": base.router_log.state()} if is_library_model(model) and base._router_log is not None else {}


def restore_router_log(model: Any, state: "dict[str, Any] | None") -> None:
    """Starts the routers' log of a run, or goes on with that of a checkpoint. Errors: KeyError, TypeError for a damaged one."""
    if not is_library_model(model):
        return
    log = unwrap(model).router_log
    log.reset()
    log.take_step()
    if state is not None:
        log.load(state)


def input_names(model: Any) -> "list[str] | None":
    """The names that a model's forward() takes; None if it takes any."""
    base = unwrap(model)
    if is_library_model(model):
        return list(base._input_names())
    parameters = inspect.signature(base.forward if hasattr(base, "forward") else base).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return names or None


def takes_any_keyword(model: Any) -> bool:
    """True if forward() has **kwargs, which then gets num_items_in_batch."""
    base = unwrap(model)
    if hasattr(base, "accepts_loss_kwargs"):
        return bool(base.accepts_loss_kwargs)
    return any(p.kind == p.VAR_KEYWORD for p in inspect.signature(base.forward).parameters.values())


def main_input(model: Any) -> str:
    return str(getattr(unwrap(model), "main_input_name", "input_ids"))


def label_names_of(model: Any) -> list[str]:
    """The inputs of a model that are labels."""
    names = input_names(model) or ["labels"]
    return [n for n in names if "label" in n or n in ("start_positions", "end_positions")]


class LabelRule:
    """Which labels a model's loss takes.

    kind: "class" one class, "tokens" a class for each token, "several" a number for each class, "number" a number, "" anything.
    """

    def __init__(self, model: Any) -> None:
        base = unwrap(model)
        config, name = getattr(base, "config", None), getattr(base, "core_name", "") or type(base).__name__
        self.kind, self.limit, self.what = "", 0, ""
        if config is None or not is_library_model(model):
            return
        if name.endswith(("ForSequenceClassification", "ForImageClassification", "ForTokenClassification")):
            self.limit, self.what = int(config.num_labels), f"the model has {config.num_labels} labels"
            if name.endswith("ForTokenClassification"):
                self.kind = "tokens"
            else:
                problem = config.problem_type
                self.kind = {"regression": "number", "multi_label_classification": "several", "single_label_classification": "class"}.get(
                    problem, "number" if self.limit == 1 else "class or several")
        elif name.endswith(("ForMaskedLM", "ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "MTModel")):
            size = getattr(config, "vocab_size", None) or getattr(getattr(config, "text_config", None), "vocab_size", None)
            if size:
                self.kind, self.limit, self.what = "tokens", int(size), f"the vocabulary has {size} tokens"

    @property
    def allowed(self) -> str:
        span = f"0 to {self.limit - 1}"
        if self.kind.startswith("class"):
            return f"an integer from {span}, or {PAD_LABEL} to leave an example out ({self.what})"
        if self.kind == "tokens":
            return f"integers from {span}, or {PAD_LABEL} to leave a token out ({self.what})"
        return f"{self.limit} numbers" if self.kind == "several" or self.limit > 1 else "a number"

    def check(self, value: Any, column: str, row: "int | None", where: str) -> None:
        """Errors: TypeError for labels of the wrong type, ValueError for those out of range; both name the column and the row."""
        if not self.kind or value is None:
            return
        at = f"[Trainer] {where}: column {column}" + ("" if row is None else f", row {row}")
        array = np.asarray(value.tolist() if hasattr(value, "tolist") else value)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{at}: expected {self.allowed}, got {value!r}"[:400])
        if self.kind in ("number", "several") or (self.kind == "class or several" and array.ndim == 1 and array.size == self.limit
                                                  and array.dtype.kind == "f"):
            if array.size != self.limit and self.kind != "number":
                raise ValueError(f"{at}: expected {self.allowed}, got {array.size}")
            if not np.isfinite(array).all():
                raise ValueError(f"{at}: expected finite numbers, got {value!r}"[:400])
            return
        if array.dtype.kind == "f" or (array.size != 1 and self.kind.startswith("class")):
            raise TypeError(f"{at}: expected {self.allowed}, got {value!r}"[:400])
        wrong = array[((array < 0) | (array >= self.limit)) & (array != PAD_LABEL)]
        if wrong.size:
            raise ValueError(f"{at}: expected {self.allowed}, got {int(wrong.flat[0])}")


def signature_columns(model: Any, label_names: Sequence[str]) -> "list[str] | None":
    """The columns that a dataset keeps: inputs, labels under all their names, and what collators of this library read."""
    names = input_names(model)
    return None if names is None else list(dict.fromkeys([*names, "label", "label_ids", *label_names, "special_tokens_mask", "offset_mapping"]))


def label_column(names: Any) -> "str | None":
    """The first of the names that labels go by."""
    return next((n for n in LABEL_COLUMNS if n in names), None)


def check_whole_column(dataset: Any, rule: LabelRule, where: str) -> None:
    """Looks at the labels of a whole dataset where they are at hand: a list of dicts, or a datasets.Dataset without a transform."""
    if rule.kind in ("", "tokens"):
        return
    if isinstance(dataset, (list, tuple)):
        for row, example in enumerate(dataset):
            if isinstance(example, Mapping):
                column = label_column(example)
                if column is not None:
                    rule.check(example[column], column, row, where)
    elif callable(getattr(dataset, "with_format", None)) and getattr(dataset, "column_names", None) and hasattr(dataset, "format"):
        column = label_column(dataset.column_names)
        if column is not None and dataset.format.get("type") != "custom":
            for row, value in enumerate(dataset.with_format(None)[column]):
                rule.check(value, column, row, where)


class Columns:
    """Prepares rows for the collator: drops what the model does not take, says what is missing, checks labels."""

    def __init__(self, model: Any, names: "Sequence[str] | None", keep_all: bool, where: str) -> None:
        self.model_name, self.where, self.main = type(unwrap(model)).__name__, where, main_input(model)
        self.rule = LabelRule(model)
        self.names = names
        self.keep_all = keep_all or names is None
        self.wants_input = not keep_all and is_library_model(model)

    def missing(self, there: Any) -> ValueError:
        names = ", ".join(self.names or ())
        got = ", ".join(map(str, there)) or "none"
        return ValueError(f"[Trainer] {self.where}: expected the column {self.main}, which {self.model_name} needs, got {got}; tokenise the "
                          f"texts first (dataset.map), or set remove_unused_columns=False for a collator that does it. Known columns: {names}")

    def _has_input(self, there: Any) -> bool:
        return self.main in there or any(n in there for n in ("inputs_embeds", "input_ids", "pixel_values", "encoder_outputs"))

    def of_dataset(self, dataset: Any) -> Any:
        """A datasets.Dataset without the columns that the model does not take. Errors: ValueError if nothing is left."""
        if self.keep_all or not hasattr(dataset, "remove_columns") or not getattr(dataset, "column_names", None):
            return dataset
        kept = [c for c in dataset.column_names if c in (self.names or ())]
        if not kept or (self.wants_input and not self._has_input(kept)):
            raise self.missing(dataset.column_names)
        return dataset.remove_columns([c for c in dataset.column_names if c not in kept])

    def rows(self, rows: list[Any], indices: "Sequence[int | None]") -> list[Any]:
        """Rows as the collator gets them. Errors: ValueError and TypeError that name the column and the row."""
        if not rows or not isinstance(rows[0], Mapping):
            return rows
        if not self.keep_all:
            there = list(rows[0])
            rows = [{k: v for k, v in row.items() if k in self.names} for row in rows]  # type: ignore[operator]
            if self.wants_input and not self._has_input(rows[0]):
                raise self.missing(there)
        column = label_column(rows[0])
        if column is not None and self.rule.kind:
            for row, index in zip(rows, indices):
                if column not in row:
                    raise ValueError(f"[Trainer] {self.where}: row {index} lacks the column {column} that other rows have")
                self.rule.check(row[column], column, index, self.where)
        return rows
