"""torch.nn: modules, parameters, layers and losses. Each name is imported when it is first used."""
from __future__ import annotations

import importlib
from typing import Any

_MODULES = ("functional", "init", "utils")
_NAMES = {
    "module": "Module",
    "parameter": "Buffer Parameter",
    "containers": "ModuleDict ModuleList ParameterDict ParameterList Sequential",
    "layers": "CosineSimilarity Dropout ELU Embedding Flatten GELU GLU Hardtanh Identity LayerNorm LeakyReLU Linear LogSigmoid LogSoftmax Mish "
              "PairwiseDistance RMSNorm ReLU ReLU6 SELU SiLU Sigmoid Softmax Softplus Softsign Tanh Unflatten",
    "attention": "MultiheadAttention TransformerEncoder TransformerEncoderLayer",
    "criteria": "BCELoss BCEWithLogitsLoss CosineEmbeddingLoss CrossEntropyLoss GaussianNLLLoss HingeEmbeddingLoss HuberLoss KLDivLoss L1Loss "
                "MSELoss MarginRankingLoss MultiLabelSoftMarginLoss MultiMarginLoss NLLLoss PoissonNLLLoss SmoothL1Loss SoftMarginLoss "
                "TripletMarginLoss",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value = importlib.import_module(f".{name}", __name__)
    elif name in _HOME:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    else:
        raise AttributeError(f"module 'tenon.nn' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_HOME})
