"""How weights start: torch.nn.init, drawn from the numbers that manual_seed() seeds."""
from __future__ import annotations

import math
from typing import Any

from .._lazy import np
from ..conversion import Tensor, wrap
from ..grad_mode import no_grad
from ..random import generator

__all__ = ["calculate_gain", "constant_", "eye_", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_", "orthogonal_", "trunc_normal_",
           "uniform_", "xavier_normal_", "xavier_uniform_", "zeros_"]


def calculate_gain(nonlinearity: str, param: Any = None) -> float:
    """The factor that keeps the variance through a nonlinearity. Errors: ValueError for an unknown name."""
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in gains:
        raise ValueError(f"[init] nonlinearity: expected leaky_relu, {', '.join(gains)}, got {nonlinearity!r}")
    return gains[nonlinearity]


def _fans(t: Tensor) -> tuple[int, int]:
    if t.ndim < 2:
        raise ValueError(f"[init] expected at least two dimensions, got {tuple(t.shape)}")
    field = math.prod(t.shape[2:])
    return t.shape[1] * field, t.shape[0] * field


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    with no_grad():
        return tensor.uniform_(a, b, generator)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    with no_grad():
        return tensor.normal_(mean, std, generator)


def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Tensor:
    with no_grad():
        return tensor.trunc_normal_(mean, std, a, b)


def constant_(tensor: Tensor, val: float) -> Tensor:
    with no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    with no_grad():
        return tensor.copy_(wrap(np.eye(*tensor.shape)))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Even in [-a, a], a = gain sqrt(6 / (fan_in + fan_out))."""
    a = gain * math.sqrt(6 / sum(_fans(tensor)))
    return uniform_(tensor, -a, a)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(_fans(tensor))))


def _kaiming(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"[init] mode: expected fan_in or fan_out, got {mode!r}")
    return calculate_gain(nonlinearity, a) / math.sqrt(_fans(tensor)[mode == "fan_out"])


def kaiming_uniform_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    bound = math.sqrt(3) * _kaiming(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    return normal_(tensor, 0.0, _kaiming(tensor, a, mode, nonlinearity))


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Rows or columns of unit length, at right angles to each other."""
    rows = tensor.shape[0]
    a = generator().standard_normal((rows, tensor.numel() // rows))
    q, r = np.linalg.qr(a if a.shape[0] >= a.shape[1] else a.T)
    q = q * np.sign(np.diag(r))
    with no_grad():
        return tensor.copy_(wrap((gain * (q if a.shape[0] >= a.shape[1] else q.T)).reshape(tuple(tensor.shape))))
