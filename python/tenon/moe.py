"""A mixture of experts as a layer of its own, usable inside a host's own model."""
from __future__ import annotations

from typing import Any, Mapping

from . import _core
from .conversion import Tensor, as_tensor

__all__ = ["MixtureOfExperts", "MoeOutput"]

_DTYPES = {"float32": "float32", "bfloat16": "bfloat16", "int8": "int8"}


class MoeOutput:
    """What the layer computed, and what its router decided for the flattened tokens.

    hidden_states   like the input
    router_logits   (tokens, experts) float32
    experts, weights (tokens, experts per token): the choice (-1: dropped) and its weights
    loads           tokens that each expert got
    load_entropy    of the loads over ln(experts): 1 is perfect balance
    max_violation   largest load over the mean, minus 1
    dropped_share   share of places that a capacity left empty
    """

    def __init__(self, result: Any) -> None:
        self.hidden_states = result.hidden_states
        for name in ("router_logits", "experts", "weights", "loads", "load_entropy", "max_violation", "dropped_share"):
            setattr(self, name, getattr(result, name))

    def __repr__(self) -> str:
        return (f"MoeOutput(hidden_states={tuple(self.hidden_states.shape)}, loads={self.loads}, load_entropy={self.load_entropy:.3f}, "
                f"max_violation={self.max_violation:.3f}, dropped_share={self.dropped_share:.3f})")


class MixtureOfExperts:
    """y = sum of weight * expert(x) over the chosen experts + shared(x); experts are gated feed-forward parts (SwiGLU).

    The defaults are 16 experts of which 2 are active; scoring_func "sigmoid" with n_group, topk_group and correction_bias is DeepSeek-V3's
    router. `dtype` is "float32", "bfloat16" or "int8" and says how the weights are kept for computing; the router stays float32.
    Errors: ValueError for sizes that do not fit.
    """

    def __init__(self, hidden_size: int, intermediate_size: int, num_experts: int = 16, num_experts_per_tok: int = 2, *, norm_topk_prob: bool = True,
                 scoring_func: str = "softmax", n_group: int = 1, topk_group: int = 1, routed_scaling_factor: float = 1.0,
                 correction_bias: bool = False, shared_intermediate_size: int = 0, capacity_factor: float = 0.0, expert_choice: bool = False,
                 dtype: Any = "float32", seed: int = 0, initializer_range: float = 0.02) -> None:
        if scoring_func not in ("softmax", "sigmoid"):
            raise ValueError(f'[moe] scoring_func: expected "softmax" or "sigmoid", got {scoring_func!r}')
        config = _core.MoeConfig()
        config.hidden_size, config.intermediate_size, config.num_experts = hidden_size, intermediate_size, num_experts
        config.top_k, config.norm_topk_prob, config.sigmoid = num_experts_per_tok, norm_topk_prob, scoring_func == "sigmoid"
        config.n_group, config.topk_group, config.routed_scaling_factor = n_group, topk_group, routed_scaling_factor
        config.correction_bias, config.shared_intermediate_size = correction_bias, shared_intermediate_size
        config.capacity_factor, config.expert_choice = capacity_factor, expert_choice
        self.config = config
        self.dtype = str(dtype).removeprefix("tenon.")
        self._layer = _core.MixtureOfExperts(config, seed, initializer_range, self.dtype)

    def __call__(self, x: Any) -> MoeOutput:
        """x (..., hidden_size) float32 or bfloat16, a tensor or an array."""
        return MoeOutput(self._layer.forward(as_tensor(x)))

    forward = __call__

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters under the names of a DeepSeek checkpoint: gate.weight, experts.0.gate_proj.weight, ..."""
        return dict(self._layer.parameters())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes all parameters. Errors: ValueError for missing, unknown or misshapen ones."""
        missing = [name for name in self.state_dict() if name not in state]
        if missing:
            raise ValueError(f"[moe] load_state_dict: missing {', '.join(missing[:8])}")
        for name, value in state.items():
            self._layer.set(name, as_tensor(value))
        self._layer.pack(self.dtype)
