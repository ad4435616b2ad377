"""What routers did in training, added up between two looks at it."""
from __future__ import annotations

import math
from typing import Any

from .. import hub
from .._lazy import np

LOSSES = ("balance_loss", "sequence_balance_loss", "device_loss", "communication_loss", "z_loss", "load_entropy_loss", "token_entropy_loss",
          "router_target_loss")


def router_statistics(loads: Any) -> dict[str, float]:
    """Health of routers from the tokens that each expert got.

    Shapes: loads (layers, experts) or (experts,). max_violation: the largest load over the mean, minus 1, mean over layers (0 is perfect
    balance); dead_experts: those without a token, all layers together; load_entropy: of the loads over ln(experts), mean over layers.
    Errors: ValueError for other shapes and negative loads.
    """
    table = np.atleast_2d(np.asarray(loads, np.float64))
    if table.ndim != 2 or table.size == 0 or (table < 0).any():
        raise ValueError(f"[router_statistics] loads: expected counts (layers, experts), got {np.shape(loads)}")
    total = table.sum(1, keepdims=True)
    share = table / np.maximum(total, 1)
    entropy = -(share * np.log(np.maximum(share, 1e-300))).sum(1) / math.log(table.shape[1]) if table.shape[1] > 1 else np.ones(len(table))
    violation = np.where(total[:, 0] > 0, share.max(1) * table.shape[1] - 1, 0.0)
    return {"max_violation": float(violation.mean()), "dead_experts": int((table == 0).sum()), "load_entropy": float(entropy.mean())}


class RouterLog:
    """Losses and loads of a model's passes in train() mode."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.passes = 0
        self.loads: Any = None  # (layers, experts) since the last take()
        self.step: Any = None   # the same since the last take_step()
        self.places = 0         # experts per token of the last pass

    def add(self, outputs: Any, places: int) -> None:
        """Takes what a pass gave out beside its loss."""
        loads = np.asarray(outputs["expert_loads"], np.int64)
        self.loads = loads.copy() if self.loads is None else self.loads + loads
        self.step = loads.copy() if self.step is None else self.step + loads
        self.passes += 1
        self.places = places
        for name in LOSSES:
            if name in outputs:
                self.sums[name] = self.sums.get(name, 0.0) + float(outputs[name].item())

    def reset(self) -> None:
        """Forgets loads and losses, but not those of the step that runs."""
        self.sums, self.passes, self.loads = {}, 0, None

    def take_step(self) -> Any:
        """The loads (layers, experts) since the last call, or None."""
        step, self.step = self.step, None
        return step

    def take(self) -> dict[str, float]:
        """Means of the losses since the last call, and router_statistics(); {} if no pass reported. A layer that sends every token to the
        same experts is counted in collapsed_layers and warned of."""
        if self.loads is None:
            return {}
        logs: dict[str, float] = {name: total / self.passes for name, total in self.sums.items()}
        logs.update(router_statistics(self.loads))
        collapsed, experts = self.collapsed_layers(), self.loads.shape[1]
        logs.update(active_experts=self.places, collapsed_layers=len(collapsed))
        if collapsed:
            hub.warn(f"router: every token of layer {', '.join(map(str, collapsed[:8]))} (of those with experts) goes to the same {self.places} of "
                     f"{experts} experts; raise the weight of a balance loss or of load_entropy", once=True)
        self.reset()
        return logs

    def collapsed_layers(self) -> list[int]:
        """The layers in which every token went to the same experts: no more than a token has places."""
        if self.loads is None or self.places >= self.loads.shape[1] or not self.places:
            return []
        return [i for i, row in enumerate(self.loads) if 0 < int((row > 0).sum()) <= self.places]

    def state(self) -> dict[str, Any]:
        """JSON values from which load() goes on."""
        return {"sums": dict(self.sums), "passes": self.passes, "places": self.places,
                **{name: None if getattr(self, name) is None else getattr(self, name).tolist() for name in ("loads", "step")}}

    def load(self, state: dict[str, Any]) -> None:
        """Errors: KeyError, TypeError for what state() did not give."""
        self.sums = {str(k): float(v) for k, v in state["sums"].items()}
        self.passes, self.places = int(state["passes"]), int(state["places"])
        for name in ("loads", "step"):
            setattr(self, name, None if state[name] is None else np.array(state[name], np.int64))
