"""Layers with parameters, dropout, and activations as modules."""
from __future__ import annotations

import math
from typing import Any

from .. import _core
from ..conversion import Tensor, as_tensor, device_name, to_dtype
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter

__all__ = ["Dropout", "ELU", "Embedding", "Flatten", "GELU", "GLU", "Hardtanh", "Identity", "LayerNorm", "LeakyReLU", "Linear", "LogSigmoid",
           "LogSoftmax", "Mish", "RMSNorm", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softmax", "Softplus", "Softsign", "Tanh", "Unflatten",
           "CosineSimilarity", "PairwiseDistance"]


def _new(*shape: int, dtype: Any = None, device: Any = None) -> Any:
    return Parameter(_core._array_zeros(list(shape), to_dtype(dtype or "float32"), device_name(device)))


class Linear(Module):
    """y = x W^T + b. Shapes: (..., in_features) -> (..., out_features)."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = _new(out_features, in_features, dtype=dtype, device=device)
        self.register_parameter("bias", _new(out_features, dtype=dtype, device=device) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Embedding(Module):
    """Rows of a table by their index; row padding_idx starts as zeros and is not trained."""

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: "int | None" = None, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.weight = _new(num_embeddings, embedding_dim, dtype=dtype, device=device)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.normal_(self.weight)
        if self.padding_idx is not None:
            init.zeros_(self.weight.data[self.padding_idx])

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, padding_idx: "int | None" = None) -> "Embedding":
        made = cls(embeddings.shape[0], embeddings.shape[1], padding_idx)
        made.weight = Parameter(embeddings, not freeze)
        return made

    def forward(self, input: Any) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}" + (f", padding_idx={self.padding_idx}" if self.padding_idx is not None else "")


class LayerNorm(Module):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last dimensions."""

    def __init__(self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.register_parameter("weight", init.ones_(_new(*self.normalized_shape, dtype=dtype, device=device)) if elementwise_affine else None)
        self.register_parameter("bias", _new(*self.normalized_shape, dtype=dtype, device=device) if elementwise_affine and bias else None)

    def reset_parameters(self) -> None:
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class RMSNorm(Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimensions."""

    def __init__(self, normalized_shape: Any, eps: "float | None" = None, elementwise_affine: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps = eps
        self.register_parameter("weight", init.ones_(_new(*self.normalized_shape, dtype=dtype, device=device)) if elementwise_affine else None)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


class Dropout(Module):
    """In training mode zeros elements with probability p and lets the others grow by 1 / (1 - p)."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"[Dropout] expected a probability, got {p}")
        self.p = p

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Identity(Module):
    """Gives back its input."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        return input


class Flatten(Module):
    """Makes one dimension of several."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        return input.flatten(self.start_dim, self.end_dim)


class Unflatten(Module):
    """Makes several dimensions of one."""

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        self.dim, self.unflattened_size = dim, unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        return input.unflatten(self.dim, self.unflattened_size)


class _Function(Module):
    """A module that applies one function of functional.py with the arguments it was made with."""

    function = ""
    names: tuple[str, ...] = ()

    def __init__(self, *args: Any, inplace: bool = False, **kwargs: Any) -> None:
        super().__init__()
        given = dict(zip(self.names, args))
        if len(args) > len(self.names) or not {*kwargs} <= {*self.names} or {*given} & {*kwargs}:
            raise TypeError(f"[{type(self).__name__}] expected {', '.join(self.names) or 'no arguments'}")
        self.__dict__["_given"] = {**given, **kwargs}
        self.__dict__.update(self._given)

    def forward(self, *inputs: Tensor) -> Tensor:
        result: Tensor = getattr(F, self.function)(*map(as_tensor, inputs), **self._given)
        return result

    def extra_repr(self) -> str:
        return ", ".join(f"{k}={v!r}" for k, v in self._given.items())


def _module(name: str, function: str, *names: str) -> Any:
    members = {"function": function, "names": names, "__module__": __name__, "__doc__": f"functional.{function} as a module."}
    return type(name, (_Function,), members)


ReLU = _module("ReLU", "relu")
ReLU6 = _module("ReLU6", "relu6")
SiLU = _module("SiLU", "silu")
SELU = _module("SELU", "selu")
Mish = _module("Mish", "mish")
Tanh = _module("Tanh", "tanh")
Sigmoid = _module("Sigmoid", "sigmoid")
LogSigmoid = _module("LogSigmoid", "logsigmoid")
Softsign = _module("Softsign", "softsign")
GELU = _module("GELU", "gelu", "approximate")
LeakyReLU = _module("LeakyReLU", "leaky_relu", "negative_slope")
ELU = _module("ELU", "elu", "alpha")
GLU = _module("GLU", "glu", "dim")
Hardtanh = _module("Hardtanh", "hardtanh", "min_val", "max_val")
Softmax = _module("Softmax", "softmax", "dim")
LogSoftmax = _module("LogSoftmax", "log_softmax", "dim")
Softplus = _module("Softplus", "softplus", "beta", "threshold")
CosineSimilarity = _module("CosineSimilarity", "cosine_similarity", "dim", "eps")
PairwiseDistance = _module("PairwiseDistance", "pairwise_distance", "p", "eps", "keepdim")
