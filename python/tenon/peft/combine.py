"""Adapters made from adapters: weighted sums of their factors or of their effects."""
from __future__ import annotations

import dataclasses
import math
from typing import Any

from .._lazy import np
from ..conversion import array_of


def combined(lora: Any, adapters: "list[str]", weights: "list[float]", adapter_name: str, combination_type: str, svd_rank: "int | None") -> None:
    """See LoraModel.add_weighted_adapter."""
    if adapter_name in lora.peft_config:
        raise ValueError(f"[add_weighted_adapter] there is already an adapter named {adapter_name!r}")
    lora.adapters._known(list(adapters))
    if not adapters or len(adapters) != len(weights):
        raise ValueError(f"[add_weighted_adapter] expected as many weights as adapters, got {len(weights)} and {len(adapters)}")
    if combination_type not in ("linear", "cat", "svd"):
        raise ValueError(f"[add_weighted_adapter] combination_type: expected \"linear\", \"cat\" or \"svd\", got {combination_type!r}")
    if any(e.saved for name in adapters for e in lora.adapters.entries[name]):
        raise ValueError("[add_weighted_adapter] adapters with modules_to_save or biases of their own cannot be added up")
    parts = [_factors(lora, name) for name in adapters]
    layers = list(dict.fromkeys(layer for part in parts for layer in part))
    made: dict[str, tuple[Any, Any]] = {}
    for layer in layers:
        found = [(w, *part[layer]) for w, part in zip(weights, parts) if layer in part]
        made[layer] = _COMBINATIONS[combination_type](layer, found, svd_rank)
    ranks = {layer: a.shape[0] for layer, (a, _) in made.items()}
    usual = max(ranks.values())
    config = dataclasses.replace(
        lora.peft_config[adapters[0]], r=usual, lora_alpha=usual, target_modules=set(layers), use_rslora=False, layers_to_transform=None,
        layers_pattern=None, exclude_modules=None, rank_pattern={k: v for k, v in ranks.items() if v != usual},
        alpha_pattern={k: v for k, v in ranks.items() if v != usual})
    lora.add_adapter(adapter_name, config)
    lora._assign(adapter_name, {f"base_model.model.{layer}.lora_{which}.weight": np.ascontiguousarray(value)
                                for layer, pair in made.items() for which, value in zip("AB", pair)})


def _factors(lora: Any, name: str) -> "dict[str, tuple[float, Any, Any]]":
    """scaling, A and B of each layer."""
    scale = dict(lora.adapters.core.scalings(name))
    tensors = {(e.module, e.part): array_of(e.tensor) for e in lora.adapters.entries[name]}
    return {layer: (s, tensors[layer, "lora_A.weight"], tensors[layer, "lora_B.weight"]) for layer, s in scale.items()}


def _linear(layer: str, found: Any, rank: "int | None") -> Any:
    if len({a.shape for _, _, a, _ in found}) > 1:
        raise ValueError(f"[add_weighted_adapter] combination_type linear: expected one rank, got several in {layer}; \"cat\" and \"svd\" take them")
    root = [(math.copysign(1, w * s) * math.sqrt(abs(w * s)), math.sqrt(abs(w * s)), a, b) for w, s, a, b in found]
    return sum(signed * a for signed, _, a, _ in root), sum(plain * b for _, plain, _, b in root)


def _cat(layer: str, found: Any, rank: "int | None") -> Any:
    return np.concatenate([w * s * a for w, s, a, _ in found]), np.concatenate([b for _, _, _, b in found], axis=1)


def _svd(layer: str, found: Any, rank: "int | None") -> Any:
    delta = sum(w * s * (b.astype(np.float64) @ a.astype(np.float64)) for w, s, a, b in found)
    u, singular, v = np.linalg.svd(delta, full_matrices=False)
    n = min(rank or max(a.shape[0] for _, _, a, _ in found), len(singular))
    return v[:n].astype(np.float32), (u[:, :n] * singular[:n]).astype(np.float32)


_COMBINATIONS = {"linear": _linear, "cat": _cat, "svd": _svd}
