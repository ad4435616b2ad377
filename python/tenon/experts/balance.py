"""DeepSeek-V3's balance without a loss: a bias on each expert's score that follows its load."""
from __future__ import annotations

from typing import Any

from .. import _core
from .._lazy import np
from ..trainer.callbacks import TrainerCallback
from ..trainer.columns import unwrap

_BIAS = "e_score_correction_bias"


def correction_biases(model: Any) -> list[Any]:
    """The biases of the routers, in the order of the layers. Errors: TypeError for a model without them."""
    found = [t for name, t in unwrap(model).named_parameters() if name.endswith(_BIAS)]
    if not found:
        raise TypeError(f"[{type(unwrap(model)).__name__}] expected a model whose routers have {_BIAS} (deepseek_v3)")
    return found


def update_correction_bias(model: Any, loads: Any, gamma: float = 0.001) -> None:
    """bias_i += gamma * sign(mean load - load_i), in float32, in every layer; the biases take part in the choice alone.

    Shapes: loads (layers with experts, experts), tokens that each expert got in the whole step.
    Errors: TypeError for a model without biases; ValueError for other shapes and a negative gamma.
    """
    biases, table = correction_biases(model), np.asarray(loads)
    if table.ndim != 2 or len(table) != len(biases):
        raise ValueError(f"[update_correction_bias] loads: expected ({len(biases)}, experts), got {table.shape}")
    unwrap(model)._make_trainable()
    for bias, row in zip(biases, table):
        _core.update_correction_bias(bias, [int(n) for n in row], gamma)


class LossFreeBalancing(TrainerCallback):
    """Updates the routers' biases after each step of the optimiser from the loads of all its batches.

    gamma: how far a bias moves in a step; until: the share of the run's steps after which it rests. The biases are saved with the model,
    are no parameters of the optimiser and never decay.
    Errors: ValueError for gamma and until; TypeError at the start for a model without biases.
    Source: Wang et al. 2024 (arXiv 2408.15664); DeepSeek-V3 technical report, section 2.1.2.
    """

    def __init__(self, gamma: float = 0.001, until: float = 1.0) -> None:
        if not 0 <= gamma < float("inf"):
            raise ValueError(f"[LossFreeBalancing] gamma: expected 0 or more, got {gamma}")
        if not 0 <= until <= 1:
            raise ValueError(f"[LossFreeBalancing] until: expected a share of the run, 0 to 1, got {until}")
        self.gamma, self.until = gamma, until

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> Any:
        correction_biases(model)
        unwrap(model).set_routing(report=True)
        unwrap(model).router_log.take_step()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> Any:
        loads = unwrap(model).router_log.take_step()
        if loads is not None and state.global_step < self.until * max(state.max_steps, 1):
            update_correction_bias(model, loads, self.gamma)
