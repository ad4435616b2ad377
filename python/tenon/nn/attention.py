"""Attention and transformer encoders as modules, for models of one's own; the library's models have theirs in C++."""
from __future__ import annotations

import copy
import math
from typing import Any, Callable

from .._lazy import np
from ..conversion import Tensor, dtype, wrap
from . import functional as F
from . import init
from .containers import ModuleList
from .layers import Dropout, LayerNorm, Linear
from .module import Module

__all__ = ["MultiheadAttention", "TransformerEncoder", "TransformerEncoderLayer"]


def _added(mask: Tensor, kind: dtype) -> Tensor:
    """A mask to be added to scores: True, which means "not to be seen", becomes minus infinity."""
    if mask.dtype != dtype.bool:
        return mask.to(kind)
    return _zeros(mask, kind).masked_fill(mask, -math.inf)


def _zeros(mask: Tensor, kind: dtype) -> Tensor:
    return mask.new_zeros(*mask.shape, dtype=kind)


class MultiheadAttention(Module):
    """softmax(q k^T / sqrt(D)) v in several heads. Shapes: (T,B,C), or (B,T,C) if batch_first, or (T,C); -> (output, weights or None).

    key_padding_mask (B,S) and attn_mask ((T,S) or (B*heads,T,S)) say with True, or with numbers that are added, what is not to be seen.
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, add_bias_kv: bool = False,
                 add_zero_attn: bool = False, kdim: "int | None" = None, vdim: "int | None" = None, batch_first: bool = False,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"[MultiheadAttention] embed_dim: expected a multiple of {num_heads} heads, got {embed_dim}")
        if add_bias_kv or add_zero_attn or kdim not in (None, embed_dim) or vdim not in (None, embed_dim):
            raise ValueError("[MultiheadAttention] add_bias_kv, add_zero_attn, kdim and vdim are not supported")
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.head_dim = embed_dim // num_heads
        made = Linear(embed_dim, 3 * embed_dim, device=device, dtype=dtype)
        self.in_proj_weight = init.xavier_uniform_(made.weight)
        self.register_parameter("in_proj_bias", init.zeros_(made.bias) if bias else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, device=device, dtype=dtype)
        if bias:
            init.zeros_(self.out_proj.bias)

    def _heads(self, x: Tensor, part: int) -> Tensor:
        """One of query, key and value as (B,heads,T,D)."""
        rows = slice(part * self.embed_dim, (part + 1) * self.embed_dim)
        y = F.linear(x, self.in_proj_weight[rows], None if self.in_proj_bias is None else self.in_proj_bias[rows])
        return y.reshape(*y.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: "Tensor | None" = None, need_weights: bool = True,
                attn_mask: "Tensor | None" = None, average_attn_weights: bool = True, is_causal: bool = False) -> "tuple[Tensor, Tensor | None]":
        single = query.ndim == 2
        if single:
            query, key, value = (t.unsqueeze(0) for t in (query, key, value))
        elif not self.batch_first:
            query, key, value = (t.transpose(0, 1) for t in (query, key, value))
        q, k, v = self._heads(query, 0), self._heads(key, 1), self._heads(value, 2)
        scores = q @ k.transpose(-2, -1) / math.sqrt(self.head_dim)
        if attn_mask is not None:
            mask = _added(attn_mask, scores.dtype)
            scores = scores + (mask.reshape(*scores.shape) if mask.ndim == 3 else mask)
        if key_padding_mask is not None:
            padding = _added(key_padding_mask if key_padding_mask.ndim == 2 else key_padding_mask.unsqueeze(0), scores.dtype)
            scores = scores + padding[:, None, None, :]
        weights = scores.softmax(-1)
        y = F.dropout(weights, self.dropout, self.training) @ v
        y = self.out_proj(y.transpose(1, 2).reshape(*query.shape))
        shown = None if not need_weights else weights.mean(1) if average_attn_weights else weights
        if single:
            return y.squeeze(0), None if shown is None else shown.squeeze(0)
        return y if self.batch_first else y.transpose(0, 1), shown


class TransformerEncoderLayer(Module):
    """Attention and a feed-forward part, each with a residual and a LayerNorm, after it or, with norm_first, before it."""

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: "str | Callable[[Tensor], Tensor]" = "relu", layer_norm_eps: float = 1e-5, batch_first: bool = False,
                 norm_first: bool = False, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        if isinstance(activation, str) and activation not in ("relu", "gelu"):
            raise ValueError(f"[TransformerEncoderLayer] activation: expected relu, gelu or a function, got {activation!r}")
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=dtype)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=dtype)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)
        self.dropout, self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout), Dropout(dropout)
        self.norm_first = norm_first
        self.activation = getattr(F, activation) if isinstance(activation, str) else activation

    def _attend(self, x: Tensor, mask: Any, padding: Any) -> Tensor:
        y: Tensor = self.dropout1(self.self_attn(x, x, x, key_padding_mask=padding, need_weights=False, attn_mask=mask)[0])
        return y

    def _feed(self, x: Tensor) -> Tensor:
        y: Tensor = self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))
        return y

    def forward(self, src: Tensor, src_mask: "Tensor | None" = None, src_key_padding_mask: "Tensor | None" = None, is_causal: bool = False) -> Tensor:
        if self.norm_first:
            x: Tensor = src + self._attend(self.norm1(src), src_mask, src_key_padding_mask)
            return x + self._feed(self.norm2(x))
        x = self.norm1(src + self._attend(src, src_mask, src_key_padding_mask))
        y: Tensor = self.norm2(x + self._feed(x))
        return y


class TransformerEncoder(Module):
    """num_layers copies of a layer one after another."""

    def __init__(self, encoder_layer: Module, num_layers: int, norm: "Module | None" = None, enable_nested_tensor: bool = True,
                 mask_check: bool = True) -> None:
        super().__init__()
        self.layers = ModuleList(copy.deepcopy(encoder_layer) for _ in range(num_layers))
        self.num_layers = num_layers
        self.norm = norm

    def forward(self, src: Tensor, mask: "Tensor | None" = None, src_key_padding_mask: "Tensor | None" = None,
                is_causal: "bool | None" = None) -> Tensor:
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask)
        return src if self.norm is None else self.norm(src)
