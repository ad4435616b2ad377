"""How weights are stored once loaded: the arguments dtype= and quantization_config= of from_pretrained."""
from __future__ import annotations

from typing import Any

from . import hub
from ._core import Precision
from .conversion import to_dtype

__all__ = ["Int8Config", "precision_of"]


class Int8Config:
    """8-bit weights with a scale per output channel, 8-bit activations with a scale per token, chosen as they come.

    Embeddings, norms, poolers and classifiers stay float32.
    """

    quant_method = "int8"

    def to_dict(self) -> dict[str, Any]:
        return {"quant_method": self.quant_method}

    def __repr__(self) -> str:
        return "Int8Config()"


def precision_of(dtype: Any, quantization_config: Any) -> Precision | None:
    """The precision that the arguments ask for; None for "auto". Errors: TypeError, ValueError for what there is not."""
    if quantization_config is not None:
        config = quantization_config if isinstance(quantization_config, dict) else getattr(quantization_config, "__dict__", {})
        method = config.get("quant_method") or getattr(quantization_config, "quant_method", None)
        if method == "int8" or config.get("load_in_8bit") or config.get("_load_in_8bit"):
            return Precision.int8
        raise ValueError(f"[quantization_config] expected Int8Config(), got {quantization_config!r}")
    if dtype is None:
        return Precision.float32
    if dtype == "auto":
        return None
    name = str(to_dtype(dtype)).rpartition(".")[2]
    if name == "bfloat16":
        return Precision.bfloat16
    if name == "float16":
        hub.warn("float16 has no arithmetic on this device; the model computes in float32", once=True)
    elif name != "float32":
        raise ValueError(f"[dtype] expected float32, bfloat16 or \"auto\", got {dtype!r}")
    return Precision.float32
