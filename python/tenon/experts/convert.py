"""A dense checkpoint becomes a mixture of experts, and a mixture a dense model."""
from __future__ import annotations

import re
from typing import Any

from .._core import Tensor
from .._lazy import np
from ..configuration import config_class
from ..conversion import as_tensor
from ..trainer.columns import unwrap

# dense model_type -> (mixture's model_type, its name of the part, its names of gate, up and down)
_UP = {"llama": ("mixtral", "block_sparse_moe", ("w1", "w3", "w2")), "mistral": ("mixtral", "block_sparse_moe", ("w1", "w3", "w2")),
       "qwen3": ("qwen3_moe", "mlp", ("gate_proj", "up_proj", "down_proj"))}
_DOWN = {"mixtral": ("mistral", "block_sparse_moe", ("w1", "w3", "w2")), "qwen3_moe": ("qwen3", "mlp", ("gate_proj", "up_proj", "down_proj"))}
_PARTS = ("gate_proj", "up_proj", "down_proj")
_SHARED = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_act", "max_position_embeddings",
           "initializer_range", "rms_norm_eps", "use_cache", "pad_token_id", "bos_token_id", "eos_token_id", "tie_word_embeddings",
           "attention_dropout", "head_dim", "rope_theta", "rope_scaling", "rope_parameters", "sliding_window", "use_sliding_window",
           "max_window_layers", "layer_types", "attention_bias")


def _config_of(source: Any, model_type: str, **more: Any) -> Any:
    known = {name: getattr(source, name) for name in _SHARED if name in source and getattr(source, name) is not None}
    if model_type in ("mixtral", "mistral"):
        known.pop("attention_bias", None)
        known["sliding_window"] = getattr(source, "sliding_window", None) if source.model_type in ("mistral", "mixtral") else None
    if "rope_theta" not in known and "rope_parameters" not in known:  # the families' own defaults differ
        known["rope_theta"] = 1e6 if source.model_type == "mixtral" else 1e4
    known.setdefault("num_key_value_heads", source.num_attention_heads)
    return config_class(model_type)(**{**known, **more})


def upcycle(model: Any, num_experts: int = 8, num_experts_per_tok: int = 2, router_std: float = 0.02, expert_noise: float = 0.0, seed: int = 0) -> Any:
    """A mixture whose every expert is a copy of a dense model's feed-forward part, and whose routers are new: it computes what the dense
    model did, whatever the routers choose, because the weights of a token's experts sum to 1.

    Llama and Mistral become Mixtral, Qwen3 becomes Qwen3-MoE; the model keeps its head. router_std: deviation of the routers' weights;
    expert_noise: of what is added to each expert, as a share of its own weights' deviation (then nothing is exact any more).
    Errors: TypeError for other models; ValueError for more experts per token than experts.
    Source: Komatsuzaki et al. 2022, "Sparse upcycling".
    """
    base = unwrap(model)
    source = base.config
    if source.model_type not in _UP:
        raise TypeError(f"[upcycle] expected a dense model of {', '.join(_UP)}, got {source.model_type!r}")
    if not 1 <= num_experts_per_tok <= num_experts:
        raise ValueError(f"[upcycle] expected 1 <= num_experts_per_tok <= num_experts, got {num_experts_per_tok} and {num_experts}")
    if getattr(source, "attention_bias", False) and source.model_type == "llama" or getattr(source, "mlp_bias", False):
        raise TypeError("[upcycle] expected a model without biases: mixtures of its kind have none")
    model_type, part, names = _UP[source.model_type]
    sizes: dict[str, Any] = {"intermediate_size": source.intermediate_size, "num_experts_per_tok": num_experts_per_tok}
    if model_type == "mixtral":
        sizes["num_local_experts"] = num_experts
    else:
        sizes.update(num_experts=num_experts, moe_intermediate_size=source.intermediate_size, norm_topk_prob=True)
    made = _class_of(model_type, base)(_config_of(source, model_type, **sizes))
    draw = np.random.default_rng(seed)
    state: dict[str, Any] = {}
    for name, t in base.state_dict().items():
        found = re.fullmatch(r"(.*layers\.\d+\.)mlp\.(gate_proj|up_proj|down_proj)\.weight", name)
        if found is None:
            state[name] = t
            continue
        weight = np.asarray(t, np.float32)
        for e in range(num_experts):
            moved = weight + expert_noise * weight.std() * draw.standard_normal(weight.shape, np.float32) if expert_noise else weight
            state[f"{found[1]}{part}.experts.{e}.{names[_PARTS.index(found[2])]}.weight"] = as_tensor(moved)
    for name, t in made.state_dict().items():
        if name.endswith(f"{part}.gate.weight"):
            state[name] = as_tensor(router_std * draw.standard_normal(tuple(t.shape), np.float32))
    made.load_state_dict(state)
    return made.train(base.training)


def merge_experts(model: Any, loads: Any = None, method: str = "average", keep: int = 4) -> Any:
    """A dense model that starts as a summary of a mixture, to be taught by it (DistillationTrainer, ExpertDistillationTrainer).

    Mixtral becomes Mistral, Qwen3-MoE becomes Qwen3. method "average": the experts' mean, weighted by loads (layers, experts), alike without;
    "concatenate": the `keep` experts with the largest loads side by side, each with its share of the output, in a layer that is `keep` times
    as wide. Neither is exact. Errors: TypeError for other models; ValueError for loads of another shape, keep and method.
    """
    base = unwrap(model)
    source = base.config
    if source.model_type not in _DOWN:
        raise TypeError(f"[merge_experts] expected a mixture of {', '.join(_DOWN)}, got {source.model_type!r}")
    model_type, part, names = _DOWN[source.model_type]
    experts, layers = int(source.num_experts), int(source.num_hidden_layers)
    table = np.ones((layers, experts)) if loads is None else np.asarray(loads, np.float64)
    if table.shape != (layers, experts) or (table < 0).any():
        raise ValueError(f"[merge_experts] loads: expected ({layers}, {experts}) counts, got {table.shape}")
    if method not in ("average", "concatenate"):
        raise ValueError(f'[merge_experts] method: expected "average" or "concatenate", got {method!r}')
    if not 1 <= keep <= experts:
        raise ValueError(f"[merge_experts] keep: expected 1 to {experts}, got {keep}")
    width = int(getattr(source, "moe_intermediate_size", None) or source.intermediate_size)
    wide = width if method == "average" else width * keep
    state: dict[str, Tensor] = {}
    own = base.state_dict()
    for name, t in own.items():
        if f".{part}." not in name:
            state[name] = t
    for layer in range(layers):
        lead = f"{base.base_model_prefix}.layers.{layer}."
        if f"{lead}{part}.gate.weight" not in own:
            raise TypeError(f"[merge_experts] layer {layer} has no experts")
        share = table[layer] / max(table[layer].sum(), 1e-12) if table[layer].sum() else np.full(experts, 1 / experts)
        chosen = np.sort(np.argsort(-share, kind="stable")[:keep])
        for to, of in zip(_PARTS, names):
            all_of = [np.asarray(own[f"{lead}{part}.experts.{e}.{of}.weight"], np.float32) for e in range(experts)]
            if method == "average":
                merged = sum(np.float32(share[e]) * all_of[e] for e in range(experts))
            elif to == "down_proj":
                merged = np.concatenate([np.float32(share[e] / share[chosen].sum()) * all_of[e] for e in chosen], axis=1)
            else:
                merged = np.concatenate([all_of[e] for e in chosen], axis=0)
            state[f"{lead}mlp.{to}.weight"] = as_tensor(np.ascontiguousarray(merged, np.float32))
    made = _class_of(model_type, base)(_config_of(source, model_type, intermediate_size=wide))
    made.load_state_dict(state)
    return made.train(base.training)


def _class_of(model_type: str, like: Any) -> Any:
    """The class of a family with the head that a model has."""
    from .. import _core, modeling  # late: it makes the classes

    own = next(row[0] for row in _core.registry() if row[1] == like.core_name)
    head = next((h for h in ("ForCausalLM", "ForSequenceClassification", "Model") if like.core_name.endswith(h)), "")
    name = next((row[1] for row in _core.registry() if row[0] == model_type and row[1].endswith(head)), None)
    if not head or name is None:
        raise TypeError(f"[{own}] there is no {model_type} with the head of {like.core_name}")
    return modeling.model_class(name)
