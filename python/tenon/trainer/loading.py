"""The part of the Trainer that makes batches of datasets."""
from __future__ import annotations

from typing import Any, Callable

from .. import hub
from .._lazy import np
from ..conversion import Tensor, array_of, as_tensor, wrap
from .collators import PAD_LABEL
from .columns import Columns, check_whole_column, is_library_model, main_input, signature_columns
from .losses import count_labels
from .names import SamplingStrategy
from .results import has_length
from .sampling import EpochSampler, LengthGroupedSampler, RandomSampler, SequentialSampler, StreamLoader, TrainerDataLoader
from .sampling import is_iterable_only, lengths_of


def separated(inputs: dict[str, Any]) -> dict[str, Any]:
    """One row of joined examples, as DataCollatorWithFlattening makes it, as a padded batch; other inputs as they are."""
    ids, positions = inputs.get("input_ids"), inputs.get("position_ids")
    if ids is None or positions is None or inputs.get("attention_mask") is not None or ids.shape[0] != 1 or "inputs_embeds" in inputs:
        return inputs
    place = array_of(positions)[0]
    starts = np.flatnonzero(np.diff(place, prepend=place[0] + 1) != 1)
    if len(starts) < 2:
        return inputs
    ends = [*starts[1:], len(place)]
    longest = max(end - begin for begin, end in zip(starts, ends))
    batch: dict[str, Any] = {k: v for k, v in inputs.items() if k not in ("input_ids", "labels", "seq_idx")
                             and not k.startswith(("cu_seq_lens", "max_length"))}
    for name, fill in (("input_ids", 0), ("labels", PAD_LABEL), ("position_ids", 0), ("attention_mask", 0)):
        if name == "attention_mask":
            row = np.ones(len(place), np.int64)
        elif inputs.get(name) is not None:
            row = array_of(inputs[name])[0]
        else:
            continue
        padded = np.full((len(starts), longest), fill, np.int64)
        for i, (begin, end) in enumerate(zip(starts, ends)):
            padded[i, : end - begin] = row[begin:end]
        batch[name] = wrap(padded)
    return batch


class Loading:
    """Loaders, samplers and what happens to a batch before the model gets it."""

    args: Any
    model: Any
    data_collator: Callable[[list[Any]], Any]
    train_dataset: Any
    eval_dataset: Any
    processing_class: Any
    label_names: list[str]
    compute_loss_func: Any
    model_accepts_loss_kwargs: bool
    _train_batch_size: int
    _loss_shifts_labels: bool
    _signature_columns: "list[str] | None" = None

    def get_train_dataloader(self) -> Any:
        """The loader of a training epoch. Errors: ValueError without a dataset, for an empty one and for one that the model cannot read."""
        if self.train_dataset is None:
            raise ValueError("[Trainer] train: expected a train_dataset")
        return self._loader(self.train_dataset, "training set", self._train_batch_size, self._get_train_sampler)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """The loader of an evaluation: of a dataset, the one of a name in eval_dataset, or eval_dataset. Errors: ValueError without one."""
        if isinstance(eval_dataset, str):
            if not isinstance(self.eval_dataset, dict) or eval_dataset not in self.eval_dataset:
                raise ValueError(f"[Trainer] evaluate: there is no eval_dataset named {eval_dataset!r}")
            eval_dataset = self.eval_dataset[eval_dataset]
        elif eval_dataset is None:
            eval_dataset = self.eval_dataset
        if eval_dataset is None:
            raise ValueError("[Trainer] evaluate: expected an eval_dataset")
        return self._loader(eval_dataset, "evaluation set", self.args.eval_batch_size, self._get_eval_sampler)

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """The loader of predictions."""
        return self._loader(test_dataset, "test set", self.args.eval_batch_size, self._get_eval_sampler)

    def _loader(self, dataset: Any, where: str, batch_size: int, sampler_of: Callable[[Any], "EpochSampler | None"]) -> Any:
        if has_length(dataset) and len(dataset) == 0:
            raise ValueError(f"[Trainer] {where}: expected a dataset with examples, got an empty one")
        self._set_signature_columns_if_needed()
        columns = Columns(self.model, self._signature_columns, not self.args.remove_unused_columns, where)
        options = {"drop_last": self.args.dataloader_drop_last, "prepare": columns.rows, "seed": self._data_seed}
        if is_iterable_only(dataset):
            if not hasattr(dataset, "__iter__"):
                raise TypeError(f"[Trainer] {where}: expected a dataset with __len__ and __getitem__, or an iterable, got "
                                f"{type(dataset).__name__}")
            return StreamLoader(dataset, batch_size, self.data_collator, **options)
        dataset = columns.of_dataset(dataset)
        check_whole_column(dataset, columns.rule, where)
        sampler = sampler_of(dataset)
        return TrainerDataLoader(dataset, batch_size, self.data_collator, sampler or SequentialSampler(len(dataset)), **options)

    def _set_signature_columns_if_needed(self) -> None:
        """Sets _signature_columns, the columns that examples keep; subclasses add theirs."""
        if self._signature_columns is None:
            self._signature_columns = signature_columns(self.model, self.label_names)

    @property
    def _data_seed(self) -> int:
        return int(self.args.seed if self.args.data_seed is None else self.args.data_seed)

    def _input_name(self) -> str:
        names = getattr(self.processing_class, "model_input_names", None)
        return names[0] if names else main_input(self.model)

    def _get_train_sampler(self, train_dataset: Any = None) -> "EpochSampler | None":
        """The order of an epoch, as train_sampling_strategy says."""
        dataset = self.train_dataset if train_dataset is None else train_dataset
        strategy = self.args.train_sampling_strategy
        if strategy == SamplingStrategy.GROUP_BY_LENGTH:
            lengths = lengths_of(dataset, self.args.length_column_name, self._input_name())
            return LengthGroupedSampler(self._train_batch_size * self.args.gradient_accumulation_steps, lengths, self._data_seed)
        if strategy == SamplingStrategy.SEQUENTIAL:
            return SequentialSampler(len(dataset))
        return RandomSampler(len(dataset), self._data_seed)

    def _get_eval_sampler(self, eval_dataset: Any) -> "EpochSampler | None":
        """The dataset's own order."""
        return SequentialSampler(len(eval_dataset))

    def num_examples(self, dataloader: Any) -> int:
        """Examples that a loader goes through, estimated from its length where its dataset has none."""
        dataset = getattr(dataloader, "dataset", None)
        return len(dataset) if dataset is not None and has_length(dataset) else len(dataloader) * self.args.per_device_train_batch_size

    # A batch
    def _prepare_input(self, data: Any) -> Any:
        if isinstance(data, dict) or hasattr(data, "items"):
            return {k: self._prepare_input(v) for k, v in data.items()}
        if isinstance(data, (list, tuple)) and data and isinstance(data[0], Tensor):
            return type(data)(self._prepare_input(v) for v in data)
        if isinstance(data, Tensor) or data is None or isinstance(data, (str, bytes, bool)):
            return data
        try:
            return as_tensor(data)
        except (TypeError, ValueError):
            return data

    def _prepare_inputs(self, inputs: Any) -> dict[str, Any]:
        """A batch as the model gets it: tensors by name. Errors: ValueError for an empty batch, TypeError for one without names."""
        if not hasattr(inputs, "items"):
            raise TypeError(f"[Trainer] data collator: expected a dict of tensors, got {type(inputs).__name__}")
        prepared: dict[str, Any] = self._prepare_input(inputs)
        if not prepared:
            raise ValueError("[Trainer] data collator: the batch is empty; are the dataset's columns those that the model takes "
                             "(remove_unused_columns=False keeps all)?")
        if is_library_model(self.model):
            prepared = separated(prepared)
            known = set(self.model._input_names()) if hasattr(self.model, "_input_names") else None
            if known is not None and "token_type_ids" in prepared and "token_type_ids" not in known:
                prepared.pop("token_type_ids")
        where = next((p._device for p in self.model.parameters()), "cpu") if hasattr(self.model, "parameters") else "cpu"
        if where != "cpu" and getattr(self.model, "_core", None) is None:  # the library's models read integers on the host anyway
            prepared = _moved(prepared, where)
        return prepared

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any = None) -> tuple[list[Any], "int | None"]:
        """The batches of a step and the number of labels in them."""
        batches = []
        for _ in range(num_batches):
            try:
                batches.append(next(epoch_iterator))
            except StopIteration:
                break
        return batches, self._num_items(batches)

    def _num_items(self, batches: list[Any]) -> "int | None":
        if not batches or not (self.model_accepts_loss_kwargs or self.compute_loss_func is not None):
            return None
        counts = [count_labels(batch, self._loss_shifts_labels) for batch in batches]
        return None if any(c is None for c in counts) else sum(c for c in counts if c is not None)

    def _say(self, message: str) -> None:
        hub.warn(message, once=True)


def _moved(value: Any, where: str) -> Any:
    """A batch's tensors on the device of the model."""
    if isinstance(value, dict):
        return {k: _moved(v, where) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_moved(v, where) for v in value)
    return value.to(where) if isinstance(value, Tensor) else value
