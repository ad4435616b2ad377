"""What training and evaluation return, seeds, and small helpers: EvalPrediction, TrainOutput, set_seed, ..."""
from __future__ import annotations

import os
import random
import re
import time
from typing import Any, Iterator, NamedTuple

from .._lazy import np

PREFIX_CHECKPOINT_DIR = "checkpoint"


class EvalPrediction:
    """What compute_metrics gets: predictions and label_ids as arrays; inputs and losses where include_for_metrics asks for them.

    Unpacks as (predictions, label_ids), followed by inputs and losses if they are there.
    """

    def __init__(self, predictions: Any, label_ids: Any, inputs: Any = None, losses: Any = None) -> None:
        self.predictions, self.label_ids, self.inputs, self.losses = predictions, label_ids, inputs, losses
        self.elements = (predictions, label_ids, *(x for x in (inputs, losses) if x is not None))

    def __iter__(self) -> Iterator[Any]:
        return iter(self.elements)

    def __getitem__(self, index: int) -> Any:
        return self.elements[index]

    def __len__(self) -> int:
        return len(self.elements)


class EvalLoopOutput(NamedTuple):
    """What evaluation_loop() returns."""

    predictions: Any
    label_ids: Any
    metrics: "dict[str, float] | None"
    num_samples: "int | None"


class PredictionOutput(NamedTuple):
    """What predict() returns."""

    predictions: Any
    label_ids: Any
    metrics: "dict[str, float] | None"


class TrainOutput(NamedTuple):
    """What train() returns."""

    global_step: int
    training_loss: float
    metrics: "dict[str, float]"


def set_seed(seed: int, deterministic: bool = False) -> None:
    """Seeds Python's, NumPy's and this library's random numbers. Results follow from the seed whether `deterministic` is given or not."""
    from ..random import manual_seed

    random.seed(seed)
    np.random.seed(seed % 2**32)
    manual_seed(seed)


def enable_full_determinism(seed: int, warn_only: bool = False) -> None:
    """set_seed() under Transformers' name for its stricter form."""
    set_seed(seed, deterministic=True)


def speed_metrics(split: str, start_time: float, num_samples: "float | None" = None, num_steps: "float | None" = None,
                  num_tokens: "float | None" = None) -> dict[str, float]:
    """Seconds since start_time, and what was done in a second."""
    seconds = time.time() - start_time
    metrics = {f"{split}_runtime": round(seconds, 4)}
    for name, count in (("samples", num_samples), ("steps", num_steps), ("tokens", num_tokens)):
        if count is not None and seconds > 0:
            metrics[f"{split}_{name}_per_second"] = round(count / seconds, 3)
    return metrics


def get_last_checkpoint(folder: "str | os.PathLike[str]") -> "str | None":
    """The checkpoint-N of the largest N in a folder, or None."""
    found = sorted_checkpoints(folder)
    return found[-1] if found else None


def sorted_checkpoints(folder: "str | os.PathLike[str]") -> list[str]:
    """The folders checkpoint-N in a folder, by N."""
    if not os.path.isdir(folder):
        return []
    numbers = ((re.fullmatch(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)", name), name) for name in os.listdir(folder))
    found = sorted((int(match[1]), os.path.join(folder, name)) for match, name in numbers if match)
    return [path for _, path in found if os.path.isdir(path)]


def has_length(dataset: Any) -> bool:
    """True if len(dataset) works."""
    try:
        return len(dataset) is not None
    except (TypeError, AttributeError, NotImplementedError):
        return False


def metrics_format(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics as people read them: run times as hours, minutes and seconds, four digits behind the point."""
    shown = {}
    for name, value in metrics.items():
        if name.endswith("_runtime"):
            minutes, seconds = divmod(float(value), 60)
            value = f"{int(minutes // 60)}:{int(minutes % 60):02d}:{seconds:05.2f}"
        elif name == "total_flos":
            value = f"{int(value) >> 30}GF"
        elif isinstance(value, float):
            value = round(value, 4)
        shown[name] = value
    return shown
