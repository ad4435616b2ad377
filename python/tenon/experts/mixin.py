"""What models with experts have beside their configuration: settings of their routers, and a log of what the routers did."""
from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator

from .. import _core
from .log import RouterLog

WEIGHTS = ("balance", "sequence_balance", "device", "communication", "z", "load_entropy", "token_entropy", "router_target")
_SETTINGS = ("active_experts", "newcomers", "newcomer_weight", "noise", "jitter", "report", "balance_kind", "devices", "devices_per_token", *WEIGHTS)


class RoutingMixin:
    """Methods of models whose layers are mixtures of experts; those of other models raise TypeError."""

    _core: Any
    config: Any
    _router_log: "RouterLog | None" = None

    def set_routing(self, **settings: Any) -> None:
        """Changes how the routers choose and what they are taught; what is not named stays.

        active_experts: experts per token, 0 as configured; newcomers, newcomer_weight: of them, last places whose scores are multiplied;
        noise, jitter: while training, deviation of normal noise on the logits, and span of the factors of the router's input;
        report: the losses and loads are outputs also where no loss has a weight.
        Weights of losses, which are added to the loss in train() mode: balance (balance_kind "megablocks", "switch", "hf" or "deepseek"),
        sequence_balance, device and communication (devices, devices_per_token), z, load_entropy, token_entropy, router_target (with
        router_targets= of forward()). Each is also an output under its own name (balance_loss, ...), not weighted, beside expert_loads.
        Errors: TypeError for a model without experts and unknown names; ValueError for what does not fit.
        """
        now = self._core.routing if self._core is not None else _no_experts(self)
        for name, value in settings.items():
            if name not in _SETTINGS:
                raise TypeError(f"[set_routing] unknown setting {name!r}; known are {', '.join(_SETTINGS)}")
            if name == "balance_kind":
                kinds = _core.BalanceKind.__members__
                if str(value) not in kinds:
                    raise ValueError(f"[set_routing] balance_kind: expected one of {', '.join(kinds)}, got {value!r}")
                value = kinds[str(value)]
            try:
                setattr(now, name, value)
            except TypeError:
                kind = type(getattr(now, name)).__name__
                raise TypeError(f"[set_routing] {name}: expected {'a whole number' if kind == 'int' else kind}, got {value!r}") from None
        self._core.set_routing(now)

    @property
    def routing(self) -> dict[str, Any]:
        """The settings of now. Errors: TypeError for a model without experts."""
        now = self._core.routing if self._core is not None else _no_experts(self)
        return {name: now.balance_kind.name if name == "balance_kind" else getattr(now, name) for name in _SETTINGS}

    @property
    def num_active_experts(self) -> int:
        """Experts per token of now: as configured, or as set. Errors: TypeError for a model without experts."""
        return int(self.routing["active_experts"] or self.config.num_experts_per_tok)

    def set_active_experts(self, count: int = 0) -> None:
        """From now on each token goes to `count` experts, in training, inference and generation; 0: to as many as configured.

        Errors: TypeError for a model without experts; ValueError for more than there are.
        """
        self.set_routing(active_experts=count, newcomers=0, newcomer_weight=1.0)

    @contextmanager
    def active_experts(self, count: int) -> Iterator[None]:
        """Within the block each token goes to `count` experts."""
        before = self.routing
        self.set_active_experts(count)
        try:
            yield
        finally:
            self.set_routing(**{name: before[name] for name in ("active_experts", "newcomers", "newcomer_weight")})

    @property
    def router_log(self) -> RouterLog:
        """What the routers did in train() mode since somebody last took it."""
        if self._router_log is None:
            self.__dict__["_router_log"] = RouterLog()
        return self._router_log  # type: ignore[return-value]


def has_experts(model: Any) -> bool:
    """True for a model whose routers have settings."""
    try:
        return bool(model.routing)
    except (AttributeError, TypeError):
        return False


def _no_experts(model: Any) -> Any:
    raise TypeError(f"[{type(model).__name__}] it has no experts to route to")
