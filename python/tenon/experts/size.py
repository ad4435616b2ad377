"""How much of a mixture works on a token."""
from __future__ import annotations

import re
from typing import Any

from ..trainer.columns import unwrap

_EXPERT = re.compile(r"\.experts\.\d+\.")
_TABLES = ("embed_tokens.weight", "wte.weight", "wpe.weight")


def active_parameters(model: Any, active_experts: "int | None" = None, tables: bool = False) -> int:
    """Weights that a token meets: all that are no experts', and the share of the routed experts' that is active.

    active_experts: None for the model's number of now; tables: whether the table of embeddings, which multiplies nothing, counts. A head
    that is the table itself (tie_word_embeddings) multiplies, and counts. Dense models: all weights.
    """
    base = unwrap(model)
    always = routed = 0
    experts = 0
    for name, t in base.named_parameters():
        if _EXPERT.search(name):
            routed += t.numel()
            experts = max(experts, int(_EXPERT.search(name).group().split(".")[2]) + 1)  # type: ignore[union-attr]
        elif tables or not name.endswith(_TABLES) or getattr(base.config, "tie_word_embeddings", False):
            always += t.numel()
    if not experts:
        return always
    active = base.num_active_experts if active_experts is None else active_experts
    return always + round(routed * active / experts)


def training_flops_per_token(model: Any, length: int, active_experts: "int | None" = None) -> float:
    """Floating-point operations of a training step, for each token of sequences of `length`: three times those of the forward pass, which
    are 2 for each active weight, and 2 * length * width a layer for the two products of causal attention."""
    config = unwrap(model).config
    heads = getattr(config, "head_dim", None)
    width = config.num_attention_heads * heads if heads else config.hidden_size
    return 3.0 * (2 * active_parameters(model, active_experts) + 2 * config.num_hidden_layers * length * width)
