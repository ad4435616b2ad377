"""DataLoader: batches of a data set, made ahead by threads where asked."""
from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Iterator, NamedTuple

from .collate import default_collate, default_convert
from .dataset import IterableDataset
from .sampler import BatchSampler, RandomSampler, SequentialSampler

__all__ = ["DataLoader", "get_worker_info"]


class WorkerInfo(NamedTuple):
    """What get_worker_info() tells a data set in a worker."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_here = threading.local()


def get_worker_info() -> "WorkerInfo | None":
    """Which worker this is, None outside of workers. The workers of an iterable data set are one here, so that nothing comes twice."""
    return getattr(_here, "info", None)


class DataLoader:
    """Iterates over a data set in batches, as torch.utils.data.DataLoader; num_workers are threads that make the next batches ahead."""

    def __init__(self, dataset: Any, batch_size: "int | None" = 1, shuffle: "bool | None" = None, sampler: Any = None, batch_sampler: Any = None,
                 num_workers: int = 0, collate_fn: "Callable[[Any], Any] | None" = None, pin_memory: bool = False, drop_last: bool = False,
                 timeout: float = 0, worker_init_fn: "Callable[[int], None] | None" = None, multiprocessing_context: Any = None,
                 generator: Any = None, *, prefetch_factor: "int | None" = None, persistent_workers: bool = False,
                 pin_memory_device: str = "", in_order: bool = True) -> None:
        iterable = isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__")
        if num_workers < 0:
            raise ValueError(f"[DataLoader] num_workers: expected 0 or more, got {num_workers}")
        if iterable and (shuffle or sampler is not None or batch_sampler is not None):
            raise ValueError("[DataLoader] an iterable data set has its own order: shuffle, sampler and batch_sampler cannot be given")
        if sampler is not None and shuffle:
            raise ValueError("[DataLoader] sampler and shuffle=True exclude each other")
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            raise ValueError("[DataLoader] batch_sampler excludes batch_size, shuffle, sampler and drop_last")
        self.dataset, self.num_workers, self.drop_last, self.generator = dataset, num_workers, drop_last, generator
        self.batch_size = None if batch_sampler is not None else batch_size
        self.pin_memory, self.timeout, self.worker_init_fn = pin_memory, timeout, worker_init_fn
        self.prefetch_factor = 2 if prefetch_factor is None else prefetch_factor
        self.persistent_workers = persistent_workers
        self._iterable = iterable
        if not iterable:
            if sampler is None:
                sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
            if batch_size is not None and batch_sampler is None:
                batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        elif batch_size is not None and batch_size <= 0:
            raise ValueError(f"[DataLoader] batch_size: expected a positive integer, got {batch_size}")
        self.sampler, self.batch_sampler = sampler, batch_sampler
        batched = batch_sampler is not None or (iterable and batch_size is not None)
        self._batched = batched
        self.collate_fn = collate_fn or (default_collate if batched else default_convert)

    def __len__(self) -> int:
        if not self._iterable:
            return len(self.batch_sampler if self._batched else self.sampler)
        n = len(self.dataset)
        if not self._batched:
            return n
        assert self.batch_size is not None
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def _fetch(self, indices: Any) -> Any:
        if not self._batched:
            return self.collate_fn(self.dataset[indices])
        several = getattr(self.dataset, "__getitems__", None)
        return self.collate_fn(several(list(indices)) if several is not None else [self.dataset[i] for i in indices])

    def _stream(self) -> Iterator[Any]:
        batch: list[Any] = []
        for item in self.dataset:
            if not self._batched:
                yield self.collate_fn(item)
                continue
            batch.append(item)
            if len(batch) == self.batch_size:
                yield self.collate_fn(batch)
                batch = []
        if batch and not self.drop_last:
            yield self.collate_fn(batch)

    def __iter__(self) -> Iterator[Any]:
        if self._iterable:
            return self._stream()
        order = iter(self.batch_sampler if self._batched else self.sampler)
        return map(self._fetch, order) if not self.num_workers else self._ahead(order)

    def _ahead(self, order: Iterator[Any]) -> Iterator[Any]:
        count = iter(range(self.num_workers))

        def start() -> None:
            i = next(count)
            _here.info = WorkerInfo(i, self.num_workers, i, self.dataset)
            if self.worker_init_fn is not None:
                self.worker_init_fn(i)

        with ThreadPoolExecutor(self.num_workers, "tenon-data", start) as pool:
            waiting: deque[Any] = deque()
            try:
                for indices in order:
                    waiting.append(pool.submit(self._fetch, indices))
                    if len(waiting) > self.num_workers * self.prefetch_factor:
                        yield waiting.popleft().result(self.timeout or None)
                while waiting:
                    yield waiting.popleft().result(self.timeout or None)
            finally:
                for future in waiting:
                    future.cancel()
