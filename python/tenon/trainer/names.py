"""The words that training arguments take: strategies, schedules and optimisers, as Transformers names them."""
from __future__ import annotations

from enum import Enum
from typing import Any


class Name(str, Enum):
    """A word of a fixed list; equal to its text. Errors: ValueError that lists the words."""

    @classmethod
    def _missing_(cls, value: object) -> Any:
        raise ValueError(f"[{cls.__name__}] expected one of {', '.join(m.value for m in cls)}, got {value!r}")

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


class IntervalStrategy(Name):
    NO = "no"
    STEPS = "steps"
    EPOCH = "epoch"


class SaveStrategy(Name):
    NO = "no"
    STEPS = "steps"
    EPOCH = "epoch"
    BEST = "best"


class HubStrategy(Name):
    END = "end"
    EVERY_SAVE = "every_save"
    CHECKPOINT = "checkpoint"
    ALL_CHECKPOINTS = "all_checkpoints"


class SchedulerType(Name):
    LINEAR = "linear"
    COSINE = "cosine"
    COSINE_WITH_RESTARTS = "cosine_with_restarts"
    POLYNOMIAL = "polynomial"
    CONSTANT = "constant"
    CONSTANT_WITH_WARMUP = "constant_with_warmup"
    INVERSE_SQRT = "inverse_sqrt"
    REDUCE_ON_PLATEAU = "reduce_lr_on_plateau"
    COSINE_WITH_MIN_LR = "cosine_with_min_lr"
    COSINE_WARMUP_WITH_MIN_LR = "cosine_warmup_with_min_lr"
    WARMUP_STABLE_DECAY = "warmup_stable_decay"
    GREEDY = "greedy"


class OptimizerNames(Name):
    """Those that this library has; further names of Transformers are read as one of them in arguments.py."""

    ADAMW_TORCH = "adamw_torch"
    ADAMW_TORCH_FUSED = "adamw_torch_fused"
    ADAMW_8BIT = "adamw_8bit"
    ADAFACTOR = "adafactor"
    LION = "lion_32bit"
    SGD = "sgd"


class SamplingStrategy(Name):
    RANDOM = "random"
    GROUP_BY_LENGTH = "group_by_length"
    SEQUENTIAL = "sequential"

