"""torch.nn.functional for inference: activations, normalisation, similarities and losses on tensors."""
from __future__ import annotations

import math
from typing import Any

from .._lazy import np
from ..conversion import Tensor, array_of, as_tensor, wrap
from ..functions import log_softmax, relu, sigmoid, softmax, tanh  # type: ignore[attr-defined]

__all__ = ["binary_cross_entropy_with_logits", "cosine_similarity", "cross_entropy", "gelu", "log_softmax", "logsigmoid", "mse_loss",
           "nll_loss", "normalize", "one_hot", "pad", "pairwise_distance", "relu", "sigmoid", "silu", "softmax", "softplus", "tanh"]


def normalize(x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """x / max(norm(x), eps) along `dim`."""
    return x / x.norm(p, dim, keepdim=True).clamp(min=eps)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along `dim`, with broadcasting."""
    return (normalize(x1, dim=dim, eps=eps) * normalize(x2, dim=dim, eps=eps)).sum(dim)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    return (x1 - x2 + eps).norm(p, -1, keepdim)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x Phi(x), or its tanh approximation."""
    a = array_of(x.double())
    if approximate == "tanh":
        phi = 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3)))
    else:
        phi = 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(a / math.sqrt(2)))
    return wrap(a * phi).to(x.dtype)


def silu(x: Tensor, inplace: bool = False) -> Tensor:
    return x * x.sigmoid()


def softplus(x: Tensor) -> Tensor:
    return wrap(np.logaddexp(0, array_of(x))).to(x.dtype)


def logsigmoid(x: Tensor) -> Tensor:
    return -softplus(-x)


def one_hot(x: Tensor, num_classes: int = -1) -> Tensor:
    a = array_of(x)
    return wrap(np.eye(int(a.max()) + 1 if num_classes < 0 else num_classes, dtype="int64")[a])


def pad(x: Tensor, pad: Any, mode: str = "constant", value: float = 0.0) -> Tensor:
    """Pads the last dimensions; `pad` lists (before, after) from the last dimension on."""
    if mode != "constant":
        raise ValueError(f"[pad] expected mode \"constant\", got {mode!r}")
    widths = [(pad[2 * i], pad[2 * i + 1]) for i in range(len(pad) // 2)][::-1]
    return wrap(np.pad(array_of(x), [(0, 0)] * (x.ndim - len(widths)) + widths, constant_values=value)).to(x.dtype)


def _reduce(losses: Tensor, reduction: str) -> Tensor:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"[loss] expected reduction mean, sum or none, got {reduction!r}")
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses


def mse_loss(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    return _reduce((x - target) ** 2, reduction)


def nll_loss(log_probs: Tensor, target: Tensor, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """Shapes: log_probs (N,C), target (N) classes."""
    t = array_of(as_tensor(target))
    counted = t != ignore_index
    rows = np.flatnonzero(counted)
    picked = -array_of(log_probs)[rows, t[rows]]
    if reduction == "none":
        full = np.zeros(t.shape, picked.dtype)
        full[rows] = picked
        return wrap(full)
    return _reduce(wrap(picked), reduction)


def cross_entropy(logits: Tensor, target: Tensor, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0) -> Tensor:
    """Shapes: logits (N,C), target (N) classes."""
    log_probs = log_softmax(logits, -1)
    loss = nll_loss(log_probs, target, ignore_index, reduction)
    if not label_smoothing:
        return loss
    smooth = _reduce(-log_probs.mean(-1)[target != ignore_index], reduction)
    return loss * (1 - label_smoothing) + smooth * label_smoothing


def binary_cross_entropy_with_logits(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    return _reduce(softplus(logits) - logits * target, reduction)
