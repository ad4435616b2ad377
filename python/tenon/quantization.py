"""How weights are stored once loaded: the arguments dtype= and quantization_config= of from_pretrained."""
from __future__ import annotations

import os
from typing import Any, NamedTuple

from . import hub
from ._core import Precision
from .conversion import to_dtype

__all__ = ["AwqConfig", "CompressedTensorsConfig", "FineGrainedFP8Config", "Fp8Config", "GPTQConfig", "Int4Config", "Int8Config", "Loading", "loading_of",
           "precision_of"]

_BESIDE = {"quantize_config.json": "gptq", "quant_config.json": "awq"}  # what AutoGPTQ and AutoAWQ once wrote beside config.json


class QuantizationConfigMixin:
    """What the configurations share: their settings are their attributes."""

    quant_method = ""

    def to_dict(self) -> dict[str, Any]:
        """The settings as config.json has them."""
        return {"quant_method": self.quant_method, **self.__dict__}

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """The configuration of a dictionary, such as model.config.quantization_config."""
        return cls(**{k: v for k, v in {**config_dict, **kwargs}.items() if k != "quant_method"})

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.__dict__.items())})"


class Int8Config(QuantizationConfigMixin):
    """8-bit weights with a scale per output channel, 8-bit activations with a scale per token, chosen as they come.

    Embeddings, norms, poolers and classifiers stay float32.
    """

    quant_method = "int8"


class Int4Config(QuantizationConfigMixin):
    """4-bit weights, rounded to nearest in groups of 128 when a plain checkpoint is opened; 8-bit activations per token and group.

    The language model's head has 8-bit weights. Calibrated weights (`tenon quantize --method awq`) lose less.
    """

    quant_method = "int4"


class _OfCheckpoint(QuantizationConfigMixin):
    """A format that checkpoints are stored in. exact=True multiplies activations as they are, instead of rounding them to int8."""

    def __init__(self, exact: bool = False, **kwargs: Any) -> None:
        self.exact = bool(exact)
        self.__dict__.update(kwargs)

    def to_dict(self) -> dict[str, Any]:
        return {k: v for k, v in super().to_dict().items() if k != "exact"}


class AwqConfig(_OfCheckpoint):
    """AutoAWQ's 4 bits with zero points. Opens checkpoints of version "gemm" and "gemv"; what they say of themselves counts, exact= is yours."""

    quant_method = "awq"

    def __init__(self, bits: int = 4, group_size: int = 128, zero_point: bool = True, version: str = "gemm", modules_to_not_convert: "list[str] | None" = None,
                 exact: bool = False, **kwargs: Any) -> None:
        version = str(getattr(version, "value", version)).lower()
        super().__init__(exact, bits=bits, group_size=group_size, zero_point=zero_point, version=version, modules_to_not_convert=modules_to_not_convert,
                         **kwargs)


class GPTQConfig(_OfCheckpoint):
    """GPTQ's 4 bits, with and without act-order. Opens checkpoint_format "gptq" and "gptq_v2"; what they say of themselves counts, exact= is yours."""

    quant_method = "gptq"

    def __init__(self, bits: int = 4, tokenizer: Any = None, dataset: Any = None, group_size: int = 128, damp_percent: float = 0.1, desc_act: bool = False,
                 sym: bool = True, true_sequential: bool = True, checkpoint_format: str = "gptq", exact: bool = False, **kwargs: Any) -> None:
        super().__init__(exact, bits=bits, group_size=group_size, damp_percent=damp_percent, desc_act=desc_act, sym=sym, true_sequential=true_sequential,
                         checkpoint_format=checkpoint_format, **kwargs)
        self.__dict__.update({k: v for k, v in {"tokenizer": tokenizer, "dataset": dataset}.items() if v is not None})


class CompressedTensorsConfig(_OfCheckpoint):
    """Checkpoints of compressed-tensors: 4 bits packed, int8 and FP8. What they say of themselves counts, exact= is yours."""

    quant_method = "compressed-tensors"

    def __init__(self, config_groups: "dict[str, Any] | None" = None, format: str = "pack-quantized", quantization_status: str = "compressed",
                 ignore: "list[str] | None" = None, exact: bool = False, **kwargs: Any) -> None:
        super().__init__(exact, config_groups=config_groups, format=format, quantization_status=quantization_status, ignore=ignore, **kwargs)


class Fp8Config(_OfCheckpoint):
    """FP8 weights (e4m3): DeepSeek's checkpoints as they are; the layers of plain ones are rounded when they are opened, with a scale per row and
    128 columns. Products are exact; with exact=False a GPU rounds the rows that meet them to e4m3 per token and 128 columns, as DeepSeek's own
    kernels do, and the CPU stays exact."""

    quant_method = "fp8"

    def __init__(self, activation_scheme: str = "dynamic", weight_block_size: "tuple[int, int] | None" = (128, 128), dequantize: bool = False,
                 modules_to_not_convert: "list[str] | None" = None, exact: bool = True, **kwargs: Any) -> None:
        if dequantize:
            raise ValueError("[Fp8Config] dequantize=True is not supported: weights stay in 8 bits")
        super().__init__(exact, activation_scheme=activation_scheme, weight_block_size=weight_block_size, modules_to_not_convert=modules_to_not_convert,
                         **kwargs)


FineGrainedFP8Config = Fp8Config
_IN_MEMORY = {"int8": Precision.int8, "int4": Precision.int4, "fp8": Precision.fp8}


class Loading(NamedTuple):
    """What the arguments ask for: the precision (None: the checkpoint's), whether quantised weights meet activations that are not rounded, and
    whether FP8 weights meet rounded ones, for which exact=False must be given."""

    precision: "Precision | None"
    exact: bool
    fp8_rows: bool = False


def _method(quantization_config: Any) -> "tuple[str, dict[str, Any]]":
    config = quantization_config if isinstance(quantization_config, dict) else getattr(quantization_config, "__dict__", {})
    method = config.get("quant_method") or getattr(quantization_config, "quant_method", None)
    if config.get("load_in_8bit") or config.get("_load_in_8bit"):
        method = "int8"
    return str(getattr(method, "value", method)), config


def _of_checkpoint(folder: str, config: Any) -> "str | None":
    """The method in which a checkpoint is quantised, None if it is plain."""
    stored = getattr(config, "quantization_config", None)
    if stored:
        return _method(stored)[0]
    return next((method for name, method in _BESIDE.items() if os.path.isfile(os.path.join(folder, name))), None)


def precision_of(dtype: Any, quantization_config: Any) -> "Precision | None":
    """The precision of a model with fresh weights; None for "auto". Errors: TypeError, ValueError for what there is not."""
    return loading_of(dtype, quantization_config).precision


def loading_of(dtype: Any, quantization_config: Any, folder: "str | None" = None, config: Any = None,
               exact: "bool | None" = None) -> Loading:
    """What dtype=, quantization_config= and exact= ask for, of the checkpoint in a folder with this configuration, or of fresh weights.

    Errors: TypeError; ValueError for what there is not, for a format that the checkpoint does not have, and for one that must be made first.
    """
    loading = _loading_of(dtype, quantization_config, folder, config)
    if exact is None and quantization_config is not None:
        method, settings = _method(quantization_config)
        return loading._replace(fp8_rows=method in ("fp8", "fbgemm_fp8") and settings.get("exact") is False)
    return loading if exact is None else loading._replace(exact=bool(exact), fp8_rows=not exact)


def _loading_of(dtype: Any, quantization_config: Any, folder: "str | None", config: Any) -> Loading:
    if quantization_config is not None:
        method, settings = _method(quantization_config)
        stored = None if folder is None else _of_checkpoint(folder, config)
        if method in _IN_MEMORY and (stored is None or method != stored):
            return Loading(_IN_MEMORY[method], bool(settings.get("exact", False)))
        if stored is None and method in ("awq", "gptq", "compressed-tensors"):
            where = f"{folder} is a plain checkpoint" if folder else "fresh weights are plain"
            raise ValueError(f"[quantization_config] {where}; `tenon quantize` makes a quantised one of it (method {method}). Int8Config(), Int4Config() "
                             "and Fp8Config() round a plain one when it is opened")
        if stored is None:
            raise ValueError("[quantization_config] expected Int8Config(), Int4Config(), Fp8Config(), or the format of a quantised checkpoint, got "
                             f"{quantization_config!r}")
        if method != stored and {method, stored} != {"fp8", "fbgemm_fp8"}:
            raise ValueError(f"[quantization_config] {folder} is quantised by {stored}, not by {method}")
        return Loading(_plain(dtype), bool(settings.get("exact", False)))
    return Loading(_plain(dtype), False)


def _plain(dtype: Any) -> "Precision | None":
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
