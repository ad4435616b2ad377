"""A curriculum for mixtures: few experts per token at first, more towards the end."""
from __future__ import annotations

import math
from typing import Any, Sequence

from .. import hub
from ..trainer.callbacks import TrainerCallback
from ..trainer.columns import unwrap
from ..trainer.state import ExportableState


class ProgressiveExperts(TrainerCallback, ExportableState):
    """Raises the number of active experts from `start` to `end` between two points of the run.

    end: None for the model's num_experts_per_tok; begin, finish: shares of the run's steps (up to 1), or steps (whole numbers above 1);
    stages: the counts one after another, each as long as the others, e.g. (2, 3, 4, 6, 8); None: every number from start to end.
    soft_start: the share of a stage over which the scores of its new places grow from 0 to their own.
    The count depends on the step alone; a checkpoint keeps the schedule and refuses another one.
    Errors: ValueError for stages that do not rise and parts of steps, and at the start of training for more experts than there are and a
    schedule that ends after the run.
    """

    def __init__(self, start: int = 2, end: "int | None" = None, begin: float = 0.0, finish: float = 0.75,
                 stages: "Sequence[int] | None" = None, soft_start: float = 0.0) -> None:
        self.stages = None if stages is None else [int(k) for k in stages]
        if self.stages is not None and (not self.stages or self.stages[0] < 1 or any(a >= b for a, b in zip(self.stages, self.stages[1:]))):
            raise ValueError(f"[ProgressiveExperts] stages: expected rising numbers of experts, got {stages}")
        if start < 1 or (end is not None and end < start):
            raise ValueError(f"[ProgressiveExperts] expected 1 <= start <= end, got {start} and {end}")
        if not (0 <= begin < math.inf and 0 <= finish < math.inf):
            raise ValueError(f"[ProgressiveExperts] expected begin and finish of 0 or more, got {begin} and {finish}")
        for name, value in (("begin", begin), ("finish", finish)):
            if value > 1 and value != int(value):
                raise ValueError(f"[ProgressiveExperts] {name}: expected a share of the run, 0 to 1, or a whole number of steps, got {value}")
        if not 0 <= soft_start <= 1:
            raise ValueError(f"[ProgressiveExperts] soft_start: expected a share of a stage, 0 to 1, got {soft_start}")
        self.start, self.end, self.begin, self.finish, self.soft_start = start, end, begin, finish, soft_start
        self.changes: list[list[int]] = []  # [step, experts]
        self.plan: list[int] = []
        self.span = (0, 0)

    def state(self) -> dict[str, Any]:
        return {"args": {"start": self.start, "end": self.end, "begin": self.begin, "finish": self.finish, "stages": self.stages,
                         "soft_start": self.soft_start},
                "attributes": {"changes": self.changes}}

    def active_at(self, step: int) -> tuple[int, int, float]:
        """Experts per token, how many of them are new, and what the new ones' scores are multiplied by, in this step of a planned run."""
        first, last = self.span
        done = 1.0 if last <= first else min(max((step - first) / (last - first), 0.0), 1.0)
        if step < first:
            done = 0.0
        at = min(len(self.plan) - 1, math.floor(len(self.plan) * done))
        if at == 0 or not self.soft_start:
            return self.plan[at], 0, 1.0
        grown = min(1.0, (len(self.plan) * done - at) / self.soft_start)
        return self.plan[at], 0 if grown == 1 else self.plan[at] - self.plan[at - 1], grown

    def _steps(self, value: float, max_steps: int) -> int:
        return round(value * max_steps) if value <= 1 else int(value)

    def prepare(self, model: Any, max_steps: int) -> None:
        """Plans the run. Errors: as the class says."""
        config = unwrap(model).config
        experts = int(getattr(config, "num_experts", None) or getattr(config, "num_local_experts", None) or config.n_routed_experts)
        end = self.end or int(config.num_experts_per_tok)
        self.plan = list(self.stages) if self.stages is not None else list(range(self.start, end + 1))
        if not self.plan:
            raise ValueError(f"[ProgressiveExperts] expected start <= the model's {end} experts per token, got {self.start}")
        if self.plan[-1] > experts:
            raise ValueError(f"[ProgressiveExperts] expected at most the model's {experts} experts, got {self.plan[-1]}")
        self.span = (self._steps(self.begin, max_steps), self._steps(self.finish, max_steps))
        if self.span[1] > max_steps:
            raise ValueError(f"[ProgressiveExperts] the schedule ends at step {self.span[1]}, after the end of training at step {max_steps}")
        if self.span[0] > self.span[1]:
            raise ValueError(f"[ProgressiveExperts] the schedule begins at step {self.span[0]}, after its end at step {self.span[1]}")
        if getattr(config, "norm_topk_prob", True) is False:
            hub.warn("ProgressiveExperts: norm_topk_prob is off: the scale of the layers' outputs changes with the number of experts", once=True)

    def _apply(self, model: Any, step: int) -> None:
        active, newcomers, weight = self.active_at(step)
        base = unwrap(model)
        if not self.changes or self.changes[-1][1] != active:
            self.changes.append([step, active])
            base.router_log.reset()  # loads of before say nothing about now
        base.set_routing(active_experts=active, newcomers=newcomers, newcomer_weight=weight)

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> Any:
        self.prepare(model, state.max_steps)
        if state.global_step:
            saved = (state.stateful_callbacks or {}).get(type(self).__name__)
            own = self.state()["args"]
            if isinstance(saved, dict) and saved.get("args") != own:
                raise ValueError("[ProgressiveExperts] resume: the run was trained with the schedule {}, this one has {}".format(
                    *(", ".join(f"{k}={v}" for k, v in sorted((each or {}).items())) for each in (saved.get("args"), own))))
            if isinstance(saved, dict):
                self.changes = [list(change) for change in saved["attributes"]["changes"]]
        else:
            self.changes = []
        self._apply(model, state.global_step)

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> Any:
        self._apply(model, state.global_step)
