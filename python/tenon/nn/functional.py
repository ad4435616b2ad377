"""torch.nn.functional: layers, activations and similarities on tensors, with gradients. Losses are in losses.py."""
from __future__ import annotations

import math
from typing import Any, Sequence

from .. import _core, native, products
from .._lazy import np
from ..autocast_mode import product_type
from ..autograd import attach
from ..conversion import Tensor, array_of, as_tensor, dtype, host_array, placed, wrap
from ..products import matmul
from ..random import next_stream
from ..tensor_math import like
from .losses import (binary_cross_entropy, binary_cross_entropy_with_logits, cosine_embedding_loss, cosine_similarity, cross_entropy,
                     gaussian_nll_loss, hinge_embedding_loss, huber_loss, kl_div, l1_loss, margin_ranking_loss, mse_loss, multi_margin_loss,
                     multilabel_soft_margin_loss, nll_loss, normalize, pairwise_distance, poisson_nll_loss, smooth_l1_loss, soft_margin_loss,
                     softplus, triplet_margin_loss)

__all__ = ["binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss", "cosine_similarity", "cross_entropy", "dropout",
           "elu", "embedding", "gaussian_nll_loss", "gelu", "glu", "hardtanh", "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss",
           "layer_norm", "leaky_relu", "linear", "log_softmax", "logsigmoid", "margin_ranking_loss", "mish", "mse_loss", "multi_margin_loss",
           "multilabel_soft_margin_loss", "nll_loss", "normalize", "one_hot", "pad", "pairwise_distance", "poisson_nll_loss", "relu", "relu6",
           "rms_norm", "scaled_dot_product_attention", "selu", "sigmoid", "silu", "smooth_l1_loss", "soft_margin_loss", "softmax", "softmin",
           "softplus", "softsign", "tanh", "triplet_margin_loss"]


# Layers
def linear(input: Tensor, weight: Tensor, bias: "Tensor | None" = None) -> Tensor:
    """x W^T + b. Shapes: (..., in), (out, in), (out,) -> (..., out). Errors: ValueError for shapes that do not fit."""
    if input.ndim and weight.ndim == 2 and native.fits(input, weight, bias):
        return native.call("linear", lambda w: _core.op_linear(input, weight, bias, w, product_type()), (input, weight, bias))
    y = matmul(input, weight.t())
    return y if bias is None else y + bias


def embedding(input: Any, weight: Tensor, padding_idx: "int | None" = None) -> Tensor:
    """Rows of `weight` by their index; row `padding_idx` gets no gradient. Errors: ValueError for an index outside the table."""
    ids = as_tensor(input)
    if ids.dtype.is_floating_point:
        raise TypeError(f"[embedding] expected integer indices, got {ids.dtype}")
    ids = ids._to(dtype.int64)
    padding = -1 if padding_idx is None else padding_idx % weight.shape[0]
    if native.fits(weight):
        return native.call("embedding", lambda w: _core.op_embedding(weight, ids, padding, w), (weight,), reads="nothing")
    at, shape = host_array(ids), tuple(weight.shape)
    if at.size and not (0 <= at.min() and at.max() < shape[0]):
        raise ValueError(f"[embedding] index: expected 0 to {shape[0] - 1}, got {at.min()} to {at.max()}")

    def backward(g: Any) -> Any:
        d = np.zeros(shape, g.dtype, like=g)
        np.add.at(d, at, g)
        if padding >= 0:
            d[padding] = 0
        return d

    return attach("embedding", like(array_of(weight)[at], weight), (weight,), backward)


def layer_norm(input: Tensor, normalized_shape: Sequence[int], weight: "Tensor | None" = None, bias: "Tensor | None" = None,
               eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last dimensions. Errors: ValueError unless they are normalized_shape."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if tuple(input.shape[input.ndim - len(shape) :]) != shape:
        raise ValueError(f"[layer_norm] expected last dimensions {shape}, got {tuple(input.shape)}")
    if len(shape) == 1 and weight is not None and bias is not None and input.numel() and native.fits(input, weight, bias):
        return native.call("layer_norm", lambda w: _core.op_layer_norm(input, weight, bias, eps, w), (input, weight, bias))
    axes = tuple(range(-len(shape), 0))
    centred = input - input.mean(axes, True)
    y = centred * ((centred * centred).mean(axes, True) + eps).rsqrt()
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def rms_norm(input: Tensor, normalized_shape: Sequence[int], weight: "Tensor | None" = None, eps: "float | None" = None) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimensions."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    eps = float(np.finfo("float64" if input.dtype == dtype.float64 else "float32").eps) if eps is None else eps
    if len(shape) == 1 and weight is not None and input.numel() and input.shape[-1] == shape[0] and native.fits(input, weight):
        return native.call("rms_norm", lambda w: _core.op_rms_norm(input, weight, eps, w), (input, weight))
    y = input * ((input * input).mean(tuple(range(-len(shape), 0)), True) + eps).rsqrt()
    return y if weight is None else y * weight


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeros with probability p, the rest grown by 1 / (1 - p); the input itself unless `training`."""
    if not 0 <= p <= 1:
        raise ValueError(f"[dropout] expected a probability, got {p}")
    if not training or p == 0:
        return input
    seed = next_stream()
    if native.fits(input):
        return native.call("dropout", lambda w: _core.op_dropout(input, p, seed, w), (input,), reads="nothing")
    kept = np.random.default_rng(seed).random(tuple(input.shape)) >= p
    return input * placed(wrap(kept / (1 - p) if p < 1 else kept * 0.0).to(input.dtype), input.device)


def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: "Tensor | None" = None, dropout_p: float = 0.0,
                                 is_causal: bool = False, scale: "float | None" = None, enable_gqa: bool = False) -> Tensor:
    """softmax(q k^T * scale + mask) v; a bool mask says which keys count, is_causal that a query sees the keys up to its own place.

    float32 without a mask, or with one that is alike for all queries, never holds T x S scores (FlashAttention-2), with gradients, too;
    other types and masks are written out. On a GPU autocast computes it in 16 bits.
    Shapes: query (..., H, T, D), key (..., H, S, D), value (..., H, S, Dv) -> (..., H, T, Dv); with enable_gqa keys and values may have
    fewer heads, which divide H.
    Errors: ValueError for shapes that do not fit, or for a mask beside is_causal.
    """
    if is_causal and attn_mask is not None:
        raise ValueError("[scaled_dot_product_attention] expected is_causal or attn_mask, got both")
    if enable_gqa:
        groups = query.shape[-3] // max(1, key.shape[-3])
        if query.ndim < 3 or groups * key.shape[-3] != query.shape[-3]:
            raise ValueError(f"[scaled_dot_product_attention] enable_gqa: expected key heads that divide the query's, got {key.shape} and {query.shape}")
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    T = query.shape[-2] if query.ndim > 1 else 0
    bias = None if attn_mask is None else _key_bias(attn_mask, key)
    alike = query.ndim >= 2 and query.shape[:-2] == key.shape[:-2] == value.shape[:-2] and query.shape[-1] == key.shape[-1] and key.shape[-2] == value.shape[-2]
    if (alike and native.fits(query, key, value) and scale != 0 and (attn_mask is None or bias is not None) and (not is_causal or T <= key.shape[-2])
            and query.numel() and value.numel()):
        if is_causal and T < key.shape[-2]:
            key, value = key[..., :T, :], value[..., :T, :]
        seed = next_stream() if dropout_p else 0
        return native.call("scaled_dot_product_attention",
                           lambda w: _core.op_attention(query, key, value, is_causal, scale or 0.0, bias, dropout_p, seed, w, product_type()),
                           (query, key, value))
    weights = (query @ key.transpose(-2, -1)) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = placed(wrap(np.tri(T, key.shape[-2], dtype=bool)), query.device)
    if attn_mask is not None:
        weights = weights.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == dtype.bool else weights + attn_mask
    return dropout(softmax(weights, -1), dropout_p) @ value


def _key_bias(mask: Tensor, key: Tensor) -> "Tensor | None":
    """What is added to all scores of each key, (..., H, S), if the mask is alike for all queries and wants no gradient."""
    shape = tuple(key.shape[:-1])
    if mask.requires_grad or mask.ndim < 2 or mask.shape[-2] != 1 or mask.ndim > key.ndim:
        return None
    bias = host_array(mask)
    bias = np.where(bias, 0, -np.inf) if bias.dtype == bool else bias
    try:
        return wrap(np.ascontiguousarray(np.broadcast_to(bias[..., 0, :], shape), dtype=np.float32))
    except ValueError:
        return None


# Activations
def _dim(input: Tensor, dim: "int | None") -> int:
    """Where no dimension is given, the one that PyTorch takes: 0 of vectors and of three dimensions, else 1."""
    return (0 if input.ndim in (0, 1, 3) else 1) if dim is None else dim


def softmax(input: Tensor, dim: "int | None" = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`."""
    return products.softmax(input if dtype is None else input.to(dtype), _dim(input, dim))


def log_softmax(input: Tensor, dim: "int | None" = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """x - log(sum(exp(x))) along `dim`."""
    return products.log_softmax(input if dtype is None else input.to(dtype), _dim(input, dim))


def softmin(input: Tensor, dim: "int | None" = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    return softmax(-input, dim, dtype=dtype)


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    return input.relu_() if inplace else input.relu()


def sigmoid(input: Tensor) -> Tensor:
    return input.sigmoid()


def tanh(input: Tensor) -> Tensor:
    return input.tanh()


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x Phi(x), or its tanh approximation."""
    if native.fits(input):
        return native.call("gelu", lambda w: _core.op_activation(input, "gelu_new" if approximate == "tanh" else "gelu", w), (input,))
    if approximate == "tanh":
        return input * 0.5 * (1 + (math.sqrt(2 / math.pi) * (input + 0.044715 * input**3)).tanh())
    return input * 0.5 * (1 + (input / math.sqrt(2)).erf())


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x / (1 + exp(-x))."""
    if native.fits(input):
        return native.call("silu", lambda w: _core.op_activation(input, "silu", w), (input,))
    return input * input.sigmoid()


def logsigmoid(input: Tensor) -> Tensor:
    return -softplus(-input)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    return input.clamp(0, 6)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    return input.clamp(min_val, max_val)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where it is positive, else negative_slope * x."""
    a = array_of(input)
    slope = np.where(a > 0, 1, negative_slope).astype(a.dtype)
    return attach("leaky_relu", like(a * slope, input), (input,), lambda g: g * slope)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where it is positive, else alpha * (exp(x) - 1)."""
    a = array_of(input)
    out = np.where(a > 0, a, alpha * np.expm1(np.minimum(a, 0))).astype(a.dtype)
    return attach("elu", like(out, input), (input,), lambda g: g * np.where(a > 0, 1, out + alpha), (input,))


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    return 1.0507009873554805 * elu(input, 1.6732632423543772)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    return input * softplus(input).tanh()


def softsign(input: Tensor) -> Tensor:
    return input / (1 + input.abs())


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half times the sigmoid of the second."""
    a, b = input.chunk(2, dim)
    return a * b.sigmoid()


# Shapes
def one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    classes = as_tensor(input)
    a = host_array(classes)
    if a.size and a.min() < 0:
        raise ValueError(f"[one_hot] expected classes of at least 0, got {a.min()}")
    n = (int(a.max()) + 1 if a.size else 0) if num_classes < 0 else num_classes
    if a.size and a.max() >= n:
        raise ValueError(f"[one_hot] expected classes below {n}, got {a.max()}")
    return placed(wrap((a[..., None] == np.arange(n)).astype("int64")), classes.device)


def pad(input: Tensor, pad: Any, mode: str = "constant", value: float = 0.0) -> Tensor:
    """Pads the last dimensions; `pad` lists (before, after) from the last dimension on; negative numbers cut."""
    if mode != "constant":
        raise ValueError(f"[pad] expected mode \"constant\", got {mode!r}")
    widths = [(0, 0)] * (input.ndim - len(pad) // 2) + [(pad[2 * i], pad[2 * i + 1]) for i in range(len(pad) // 2)][::-1]
    kept = tuple(slice(max(0, -before), n - max(0, -after)) for (before, after), n in zip(widths, input.shape))
    added = [(max(0, before), max(0, after)) for before, after in widths]
    shape = tuple(input.shape)
    y = like(np.pad(array_of(input)[kept], added, constant_values=0 if value is None else value), input)

    def backward(g: Any) -> Any:
        d = np.zeros(shape, g.dtype, like=g)
        d[kept] = g[tuple(slice(before, n - after) for (before, after), n in zip(added, g.shape))]
        return d

    return attach("pad", y, (input,), backward)
