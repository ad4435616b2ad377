"""GreedyLR: a learning rate that grows while a metric gets better and shrinks while it does not (arXiv 2512.14527)."""
from __future__ import annotations

import math
from collections import deque
from typing import Any, Sequence

_COUNTERS = ("best", "num_bad_epochs", "num_good_epochs", "cooldown_counter", "warmup_counter", "reset_start", "last_epoch")


class GreedyLR:
    """After more than `patience` good values in a row lr / factor, after as many bad ones lr * factor, within [min_lr, max_lr].

    cooldown and warmup: steps without counting after a fall and a rise. reset_start: falls at min_lr before all starts anew. smooth:
    metrics are means over the last window_size values.
    Errors: ValueError for values out of their range.
    """

    def __init__(self, optimizer: Any, mode: str = "min", factor: float = 0.95, patience: int = 10, threshold: float = 1e-6,
                 threshold_mode: str = "abs", cooldown: int = 0, warmup: int = 0, min_lr: "float | Sequence[float]" = 1e-3,
                 max_lr: "float | Sequence[float]" = 1.0, eps: float = 1e-8, verbose: bool = False, smooth: bool = False,
                 window_size: int = 50, reset_start: int = 500) -> None:
        if not 0 < factor < 1:
            raise ValueError(f"[GreedyLR] factor: expected a number in (0, 1), got {factor}")
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(f"[GreedyLR] expected mode min or max and threshold_mode rel or abs, got {mode!r} and {threshold_mode!r}")
        self.optimizer = optimizer
        self.mode, self.factor, self.patience, self.threshold, self.threshold_mode = mode, factor, patience, threshold, threshold_mode
        self.cooldown, self.warmup, self.eps, self.verbose = cooldown, warmup, eps, verbose
        self.min_lrs, self.max_lrs = self._per_group("min_lr", min_lr), self._per_group("max_lr", max_lr)
        self.reset_start_original = reset_start
        self.last_epoch = 0
        self._window: "deque[float] | None" = deque(maxlen=window_size) if smooth else None
        self._init_lrs = self._last_lr = [float(g["lr"]) for g in optimizer.param_groups]
        self._start()

    def _per_group(self, name: str, value: Any) -> list[float]:
        count = len(self.optimizer.param_groups)
        values = list(value) if isinstance(value, (list, tuple)) else [value] * count
        if len(values) != count:
            raise ValueError(f"[GreedyLR] {name}: expected {count} values, one for each parameter group, got {len(values)}")
        return values

    def _start(self) -> None:
        self.best = math.inf if self.mode == "min" else -math.inf
        self.num_bad_epochs = self.num_good_epochs = self.cooldown_counter = self.warmup_counter = 0
        self.reset_start = self.reset_start_original
        if self._window is not None:
            self._window.clear()

    def is_better(self, current: float, best: float) -> bool:
        """True if `current` betters `best` by more than the threshold."""
        margin = self.threshold if self.threshold_mode == "abs" else 0.0 if math.isinf(best) else self.threshold * best
        return current > best + margin if self.mode == "max" else current < best - margin

    def step(self, metrics: float, epoch: "int | None" = None) -> None:
        """Takes a value of the metric and changes the learning rates if it is time."""
        current = float(metrics)
        if self._window is not None:
            self._window.append(current)
            current = sum(self._window) / len(self._window)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self.cooldown_counter > 0 or self.warmup_counter > 0:
            self.num_bad_epochs = self.num_good_epochs = 0
            if self.cooldown_counter > 0:
                self.cooldown_counter -= 1
            else:
                self.warmup_counter -= 1
        elif self.is_better(current, self.best):
            self.best, self.num_bad_epochs, self.num_good_epochs = current, 0, self.num_good_epochs + 1
        else:
            self.num_bad_epochs, self.num_good_epochs = self.num_bad_epochs + 1, 0
        if self.num_good_epochs > self.patience:
            self._change(1 / self.factor)
            self.reset_start, self.warmup_counter, self.num_good_epochs = self.reset_start_original, self.warmup, 0
        elif self.num_bad_epochs > self.patience:
            self._change(self.factor)
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
            self._count_falls()
        self._last_lr = [float(g["lr"]) for g in self.optimizer.param_groups]

    def _change(self, by: float) -> None:
        for group, least, most in zip(self.optimizer.param_groups, self.min_lrs, self.max_lrs):
            old = float(group["lr"])
            new = max(old * by, least) if by < 1 else min(old * by, most)
            if (old - new if by < 1 else new - old) > self.eps:
                group["lr"] = new

    def _count_falls(self) -> None:
        if any(g["lr"] > least for g, least in zip(self.optimizer.param_groups, self.min_lrs)):
            return
        self.reset_start -= 1
        if self.reset_start <= 0:
            for group, rate in zip(self.optimizer.param_groups, self._init_lrs):
                group["lr"] = rate
            self._start()

    def get_last_lr(self) -> list[float]:
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """What step() changes, as JSON has it."""
        state: dict[str, Any] = {name: getattr(self, name) for name in _COUNTERS}
        return {**state, "_last_lr": self._last_lr, "window": None if self._window is None else list(self._window)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name in _COUNTERS:
            setattr(self, name, state_dict[name])
        self._last_lr = list(state_dict["_last_lr"])
        if self._window is not None:
            self._window.extend(state_dict.get("window") or ())
        for group, rate in zip(self.optimizer.param_groups, self._last_lr):
            group["lr"] = rate
