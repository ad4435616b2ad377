"""Learning rate schedulers with PyTorch's names, arguments and numbers."""
from __future__ import annotations

import bisect
import collections
import math
import types
from typing import Any, Callable, Iterable, Sequence

from .optimizer import Optimizer

__all__ = ["ChainedScheduler", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "ExponentialLR", "LambdaLR", "LinearLR",
           "LRScheduler", "MultiStepLR", "MultiplicativeLR", "OneCycleLR", "PolynomialLR", "ReduceLROnPlateau", "SequentialLR", "StepLR"]


class LRScheduler:
    """Sets "lr" of every group of an optimiser after each step(). A scheduler of one's own overrides get_lr().

    `last_epoch` counts steps from 0; it is -1 for a schedule that starts. What a group's "lr" was then stays in its "initial_lr".
    Errors: TypeError for what is no optimiser; KeyError for a last_epoch of 0 or more without "initial_lr" in every group.
    """

    _is_initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"[{type(self).__name__}] expected an optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(f"[{type(self).__name__}] param_groups[{i}] has no 'initial_lr', which last_epoch={last_epoch} needs")
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def get_lr(self) -> list[Any]:
        """The learning rate of every group at `last_epoch`; it may build on the rates of the step before, group["lr"]."""
        raise NotImplementedError

    def get_last_lr(self) -> list[Any]:
        """The learning rates that were set last, one per group."""
        return self._last_lr

    def step(self, epoch: "int | None" = None) -> None:
        """Goes to the next step, or to step `epoch`."""
        self._step_count += 1
        self._update_lr(epoch)

    def _update_lr(self, epoch: "int | None" = None) -> None:
        if epoch is None:
            self.last_epoch += 1
            rates = self.get_lr()
        else:
            self.last_epoch = epoch
            rates = self._get_closed_form_lr() if hasattr(self, "_get_closed_form_lr") else self.get_lr()
        for group, lr in zip(self.optimizer.param_groups, rates):
            group["lr"] = lr
        self._note()

    def _note(self) -> None:
        self._last_lr = self._rates()

    def _rates(self) -> list[Any]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def _times(self, factor: float) -> list[Any]:
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser."""
        return {k: v for k, v in self.__dict__.items() if k != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on where state_dict() was taken. The optimiser's own state_dict() brings the learning rates back."""
        self.__dict__.update(state_dict)


_LRScheduler = LRScheduler  # its name before PyTorch 2


class _WithFunctions(LRScheduler):
    """Schedulers that are given functions; those are not saved unless they are objects with a state."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        groups = len(optimizer.param_groups)
        self.lr_lambdas: list[Callable[[int], float]] = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * groups
        if len(self.lr_lambdas) != groups:
            raise ValueError(f"[{type(self).__name__}] lr_lambda: expected {groups}, one per group, got {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        functions = (types.FunctionType, types.BuiltinFunctionType)
        kept = [None if isinstance(f, functions) else dict(getattr(f, "__dict__", {})) for f in self.lr_lambdas]
        return {k: v for k, v in super().state_dict().items() if k != "lr_lambdas"} | {"lr_lambdas": kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.__dict__.update({k: v for k, v in state_dict.items() if k != "lr_lambdas"})
        for f, kept in zip(self.lr_lambdas, state_dict.get("lr_lambdas", ())):
            if kept:
                f.__dict__.update(kept)


class LambdaLR(_WithFunctions):
    """lr = initial_lr * lr_lambda(step); one function, or one per group. Errors: ValueError for another number of functions."""

    def get_lr(self) -> list[Any]:
        return [base * f(self.last_epoch) for f, base in zip(self.lr_lambdas, self.base_lrs)]


class MultiplicativeLR(_WithFunctions):
    """lr *= lr_lambda(step), from the first step on. Errors: as LambdaLR."""

    def get_lr(self) -> list[Any]:
        if self._is_initial:
            return self._rates()
        return [group["lr"] * f(self.last_epoch) for f, group in zip(self.lr_lambdas, self.optimizer.param_groups)]


class StepLR(LRScheduler):
    """lr *= gamma every step_size steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        return self._rates() if self.last_epoch == 0 or self.last_epoch % self.step_size else self._times(self.gamma)

    def _get_closed_form_lr(self) -> list[Any]:
        return [base * self.gamma ** (self.last_epoch // self.step_size) for base in self.base_lrs]


class MultiStepLR(LRScheduler):
    """lr *= gamma at each of the milestones."""

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.milestones, self.gamma = collections.Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        return self._times(self.gamma ** self.milestones[self.last_epoch]) if self.last_epoch in self.milestones else self._rates()

    def _get_closed_form_lr(self) -> list[Any]:
        passed = bisect.bisect_right(sorted(self.milestones.elements()), self.last_epoch)
        return [base * self.gamma ** passed for base in self.base_lrs]


class ConstantLR(LRScheduler):
    """lr = factor * initial_lr until step total_iters. Errors: ValueError for a factor outside [0, 1]."""

    def __init__(self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1) -> None:
        _check_range("ConstantLR", "factor", factor)
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        if self.last_epoch == 0:
            return self._times(self.factor)
        return self._times(1.0 / self.factor) if self.last_epoch == self.total_iters else self._rates()

    def _get_closed_form_lr(self) -> list[Any]:
        return [base * (1.0 if self.last_epoch >= self.total_iters else self.factor) for base in self.base_lrs]


class LinearLR(LRScheduler):
    """lr goes from start_factor to end_factor times initial_lr in total_iters steps. Errors: ValueError for a factor outside (0, 1]."""

    def __init__(self, optimizer: Optimizer, start_factor: float = 1.0 / 3, end_factor: float = 1.0, total_iters: int = 5,
                 last_epoch: int = -1) -> None:
        _check_range("LinearLR", "start_factor", start_factor, above=True)
        _check_range("LinearLR", "end_factor", end_factor)
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self, step: int) -> float:
        return self.start_factor + (self.end_factor - self.start_factor) * min(self.total_iters, step) / self.total_iters

    def get_lr(self) -> list[Any]:
        if self.last_epoch == 0:
            return self._times(self.start_factor)
        if self._is_initial or self.last_epoch > self.total_iters:
            return self._rates()
        return self._times(self._factor(self.last_epoch) / self._factor(self.last_epoch - 1))

    def _get_closed_form_lr(self) -> list[Any]:
        return [base * self._factor(self.last_epoch) for base in self.base_lrs]


class ExponentialLR(LRScheduler):
    """lr *= gamma every step."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        return self._rates() if self._is_initial else self._times(self.gamma)

    def _get_closed_form_lr(self) -> list[Any]:
        return [base * self.gamma**self.last_epoch for base in self.base_lrs]


class PolynomialLR(LRScheduler):
    """lr = initial_lr * (1 - step / total_iters) ** power, then 0."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        if self._is_initial or self.last_epoch > self.total_iters:
            return self._rates()
        left = 1.0 - self.last_epoch / self.total_iters
        return self._times((left / (1.0 - (self.last_epoch - 1) / self.total_iters)) ** self.power)

    def _get_closed_form_lr(self) -> list[Any]:
        return [base * (1.0 - min(self.total_iters, self.last_epoch) / self.total_iters) ** self.power for base in self.base_lrs]


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + (initial_lr - eta_min) * (1 + cos(pi * step / T_max)) / 2."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        if self._is_initial:
            return self._rates()
        if self._step_count == 1 and self.last_epoch > 0:
            return self._get_closed_form_lr()
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # up from the lowest point, which no factor leaves
            rise = (1 - math.cos(math.pi / self.T_max)) / 2
            return [g["lr"] + (base - self.eta_min) * rise for base, g in zip(self.base_lrs, self.optimizer.param_groups)]
        now, before = (1 + math.cos(math.pi * step / self.T_max) for step in (self.last_epoch, self.last_epoch - 1))
        return [now / before * (g["lr"] - self.eta_min) + self.eta_min for g in self.optimizer.param_groups]

    def _get_closed_form_lr(self) -> list[Any]:
        height = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Cosines from initial_lr to eta_min, the first T_0 steps long, each T_mult times as long as the one before.

    step() may be given a fractional epoch. Errors: ValueError for a T_0 or T_mult below 1.
    """

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        for name, value in (("T_0", T_0), ("T_mult", T_mult)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"[CosineAnnealingWarmRestarts] {name}: expected an integer of 1 or more, got {value}")
        self.T_0, self.T_i, self.T_mult, self.eta_min = T_0, T_0, T_mult, eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        height = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]

    def step(self, epoch: "float | None" = None) -> None:
        """Goes on by one, or to `epoch`. Errors: ValueError if it is negative."""
        if epoch is not None and epoch < 0:
            raise ValueError(f"[CosineAnnealingWarmRestarts] epoch: expected 0 or more, got {epoch}")
        at: float = epoch if epoch is not None else self.last_epoch + 1
        if epoch is None and self.last_epoch >= 0:
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur, self.T_i = self.T_cur - self.T_i, self.T_i * self.T_mult
        else:
            self.T_cur, self.T_i = at, self.T_0
            while self.T_cur >= self.T_i:
                self.T_cur, self.T_i = self.T_cur - self.T_i, self.T_i * self.T_mult
        self._step_count += 1
        self.last_epoch = math.floor(at)
        for group, lr in zip(self.optimizer.param_groups, self.get_lr()):
            group["lr"] = lr
        self._note()


class OneCycleLR(LRScheduler):
    """Up from max_lr / div_factor to max_lr in pct_start of the steps, then down to the start over final_div_factor (Smith 2018).

    With cycle_momentum the momentum (or beta1) goes the other way, between max_momentum and base_momentum. Errors: ValueError for a number
    of steps that is not given or not positive, a pct_start outside [0, 1], an unknown anneal_strategy, an optimiser without momentum, and a
    step beyond the last.
    """

    def __init__(self, optimizer: Optimizer, max_lr: Any, total_steps: "int | None" = None, epochs: "int | None" = None,
                 steps_per_epoch: "int | None" = None, pct_start: float = 0.3, anneal_strategy: str = "cos", cycle_momentum: bool = True,
                 base_momentum: Any = 0.85, max_momentum: Any = 0.95, div_factor: float = 25.0, final_div_factor: float = 1e4,
                 three_phase: bool = False, last_epoch: int = -1) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("[OneCycleLR] expected total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if not isinstance(total_steps, int) or total_steps < 1:
            raise ValueError(f"[OneCycleLR] total_steps: expected a positive integer, got {total_steps}")
        _check_range("OneCycleLR", "pct_start", pct_start)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"[OneCycleLR] anneal_strategy: expected 'cos' or 'linear', got {anneal_strategy!r}")
        self.optimizer, self.total_steps, self.anneal_strategy, self.cycle_momentum = optimizer, total_steps, anneal_strategy, cycle_momentum
        top, last = pct_start * total_steps - 1, total_steps - 1
        # (last step, lr from, lr to, momentum from, momentum to)
        rise = (top, "initial_lr", "max_lr", "max_momentum", "base_momentum")
        if three_phase:
            fall = (2 * pct_start * total_steps - 2, "max_lr", "initial_lr", "base_momentum", "max_momentum")
            self._phases = [rise, fall, (last, "initial_lr", "min_lr", "max_momentum", "max_momentum")]
        else:
            self._phases = [rise, (last, "max_lr", "min_lr", "base_momentum", "max_momentum")]
        self.use_beta1 = "betas" in optimizer.defaults
        if cycle_momentum and not self.use_beta1 and "momentum" not in optimizer.defaults:
            raise ValueError("[OneCycleLR] cycle_momentum: expected an optimizer with momentum or betas")
        if last_epoch == -1:
            groups = optimizer.param_groups
            for group, lr, high, low in zip(groups, self._each(max_lr), self._each(max_momentum), self._each(base_momentum)):
                group.update(initial_lr=lr / div_factor, max_lr=lr, min_lr=lr / div_factor / final_div_factor)
                if cycle_momentum:
                    group.update(max_momentum=high, base_momentum=low)
                    self._set_momentum(group, high)
        super().__init__(optimizer, last_epoch)

    def _each(self, value: Any) -> list[Any]:
        groups = len(self.optimizer.param_groups)
        values = list(value) if isinstance(value, (list, tuple)) else [value] * groups
        if len(values) != groups:
            raise ValueError(f"[OneCycleLR] expected {groups} values, one per group, got {len(values)}")
        return values

    def _set_momentum(self, group: dict[str, Any], momentum: float) -> None:
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return start + (end - start) * share
        return end + (start - end) / 2.0 * (1 + math.cos(math.pi * share))

    def get_lr(self) -> list[Any]:
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(f"[OneCycleLR] step: expected at most {self.total_steps}, got {step}")
        begin = 0.0
        for end, *names in self._phases:
            if step <= end or end == self._phases[-1][0]:
                break
            begin = end
        share = (step - begin) / (end - begin)
        lr_from, lr_to, momentum_from, momentum_to = names
        for group in self.optimizer.param_groups if self.cycle_momentum else ():
            self._set_momentum(group, self._between(group[momentum_from], group[momentum_to], share))
        return [self._between(group[lr_from], group[lr_to], share) for group in self.optimizer.param_groups]


class _Several(LRScheduler):
    """Schedulers made of schedulers, which are saved with them."""

    _schedulers: Sequence[LRScheduler]

    def _check(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler]) -> None:
        if not schedulers:
            raise ValueError(f"[{type(self).__name__}] schedulers: expected at least one, got none")
        for i, s in enumerate(schedulers):
            if isinstance(s, ReduceLROnPlateau) or not hasattr(s, "optimizer"):
                raise (ValueError if hasattr(s, "optimizer") else TypeError)(
                    f"[{type(self).__name__}] schedulers[{i}]: expected a scheduler whose step() takes no metrics, got {type(s).__name__}")
            if s.optimizer is not optimizer:
                raise ValueError(f"[{type(self).__name__}] schedulers[{i}]: expected one of the same optimizer")

    def state_dict(self) -> dict[str, Any]:
        own = {k: v for k, v in super().state_dict().items() if k != "_schedulers"}
        return own | {"_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.__dict__.update({k: v for k, v in state_dict.items() if k != "_schedulers"})
        for s, kept in zip(self._schedulers, state_dict["_schedulers"]):
            s.load_state_dict(kept)


class SequentialLR(_Several):
    """One scheduler after the other: the next takes over at each milestone.

    Errors: ValueError unless there is one milestone less than schedulers, all of this optimiser; TypeError for what is no scheduler.
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1) -> None:
        self._check(optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(f"[SequentialLR] milestones: expected {len(schedulers) - 1}, one less than schedulers, got {len(milestones)}")
        self.optimizer, self._schedulers, self._milestones = optimizer, list(schedulers), list(milestones)
        self.last_epoch = last_epoch + 1
        # Each has set its first learning rate when it was made: undone, and done again by the one whose turn it is.
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._undo(self._schedulers)
        first = self._schedulers[bisect.bisect_right(self._milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def _undo(self, schedulers: Sequence[LRScheduler]) -> None:
        for s in schedulers:
            if isinstance(s, _Several):
                self._undo(s._schedulers)
            else:
                s.last_epoch -= 1

    def step(self, epoch: "int | None" = None) -> None:
        self.last_epoch += 1
        turn = bisect.bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[turn]
        if turn > 0 and self._milestones[turn - 1] == self.last_epoch:
            scheduler._update_lr(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


class ChainedScheduler(_Several):
    """Several schedulers at once, each building on what the one before it has set. Errors: as SequentialLR."""

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: "Optimizer | None" = None) -> None:
        self._check(optimizer or (schedulers[0].optimizer if schedulers else None), schedulers)  # type: ignore[arg-type]
        self._schedulers = list(schedulers)
        self.optimizer = optimizer or schedulers[0].optimizer
        self._note()

    def step(self, epoch: "int | None" = None) -> None:
        for s in self._schedulers:
            s.step()
        self._note()


class ReduceLROnPlateau(LRScheduler):
    """lr *= factor when a metric has not become better for more than `patience` steps; then `cooldown` steps do not count.

    Better: below (mode "max": above) the best by more than `threshold`, a share of it ("rel") or a difference ("abs").
    Errors: ValueError for a factor of 1 or more, an unknown mode or threshold_mode, or another number of min_lr than groups.
    """

    def __init__(self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10, threshold: float = 1e-4,
                 threshold_mode: str = "rel", cooldown: int = 0, min_lr: Any = 0, eps: float = 1e-8) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"[ReduceLROnPlateau] expected an optimizer, got {type(optimizer).__name__}")
        if factor >= 1.0:
            raise ValueError(f"[ReduceLROnPlateau] factor: expected below 1, got {factor}")
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError("[ReduceLROnPlateau] expected mode 'min' or 'max' and threshold_mode 'rel' or 'abs', "
                             f"got {mode!r} and {threshold_mode!r}")
        groups = len(optimizer.param_groups)
        self.min_lrs = list(min_lr) if isinstance(min_lr, (list, tuple)) else [min_lr] * groups
        if len(self.min_lrs) != groups:
            raise ValueError(f"[ReduceLROnPlateau] min_lr: expected {groups}, one per group, got {len(self.min_lrs)}")
        self.optimizer, self.mode, self.factor, self.patience, self.threshold = optimizer, mode, factor, patience, threshold
        self.threshold_mode, self.cooldown, self.eps = threshold_mode, cooldown, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._note()

    @property
    def in_cooldown(self) -> bool:
        return self.cooldown_counter > 0

    def is_better(self, a: float, best: float) -> bool:
        """Whether `a` is better than `best` by more than the threshold."""
        sign = 1 if self.mode == "max" else -1
        least = best * (1 + sign * self.threshold) if self.threshold_mode == "rel" else best + sign * self.threshold
        return a > least if self.mode == "max" else a < least

    def step(self, metrics: Any, epoch: "int | None" = None) -> None:  # type: ignore[override]
        """Takes the metric of one more epoch."""
        current = float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self.is_better(current, self.best):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self.optimizer.param_groups, self.min_lrs):
                lr = max(group["lr"] * self.factor, least)
                if group["lr"] - lr > self.eps:
                    group["lr"] = lr
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._note()


def _check_range(where: str, what: str, value: float, above: bool = False) -> None:
    if not 0 <= value <= 1 or (above and value == 0):
        raise ValueError(f"[{where}] {what}: expected {'above 0' if above else '0'} to 1, got {value}")
