"""Learning-rate schedules with Transformers' names: a factor of the optimiser's learning rate for each step."""
from __future__ import annotations

import math
from typing import Any, Callable

from .names import SchedulerType

Factor = Callable[[int], float]


def _lambda_lr(optimizer: Any, factor: Factor, last_epoch: int) -> Any:
    from ..optim.lr_scheduler import LambdaLR

    return LambdaLR(optimizer, factor, last_epoch)


def _with_warmup(num_warmup_steps: int, after: Factor) -> Factor:
    """s / warmup before the end of warm-up, then after(s - warmup)."""
    def factor(step: int) -> float:
        return step / max(1, num_warmup_steps) if step < num_warmup_steps else after(step - num_warmup_steps)

    return factor


def _progress(num_warmup_steps: int, num_training_steps: int) -> Factor:
    """The share of the steps after warm-up that are done."""
    return lambda since: since / max(1, num_training_steps - num_warmup_steps)


def _wave(progress: float, num_cycles: float) -> float:
    return 0.5 * (1 + math.cos(2 * math.pi * num_cycles * progress))


def get_constant_schedule(optimizer: Any, last_epoch: int = -1) -> Any:
    """1 at every step."""
    return _lambda_lr(optimizer, lambda step: 1.0, last_epoch)


def get_constant_schedule_with_warmup(optimizer: Any, num_warmup_steps: int, last_epoch: int = -1) -> Any:
    """Linear from 0 to 1 in the warm-up, then 1."""
    return _lambda_lr(optimizer, _with_warmup(num_warmup_steps, lambda since: 1.0), last_epoch)


def get_linear_schedule_with_warmup(optimizer: Any, num_warmup_steps: int, num_training_steps: int, last_epoch: int = -1) -> Any:
    """Warm-up, then linear from 1 to 0 at num_training_steps."""
    length = num_training_steps - num_warmup_steps
    return _lambda_lr(optimizer, _with_warmup(num_warmup_steps, lambda since: max(0.0, (length - since) / max(1, length))), last_epoch)


def get_cosine_schedule_with_warmup(optimizer: Any, num_warmup_steps: int, num_training_steps: int, num_cycles: float = 0.5,
                                    last_epoch: int = -1) -> Any:
    """Warm-up, then (1 + cos(2 pi num_cycles p)) / 2 with p from 0 to 1."""
    done = _progress(num_warmup_steps, num_training_steps)
    return _lambda_lr(optimizer, _with_warmup(num_warmup_steps, lambda since: max(0.0, _wave(done(since), num_cycles))), last_epoch)


def get_cosine_with_hard_restarts_schedule_with_warmup(optimizer: Any, num_warmup_steps: int, num_training_steps: int, num_cycles: int = 1,
                                                       last_epoch: int = -1) -> Any:
    """Warm-up, then num_cycles half waves from 1 to 0, each starting at 1 again."""
    done = _progress(num_warmup_steps, num_training_steps)

    def after(since: int) -> float:
        progress = done(since)
        return 0.0 if progress >= 1 else max(0.0, _wave(num_cycles * progress % 1.0, 0.5))

    return _lambda_lr(optimizer, _with_warmup(num_warmup_steps, after), last_epoch)


def get_polynomial_decay_schedule_with_warmup(optimizer: Any, num_warmup_steps: int, num_training_steps: int, lr_end: float = 1e-7,
                                              power: float = 1.0, last_epoch: int = -1) -> Any:
    """Warm-up, then the rate falls as (lr - lr_end) (1 - p)^power + lr_end. Errors: ValueError if lr_end is not below the learning rate."""
    rate = float(optimizer.defaults["lr"])
    if not rate > lr_end:
        raise ValueError(f"[get_polynomial_decay_schedule_with_warmup] lr_end: expected less than the learning rate {rate}, got {lr_end}")
    done = _progress(num_warmup_steps, num_training_steps)

    def after(since: int) -> float:
        share: float = max(0.0, 1 - done(since)) ** power
        return ((rate - lr_end) * share + lr_end) / rate

    return _lambda_lr(optimizer, _with_warmup(num_warmup_steps, after), last_epoch)


def get_inverse_sqrt_schedule(optimizer: Any, num_warmup_steps: int, timescale: "int | None" = None, last_epoch: int = -1) -> Any:
    """Warm-up, then 1 / sqrt(1 + s / timescale) with s steps since; timescale is the warm-up, or 10000 without one."""
    scale = timescale or num_warmup_steps or 10_000
    return _lambda_lr(optimizer, _with_warmup(num_warmup_steps, lambda since: 1 / math.sqrt((since + scale) / scale)), last_epoch)


def _least_share(where: str, optimizer: Any, min_lr: "float | None", min_lr_rate: "float | None") -> float:
    if (min_lr is None) == (min_lr_rate is None):
        raise ValueError(f"[{where}] expected either min_lr or min_lr_rate (lr_scheduler_kwargs), got "
                         f"{'neither' if min_lr is None else 'both'}")
    return min_lr / optimizer.defaults["lr"] if min_lr is not None else float(min_lr_rate or 0.0)


def get_cosine_with_min_lr_schedule_with_warmup(optimizer: Any, num_warmup_steps: int, num_training_steps: int, num_cycles: float = 0.5,
                                                last_epoch: int = -1, min_lr: "float | None" = None, min_lr_rate: "float | None" = None) -> Any:
    """The cosine between 1 and a least share. Errors: ValueError unless one of min_lr and min_lr_rate is given."""
    least = _least_share("get_cosine_with_min_lr_schedule_with_warmup", optimizer, min_lr, min_lr_rate)
    done = _progress(num_warmup_steps, num_training_steps)
    return _lambda_lr(optimizer, _with_warmup(num_warmup_steps, lambda since: max(0.0, _wave(done(since), num_cycles) * (1 - least) + least)),
                      last_epoch)


def get_cosine_with_min_lr_schedule_with_warmup_lr_rate(optimizer: Any, num_warmup_steps: int, num_training_steps: int, num_cycles: float = 0.5,
                                                        last_epoch: int = -1, min_lr: "float | None" = None, min_lr_rate: "float | None" = None,
                                                        warmup_lr_rate: "float | None" = None) -> Any:
    """As the one above, with a warm-up that starts at warmup_lr_rate, or at one step's share, and with steps counted from 1.

    Errors: ValueError unless one of min_lr and min_lr_rate is given.
    """
    least = _least_share("get_cosine_with_min_lr_schedule_with_warmup_lr_rate", optimizer, min_lr, min_lr_rate)
    done = _progress(num_warmup_steps, num_training_steps)

    def factor(step: int) -> float:
        if step < num_warmup_steps and warmup_lr_rate is None:
            return (step + 1) / max(1, num_warmup_steps)
        if step < num_warmup_steps:
            return warmup_lr_rate + (1 - warmup_lr_rate) * step / max(1, num_warmup_steps - 1)  # type: ignore[operator]
        return max(0.0, _wave(done(step - num_warmup_steps + 1), num_cycles) * (1 - least) + least)

    return _lambda_lr(optimizer, factor, last_epoch)


_RISES: dict[str, Callable[[float], float]] = {  # share of the warm-up -> share of the rate
    "linear": lambda p: p,
    "cosine": lambda p: 0.5 * (1 - math.cos(math.pi * p)),
    "1-sqrt": lambda p: 1 - math.sqrt(1 - p),
}
_FALLS: dict[str, Callable[[float, float], float]] = {  # share of the decay, cycles -> share of the rate
    "linear": lambda p, cycles: 1 - p,
    "cosine": _wave,
    "1-sqrt": lambda p, cycles: 1 - math.sqrt(p),
}


def get_wsd_schedule(optimizer: Any, num_warmup_steps: int, num_decay_steps: int, num_training_steps: "int | None" = None,
                     num_stable_steps: "int | None" = None, warmup_type: str = "linear", decay_type: str = "cosine", min_lr_ratio: float = 0,
                     num_cycles: float = 0.5, last_epoch: int = -1) -> Any:
    """Warm-up, stable, decay: rises to 1, stays, falls to min_lr_ratio in num_decay_steps.

    Errors: ValueError for unknown types and without num_training_steps or num_stable_steps.
    """
    for name, value, table in (("warmup_type", warmup_type, _RISES), ("decay_type", decay_type, _FALLS)):
        if value not in table:
            raise ValueError(f"[get_wsd_schedule] {name}: expected one of {', '.join(table)}, got {value!r}")
    if num_stable_steps is None:
        if num_training_steps is None:
            raise ValueError("[get_wsd_schedule] expected num_training_steps or num_stable_steps")
        num_stable_steps = num_training_steps - num_warmup_steps - num_decay_steps
    begin = num_warmup_steps + num_stable_steps

    def factor(step: int) -> float:
        if step < num_warmup_steps:
            share = _RISES[warmup_type](step / max(1, num_warmup_steps))
        elif step < begin:
            return 1.0
        elif step < begin + num_decay_steps:
            share = _FALLS[decay_type]((step - begin) / max(1, num_decay_steps), num_cycles)
        else:
            return min_lr_ratio
        return max(0.0, share * (1 - min_lr_ratio) + min_lr_ratio)

    return _lambda_lr(optimizer, factor, last_epoch)


def get_reduce_on_plateau_schedule(optimizer: Any, **kwargs: Any) -> Any:
    """ReduceLROnPlateau with its own arguments; the Trainer steps it with metric_for_best_model after each evaluation."""
    from ..optim.lr_scheduler import ReduceLROnPlateau

    return ReduceLROnPlateau(optimizer, **kwargs)


def get_greedy_schedule(optimizer: Any, **kwargs: Any) -> Any:
    """GreedyLR with its own arguments; the Trainer steps it with metric_for_best_model after each evaluation."""
    from .greedy import GreedyLR

    return GreedyLR(optimizer, **kwargs)


_SCHEDULES: dict[SchedulerType, Callable[..., Any]] = {
    SchedulerType.LINEAR: get_linear_schedule_with_warmup,
    SchedulerType.COSINE: get_cosine_schedule_with_warmup,
    SchedulerType.COSINE_WITH_RESTARTS: get_cosine_with_hard_restarts_schedule_with_warmup,
    SchedulerType.POLYNOMIAL: get_polynomial_decay_schedule_with_warmup,
    SchedulerType.CONSTANT: get_constant_schedule,
    SchedulerType.CONSTANT_WITH_WARMUP: get_constant_schedule_with_warmup,
    SchedulerType.INVERSE_SQRT: get_inverse_sqrt_schedule,
    SchedulerType.REDUCE_ON_PLATEAU: get_reduce_on_plateau_schedule,
    SchedulerType.COSINE_WITH_MIN_LR: get_cosine_with_min_lr_schedule_with_warmup,
    SchedulerType.COSINE_WARMUP_WITH_MIN_LR: get_cosine_with_min_lr_schedule_with_warmup_lr_rate,
    SchedulerType.WARMUP_STABLE_DECAY: get_wsd_schedule,
    SchedulerType.GREEDY: get_greedy_schedule,
}
BY_METRIC = (SchedulerType.REDUCE_ON_PLATEAU, SchedulerType.GREEDY)  # stepped after evaluations, not after steps
_WITHOUT_TOTAL = (SchedulerType.CONSTANT_WITH_WARMUP, SchedulerType.INVERSE_SQRT)


def get_scheduler(name: "str | SchedulerType", optimizer: Any, num_warmup_steps: "int | None" = None, num_training_steps: "int | None" = None,
                  scheduler_specific_kwargs: "dict[str, Any] | None" = None) -> Any:
    """The schedule of a name. Errors: ValueError for an unknown name and for a number of steps that it needs and lacks."""
    name = SchedulerType(name)
    make, options = _SCHEDULES[name], dict(scheduler_specific_kwargs or {})
    if name == SchedulerType.CONSTANT:
        return make(optimizer)
    if name in BY_METRIC:
        return make(optimizer, **options)
    if num_warmup_steps is None:
        raise ValueError(f"[get_scheduler] {name.value}: expected num_warmup_steps")
    if name in _WITHOUT_TOTAL:
        return make(optimizer, num_warmup_steps=num_warmup_steps, **options)
    if num_training_steps is None and name != SchedulerType.WARMUP_STABLE_DECAY:
        raise ValueError(f"[get_scheduler] {name.value}: expected num_training_steps")
    return make(optimizer, num_warmup_steps=num_warmup_steps, num_training_steps=num_training_steps, **options)
