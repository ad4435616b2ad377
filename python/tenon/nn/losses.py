"""Losses as functions, with PyTorch's arguments and means, and the similarities that they are made of."""
from __future__ import annotations

import math
import warnings
from typing import Any

from .. import _core, native
from .._lazy import np
from ..autograd import attach
from ..conversion import Tensor, array_of, as_tensor, beside, dtype, host_array, placed, wrap
from ..tensor_math import like


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """The mean or the sum of losses, or each of them. Errors: ValueError for another word."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"[loss] expected reduction mean, sum or none, got {reduction!r}")
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses


def _same_shape(op: str, x: Tensor, target: Tensor) -> None:
    if tuple(x.shape) != tuple(target.shape):
        warnings.warn(f"[{op}] the target's shape {tuple(target.shape)} differs from the input's {tuple(x.shape)}: they are broadcast, which is "
                      "seldom what was meant", stacklevel=3)


# Distances
def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(x - target)^2."""
    _same_shape("mse_loss", input, target)
    return reduced((input - target).square(), reduction)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """|x - target|."""
    _same_shape("l1_loss", input, target)
    return reduced((input - target).abs(), reduction)


def smooth_l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """d^2 / (2 beta) where d = |x - target| is below beta, else d - beta / 2."""
    if beta == 0:
        return l1_loss(input, target, reduction)
    return huber_loss(input, target, reduction, beta) / beta


def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """d^2 / 2 where d = |x - target| is below delta, else delta (d - delta / 2)."""
    _same_shape("huber_loss", input, target)
    difference = input - target
    a = array_of(difference)
    d = np.abs(a)
    out = np.where(d < delta, 0.5 * a * a, delta * (d - 0.5 * delta)).astype(a.dtype)
    losses = attach("huber_loss", like(out, difference), (difference,), lambda g: g * np.clip(a, -delta, delta))
    return reduced(losses, reduction)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """x / max(norm(x), eps) along `dim`."""
    return input / input.norm(p, dim, keepdim=True).clamp(min=eps)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along `dim`, with broadcasting."""
    return (normalize(x1, dim=dim, eps=eps) * normalize(x2, dim=dim, eps=eps)).sum(dim)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps over the last dimension."""
    return (x1 - x2 + eps).norm(p, -1, keepdim)


def cosine_embedding_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean") -> Tensor:
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1."""
    eps = 1e-12  # added to the squares, as in PyTorch
    product = (input1 * input2).sum(-1)
    cosine = product / ((input1.square().sum(-1) + eps) * (input2.square().sum(-1) + eps)).sqrt()
    alike = as_tensor(target) == 1
    zero = cosine * 0
    return reduced((1 - cosine).where(alike, zero) + (cosine - margin).clamp(min=0).where(as_tensor(target) == -1, zero), reduction)


def triplet_margin_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2, eps: float = 1e-6,
                        swap: bool = False, reduction: str = "mean") -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin)."""
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = far.minimum(pairwise_distance(positive, negative, p, eps))
    return reduced((pairwise_distance(anchor, positive, p, eps) - far + margin).clamp(min=0), reduction)


def margin_ranking_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean") -> Tensor:
    """max(0, -target (x1 - x2) + margin)."""
    return reduced((-target * (input1 - input2) + margin).clamp(min=0), reduction)


def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """x where the target is 1, max(0, margin - x) where it is -1."""
    zero = input * 0
    return reduced(zero.where(as_tensor(target) == -1, input) + zero.where(as_tensor(target) == 1, (margin - input).clamp(min=0)), reduction)


# Probabilities
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold."""
    a = array_of(input)
    scaled = a * np.asarray(beta, a.dtype)
    out = np.where(scaled > threshold, a, np.logaddexp(np.asarray(0, a.dtype), scaled) / np.asarray(beta, a.dtype)).astype(a.dtype)

    def backward(g: Any) -> Any:
        e = np.exp(-np.abs(scaled))
        return g * np.where(scaled > threshold, 1, np.where(scaled >= 0, 1 / (1 + e), e / (1 + e)))

    return attach("softplus", like(out, input), (input,), backward, (input,))


def kl_div(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
           log_target: bool = False) -> Tensor:
    """target (log(target) - x), where x, and with log_target the target, are logarithms of probabilities.

    The reduction batchmean, what the divergence is, divides the sum by the first size.
    """
    if log_target:
        losses = target.exp() * (target - input)
    else:
        t = array_of(target)
        with np.errstate(all="ignore"):  # 0 log 0 is 0
            logs = np.log(t)
            entropy = like(np.where(t > 0, t * logs, np.where(t == 0, 0, np.nan)).astype(t.dtype), target)
        entropy = attach("xlogy", entropy, (target,), lambda g: g * (logs + 1), (target,))
        losses = entropy - target * input
    if reduction == "batchmean":
        return losses.sum() / (input.shape[0] if input.ndim else 1)
    return reduced(losses, reduction)


def _class_rows(op: str, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """(N,C) and (N,) of inputs (C), (N,C) or (N,C,...) and their targets, and the targets' shape."""
    shape = tuple(x.shape)
    expected = shape[:-1] if x.ndim <= 1 else (shape[0], *shape[2:])
    if not x.ndim or tuple(target.shape) != expected:
        raise ValueError(f"[{op}] target: expected shape {expected} for an input of {shape}, got {tuple(target.shape)}")
    if x.ndim > 2:
        x = x.movedim(1, -1)
    return x.reshape(target.numel(), x.shape[-1]), target.reshape(-1), expected


def nll_loss(input: Tensor, target: Any, weight: "Tensor | None" = None, size_average: Any = None, ignore_index: int = -100, reduce: Any = None,
             reduction: str = "mean") -> Tensor:
    """-weight[target] x[target]; the mean is over the weights of what is counted. Shapes: x (N,C) or (N,C,...), target (N) or (N,...).

    Errors: ValueError for a target outside [0, C) and for shapes that do not fit.
    """
    rows, labels, shape = _class_rows("nll_loss", input, as_tensor(target))
    return _picked(rows, labels, shape, weight, ignore_index, reduction)


def _checked(labels: Tensor, classes: int, ignore_index: int) -> tuple[Any, Any]:
    """Which labels count, and the labels with 0 where they do not."""
    if labels.dtype.is_floating_point:
        raise TypeError(f"[cross_entropy] target: expected integer classes, got {labels.dtype}")
    t = host_array(labels)
    counted = t != ignore_index
    wrong = counted & ((t < 0) | (t >= classes))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ValueError(f"[cross_entropy] target: expected 0 to {classes - 1} or {ignore_index}, got {t[at]} at position {at}")
    return counted, np.where(counted, t, 0)


def _picked(rows: Tensor, labels: Tensor, shape: tuple[int, ...], weight: "Tensor | None", ignore_index: int, reduction: str) -> Tensor:
    counted, t = _checked(labels, rows.shape[1], ignore_index)
    a, at = array_of(rows), np.arange(len(t))
    weights = counted.astype(a.dtype)
    if weight is not None:
        weights = weights * host_array(weight)[t]
    total, weights = float(weights.sum()), beside(weights, a)
    out = np.where(beside(counted, a), -a[at, t], 0) * weights

    def backward(g: Any) -> Any:
        d = np.zeros(a.shape, g.dtype, like=g)
        d[at, t] = -g * weights
        return d

    losses = attach("nll_loss", like(out, rows), (rows,), backward)
    if reduction == "mean":
        return losses.sum() / total if total else losses.sum() * math.nan
    return reduced(losses.reshape(shape), reduction)


def cross_entropy(input: Tensor, target: Any, weight: "Tensor | None" = None, size_average: Any = None, ignore_index: int = -100,
                  reduce: Any = None, reduction: str = "mean", label_smoothing: float = 0.0) -> Tensor:
    """-log softmax(x)[target], or -sum(target log softmax(x)) for targets that are probabilities.

    Shapes: x (N,C) or (N,C,...); target (N) or (N,...) classes, or as x. Errors: ValueError for a class outside [0, C) and for shapes that
    do not fit.
    """
    goal = as_tensor(target)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"[cross_entropy] label_smoothing: expected 0 to 1, got {label_smoothing}")
    if goal.dtype.is_floating_point and tuple(goal.shape) == tuple(input.shape):
        return _soft_cross_entropy(input, goal, weight, reduction, label_smoothing)
    rows, labels, shape = _class_rows("cross_entropy", input, goal)
    if weight is None and reduction == "mean" and label_smoothing < 1 and native.fits(rows) and not labels.dtype.is_floating_point:
        labels = labels._to(dtype.int64)
        return native.call("cross_entropy", lambda w: _core.op_cross_entropy(rows, labels, ignore_index, label_smoothing, w), (rows,))
    log_probs = rows.log_softmax(-1)
    loss = _picked(log_probs, labels, shape, weight, ignore_index, reduction)
    if not label_smoothing:
        return loss
    counted, t = _checked(labels, rows.shape[1], ignore_index)
    smooth = -(log_probs if weight is None else log_probs * weight).sum(-1) * placed(wrap(counted), rows.device)
    if reduction == "mean":
        smooth = smooth.sum() / float(counted.sum() if weight is None else (host_array(weight)[t] * counted).sum())
    elif reduction == "sum":
        smooth = smooth.sum()
    else:
        smooth = smooth.reshape(shape)
    return loss * (1 - label_smoothing) + smooth * (label_smoothing / rows.shape[1])


def _soft_cross_entropy(x: Tensor, target: Tensor, weight: "Tensor | None", reduction: str, smoothing: float) -> Tensor:
    axis = 1 if x.ndim > 1 else 0
    classes = x.shape[axis]
    if smoothing:
        target = target * (1 - smoothing) + smoothing / classes
    log_probs = x.log_softmax(axis)
    if weight is not None:
        log_probs = log_probs * weight.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    losses = -(log_probs * target).sum(axis)
    return losses.sum() / (x.numel() // classes) if reduction == "mean" else reduced(losses, reduction)


def binary_cross_entropy(input: Tensor, target: Tensor, weight: "Tensor | None" = None, size_average: Any = None, reduce: Any = None,
                         reduction: str = "mean") -> Tensor:
    """-(target log(x) + (1 - target) log(1 - x)), the logarithms not below -100.

    Errors: ValueError for x outside [0, 1] and other shapes.
    """
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(f"[binary_cross_entropy] target: expected shape {tuple(input.shape)}, got {tuple(target.shape)}")
    a, t = array_of(input), array_of(target)
    if a.size and not (0 <= a.min() and a.max() <= 1):
        raise ValueError(f"[binary_cross_entropy] expected probabilities, got {a.min()} to {a.max()}")
    with np.errstate(divide="ignore"):
        yes, no = np.maximum(np.log(a), -100), np.maximum(np.log1p(-a), -100)
    losses = attach("binary_cross_entropy", like(-(t * yes + (1 - t) * no), input), (input, target),
                    lambda g: (g * (a - t) / np.maximum((1 - a) * a, 1e-12), g * (no - yes)), (input, target))
    return reduced(losses if weight is None else losses * weight, reduction)


def binary_cross_entropy_with_logits(input: Tensor, target: Tensor, weight: "Tensor | None" = None, size_average: Any = None,
                                     reduce: Any = None, reduction: str = "mean", pos_weight: "Tensor | None" = None) -> Tensor:
    """The same of sigmoid(x), without overflow; pos_weight multiplies what counts for target 1. Errors: ValueError for another shape."""
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(f"[binary_cross_entropy_with_logits] target: expected shape {tuple(input.shape)}, got {tuple(target.shape)}")
    yes = softplus(-input, threshold=math.inf)  # -log sigmoid(x)
    losses = (1 - target) * input + (yes if pos_weight is None else yes * ((pos_weight - 1) * target + 1))
    return reduced(losses if weight is None else losses * weight, reduction)


def soft_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-target x)) for targets of -1 and 1."""
    return reduced(softplus(-target * input, threshold=math.inf), reduction)


def multilabel_soft_margin_loss(input: Tensor, target: Tensor, weight: "Tensor | None" = None, reduction: str = "mean") -> Tensor:
    """The mean over classes of the binary cross entropies."""
    losses = binary_cross_entropy_with_logits(input, target, reduction="none")
    return reduced((losses if weight is None else losses * weight).mean(-1), reduction)


def multi_margin_loss(input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: "Tensor | None" = None,
                      reduction: str = "mean") -> Tensor:
    """The mean over the other classes of max(0, margin - x[target] + x)^p."""
    rows = input if input.ndim == 2 else input.unsqueeze(0)
    labels = as_tensor(target).reshape(-1, 1)
    terms = (margin - rows.gather(1, labels) + rows).clamp(min=0) ** p
    if weight is not None:
        terms = terms * weight[labels]
    return reduced((terms.scatter(1, labels, 0.0)).sum(1) / rows.shape[1], reduction)


def poisson_nll_loss(input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, eps: float = 1e-8,
                     reduction: str = "mean") -> Tensor:
    """exp(x) - target x, or x - target log(x + eps) unless log_input; `full` adds Stirling's term of the target."""
    losses = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        safe = target.clamp(min=1)
        losses = losses + (safe * safe.log() - safe + 0.5 * (2 * math.pi * safe).log()) * (target > 1)
    return reduced(losses, reduction)


def gaussian_nll_loss(input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> Tensor:
    """(log(var) + (x - target)^2 / var) / 2, with var at least eps."""
    variance = as_tensor(var).clamp(min=eps)
    losses = 0.5 * (variance.log() + (input - target).square() / variance)
    return reduced(losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction)
