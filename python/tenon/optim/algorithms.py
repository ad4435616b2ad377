"""AdamW, Adam, SGD, Adafactor, Lion and AdamW8bit; the steps are computed in the core, all parameters of a group at once."""
from __future__ import annotations

from typing import Any, Mapping

from .. import _core
from .._core import Tensor
from .optimizer import Optimizer, Parameters


class AdamW(Optimizer):
    """Adam with decoupled weight decay: torch.optim.AdamW's arguments and numbers.

    p -= lr * (weight_decay * p + mhat / (sqrt(vhat) + eps)). foreach, fused, capturable and differentiable are taken and change nothing:
    the step is always one pass over all parameters. State: step, exp_avg, exp_avg_sq (max_exp_avg_sq with amsgrad).
    Errors: ValueError for a setting out of range, as Optimizer.
    """

    _kind = "adamw"
    _names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    _decoupled = True

    def __init__(self, params: Parameters, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False, foreach: "bool | None" = None,
                 capturable: bool = False, differentiable: bool = False, fused: "bool | None" = None) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
                                  "maximize": maximize, "foreach": foreach, "capturable": capturable, "differentiable": differentiable,
                                  "fused": fused, "decoupled_weight_decay": self._decoupled})


class Adam(AdamW):
    """torch.optim.Adam: weight_decay * p is added to the gradient. Errors: as AdamW."""

    _decoupled = False

    def __init__(self, params: Parameters, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.0, amsgrad: bool = False, *, maximize: bool = False, foreach: "bool | None" = None,
                 capturable: bool = False, differentiable: bool = False, fused: "bool | None" = None,
                 decoupled_weight_decay: bool = False) -> None:
        self._decoupled = decoupled_weight_decay
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, foreach=foreach, capturable=capturable,
                         differentiable=differentiable, fused=fused)


class SGD(Optimizer):
    """torch.optim.SGD: gradient descent with momentum (Nesterov's too). State: momentum_buffer, with momentum.

    Errors: ValueError for a setting out of range, also for nesterov without momentum or with dampening; as Optimizer.
    """

    _kind = "sgd"

    def __init__(self, params: Parameters, lr: Any = 1e-3, momentum: float = 0.0, dampening: float = 0.0, weight_decay: float = 0.0,
                 nesterov: bool = False, *, maximize: bool = False, foreach: "bool | None" = None, differentiable: bool = False,
                 fused: "bool | None" = None) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                                  "nesterov": nesterov, "maximize": maximize, "foreach": foreach, "differentiable": differentiable,
                                  "fused": fused})

    def _step_group(self, group: Mapping[str, Any], params: list[Tensor]) -> None:
        settings = self._settings(group)
        states, steps = [], []
        for t in params:
            buffer = self.state[t].get("momentum_buffer")
            steps.append(1 if buffer is None else 2)  # the core only asks whether it is the first
            if buffer is None:
                self.state[t].update(_core.optim_state(self._kind, t, settings))
            states.append([self.state[t]["momentum_buffer"]] if settings["momentum"] else [])
        _core.optim_step(self._kind, params, [t.grad for t in params], states, steps, settings)


class Adafactor(Optimizer):
    """transformers.optimization.Adafactor: second moments as row and column means, steps relative to the parameter's size.

    Without lr the step is relative to 1 / sqrt(step); with one, relative_step=False must be given. torch.optim.Adafactor is another
    (lr=1e-2 always taken, beta2_decay, d). State: step, exp_avg_sq_row and exp_avg_sq_col or exp_avg_sq, exp_avg with beta1.
    Errors: ValueError for settings that exclude each other or are out of range; as Optimizer.
    """

    _kind = "adafactor"
    _names = ("exp_avg_sq_row", "exp_avg_sq_col", "exp_avg_sq", "exp_avg")

    def __init__(self, params: Parameters, lr: Any = None, eps: tuple[float, float] = (1e-30, 1e-3), clip_threshold: float = 1.0,
                 decay_rate: float = -0.8, beta1: "float | None" = None, weight_decay: float = 0.0, scale_parameter: bool = True,
                 relative_step: bool = True, warmup_init: bool = False) -> None:
        super().__init__(params, {"lr": lr, "eps": eps, "clip_threshold": clip_threshold, "decay_rate": decay_rate, "beta1": beta1,
                                  "weight_decay": weight_decay, "scale_parameter": scale_parameter, "relative_step": relative_step,
                                  "warmup_init": warmup_init})


class Lion(Optimizer):
    """Lion (Chen et al. 2023): p -= lr * (sign(b1 m + (1-b1) g) + weight_decay * p). State: step, exp_avg. Errors: as AdamW."""

    _kind = "lion"
    _names = ("exp_avg",)

    def __init__(self, params: Parameters, lr: Any = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})


class AdamW8bit(Optimizer):
    """AdamW with both moments in 8 bits, 2 bytes a parameter: bitsandbytes.optim.AdamW8bit's arguments.

    Parameters of fewer than min_8bit_size elements keep float32. optim_bits, args, percentile_clipping, block_wise and is_paged are taken
    in the only form that they have here. State: step, state1, state2, absmax1, absmax2.
    Errors: ValueError for amsgrad, percentile_clipping below 100, block_wise=False and a setting out of range; as Optimizer.
    """

    _kind = "adamw8bit"
    _names = ("state1", "state2", "absmax1", "absmax2")

    def __init__(self, params: Parameters, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2, amsgrad: bool = False, optim_bits: int = 32, args: Any = None, min_8bit_size: int = 4096,
                 percentile_clipping: int = 100, block_wise: bool = True, is_paged: bool = False) -> None:
        for name, wrong in (("amsgrad", amsgrad), ("percentile_clipping", percentile_clipping != 100), ("block_wise", not block_wise)):
            if wrong:
                raise ValueError(f"[AdamW8bit] {name}: expected the default, which is all that there is")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "min_8bit_size": min_8bit_size})
