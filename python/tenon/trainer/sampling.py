"""In which order examples come, and batches made of them: samplers and the loader of the Trainer."""
from __future__ import annotations

import math
from typing import Any, Callable, Iterator, Sequence

from .._lazy import np
from .results import has_length


class EpochSampler:
    """An order of the examples that follows from the seed and the epoch alone, so that a resumed run finds its place without replaying."""

    def __init__(self, length: int, seed: int = 0) -> None:
        self.length, self.seed, self.epoch = length, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def _permutation(self) -> list[int]:
        order: list[int] = np.random.default_rng([self.seed % 2**63, self.epoch]).permutation(self.length).tolist()
        return order

    def __iter__(self) -> Iterator[int]:
        raise NotImplementedError


class RandomSampler(EpochSampler):
    """Another random order in each epoch."""

    def __iter__(self) -> Iterator[int]:
        return iter(self._permutation())


class SequentialSampler(EpochSampler):
    """The dataset's own order."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.length))


class LengthGroupedSampler(EpochSampler):
    """A random order in which the examples of a batch have similar lengths; the batch with the longest example comes first.

    The order is cut into groups of up to 50 batches, each sorted by length.
    """

    def __init__(self, batch_size: int, lengths: Sequence[int], seed: int = 0) -> None:
        super().__init__(len(lengths), seed)
        self.lengths, self.batch_size = lengths, batch_size

    def __iter__(self) -> Iterator[int]:
        order, lengths = self._permutation(), self.lengths
        size = self.batch_size * max(1, min(self.length // (self.batch_size * 4), 50))
        groups = [sorted(order[i: i + size], key=lambda i: lengths[i], reverse=True) for i in range(0, self.length, size)]
        if groups:
            longest = max(range(len(groups)), key=lambda g: lengths[groups[g][0]])
            groups[0][0], groups[longest][0] = groups[longest][0], groups[0][0]
        return (i for group in groups for i in group)


def lengths_of(dataset: Any, column: str, input_name: str) -> list[int]:
    """The length of each example: a column of lengths if there is one, or of its ids. Errors: ValueError if examples have neither."""
    if column in (getattr(dataset, "column_names", None) or ()):
        return [int(n) for n in dataset[column]]
    lengths = []
    for row in range(len(dataset)):
        example = dataset[row]
        if not hasattr(example, "keys") or input_name not in example:
            there = ", ".join(example.keys()) if hasattr(example, "keys") else type(example).__name__
            raise ValueError(f"[Trainer] group_by_length: expected examples with {input_name} or a column {column}, row {row} has "
                             f"{there or 'nothing'}")
        lengths.append(len(example[input_name]))
    return lengths


def _fetch(dataset: Any, indices: list[int]) -> list[Any]:
    if hasattr(dataset, "__getitems__"):  # a datasets.Dataset reads several rows at once
        rows: list[Any] = dataset.__getitems__(indices)
        return rows
    return [dataset[i] for i in indices]


class StreamLoader:
    """Batches of an iterable dataset through a collator; `skip`: batches that the next epoch leaves out."""

    def __init__(self, dataset: Any, batch_size: int, collate_fn: Callable[[list[Any]], Any], drop_last: bool = False,
                 prepare: "Callable[[list[Any], Sequence[int | None]], list[Any]] | None" = None, seed: int = 0) -> None:
        self.dataset, self.batch_size, self.collate_fn, self.drop_last = dataset, batch_size, collate_fn, drop_last
        self.skip, self.epoch, self.seed, self._prepare = 0, 0, seed, prepare

    def set_epoch(self, epoch: int) -> None:
        """Tells the sampler, the dataset and the collator (as far as they ask for it) which epoch comes."""
        self.epoch = epoch
        for listener in (getattr(self, "sampler", None), self.dataset, self.collate_fn):
            if callable(getattr(listener, "set_epoch", None)):
                listener.set_epoch(epoch)  # type: ignore[union-attr]

    def _rows(self, skip: int) -> Iterator[tuple[Sequence["int | None"], list[Any]]]:
        rows: list[Any] = []
        for example in self.dataset:
            rows.append(example)
            if len(rows) == self.batch_size:
                if skip:
                    skip -= 1
                else:
                    yield [None] * len(rows), rows
                rows = []
        if rows and not skip:
            yield [None] * len(rows), rows

    def __iter__(self) -> Iterator[Any]:
        number, self.skip = self.skip, 0
        for indices, rows in self._rows(number):
            if len(rows) < self.batch_size and self.drop_last:
                return
            if self._prepare is not None:
                rows = self._prepare(rows, indices)
            if callable(getattr(self.collate_fn, "set_batch", None)):
                self.collate_fn.set_batch(self.seed, self.epoch, number)  # type: ignore[attr-defined]
            number += 1
            yield self.collate_fn(rows)


class TrainerDataLoader(StreamLoader):
    """Batches of a dataset with an index, in the order of a sampler. Skipped rows are not read."""

    def __init__(self, dataset: Any, batch_size: int, collate_fn: Callable[[list[Any]], Any], sampler: EpochSampler, **options: Any) -> None:
        super().__init__(dataset, batch_size, collate_fn, **options)
        self.sampler = sampler

    def __len__(self) -> int:
        count = len(self.sampler)
        return count // self.batch_size if self.drop_last else math.ceil(count / self.batch_size)

    def _rows(self, skip: int) -> Iterator[tuple[Sequence["int | None"], list[Any]]]:
        order = list(self.sampler)
        for begin in range(skip * self.batch_size, len(order), self.batch_size):
            indices = order[begin: begin + self.batch_size]
            yield indices, _fetch(self.dataset, indices)


def is_iterable_only(dataset: Any) -> bool:
    """True for a dataset without rows by index: a stream."""
    return not (hasattr(dataset, "__getitem__") and has_length(dataset))
