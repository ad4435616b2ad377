"""Losses as modules: each keeps its arguments and calls the function of losses.py."""
from __future__ import annotations

import inspect
from typing import Any

from ..conversion import Tensor
from . import losses
from .module import Module

_FUNCTIONS = {
    "CrossEntropyLoss": "cross_entropy", "NLLLoss": "nll_loss", "MSELoss": "mse_loss", "L1Loss": "l1_loss",
    "SmoothL1Loss": "smooth_l1_loss", "HuberLoss": "huber_loss", "KLDivLoss": "kl_div", "BCELoss": "binary_cross_entropy",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits", "CosineEmbeddingLoss": "cosine_embedding_loss",
    "TripletMarginLoss": "triplet_margin_loss", "MarginRankingLoss": "margin_ranking_loss", "HingeEmbeddingLoss": "hinge_embedding_loss",
    "SoftMarginLoss": "soft_margin_loss", "MultiLabelSoftMarginLoss": "multilabel_soft_margin_loss",
    "MultiMarginLoss": "multi_margin_loss", "PoissonNLLLoss": "poisson_nll_loss", "GaussianNLLLoss": "gaussian_nll_loss",
}
_INPUTS = {"input", "target", "input1", "input2", "anchor", "positive", "negative", "var"}
__all__ = list(_FUNCTIONS)


class Loss(Module):
    """Base of the losses: forward(input, target) calls the function with the arguments given here."""

    function: Any = None
    names: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        given = dict(zip(self.names, args))
        unknown = [k for k in kwargs if k not in self.names or k in given]
        if unknown or len(args) > len(self.names):
            raise TypeError(f"[{type(self).__name__}] unknown or double arguments: {', '.join(unknown) or 'too many'}; known are: "
                            + ", ".join(self.names))
        given.update(kwargs)
        for name, value in given.items():
            if isinstance(value, Tensor):
                self.register_buffer(name, value)
            else:
                self.__dict__[name] = value
        self.__dict__["_names"] = tuple(given)
        self.__dict__.setdefault("reduction", "mean")

    def forward(self, *inputs: Any) -> Tensor:
        result: Tensor = type(self).function(*inputs, **{name: getattr(self, name) for name in self._names})
        return result


def _made(name: str, function: str) -> Any:
    f = getattr(losses, function)
    names = tuple(n for n in inspect.signature(f).parameters if n not in _INPUTS)
    members = {"function": staticmethod(f), "names": names, "__module__": __name__, "__doc__": f"functional.{function} as a module."}
    return type(name, (Loss,), members)


globals().update({name: _made(name, function) for name, function in _FUNCTIONS.items()})
