"""torch.nn: modules, parameters, layers and losses. Each name is imported when it is first used."""
from __future__ import annotations

from typing import Any

from .._lazy import exports

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
_get, __dir__, __all__ = exports(globals(), _HOME, _MODULES)


def __getattr__(name: str) -> Any:  # for type checkers a function
    return _get(name)
