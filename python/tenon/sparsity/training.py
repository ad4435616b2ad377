"""Dynamic sparse training: masks that an optimiser keeps, and the moves of their connections."""
from __future__ import annotations

import fnmatch
import re
from typing import Any, Iterable, Mapping

from .. import _core
from .._core import Tensor, dtype
from ..optim import Optimizer

_STACKED = re.compile(r"(^|\.)(layers?|h|blocks?|block)\.\d+\..*\.weight$")
_ROUTERS = re.compile(r"\.(gate|router|shared_expert_gate)(\.classifier|\.wg)?\.weight$")


def _named(model: Any) -> "list[tuple[str, Tensor]]":
    return list(model.named_parameters()) if hasattr(model, "named_parameters") else list(model)


def sparse_layers(model: Any, layers: "Iterable[str] | None" = None) -> "list[tuple[str, Tensor]]":
    """The weights that are made sparse: (name, tensor).

    model: a model, or (name, tensor) pairs. layers: names or patterns as "encoder.layer.*.weight"; without it the matrices in the numbered
    layers of the model, but no embedding, router or head. Errors: ValueError for a name or pattern that fits no matrix, naming it.
    """
    matrices = [(n, t) for n, t in _named(model) if len(t.shape) >= 2]
    if layers is None:
        chosen = [(n, t) for n, t in matrices if _STACKED.search(n) and not _ROUTERS.search(n)]
        if not chosen:
            raise ValueError(f"[SparseTraining] layers: expected names, the model has no numbered layers; it has {_some(matrices)}")
        return chosen
    patterns = [layers] if isinstance(layers, str) else list(layers)
    unknown = [p for p in patterns if not any(fnmatch.fnmatchcase(n, p) for n, _ in matrices)]
    if unknown or not patterns:
        raise ValueError(f"[SparseTraining] layers: expected names of matrices, got {', '.join(unknown) or 'none'}; there are {_some(matrices)}")
    return [(n, t) for n, t in matrices if any(fnmatch.fnmatchcase(n, p) for p in patterns)]


def _some(named: "list[tuple[str, Tensor]]", most: int = 6) -> str:
    names = [n for n, _ in named]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "") if names else "none"


def density(model: Any, layers: "Iterable[str] | None" = None) -> float:
    """The share of elements of the sparse layers that are not 0. Errors: as sparse_layers."""
    weights = [t.detach().numpy() for _, t in sparse_layers(model, layers)]
    return sum(int((w != 0).sum()) for w in weights) / sum(w.size for w in weights)


class SparseTraining:
    """Keeps weights sparse while an optimiser trains them, and moves their connections.

    method: "rigl" (the smallest go, as many come where the dense gradient is largest), "set" (they come at random), "static" (none moves)
    or "magnitude" (dense at first, pruned to the density by a cubic schedule). density: of all sparse layers together, shared out by
    distribution "erk" (small layers denser) or "uniform". Connections move every `every` steps after `begin`, up to `end`: drop_fraction of
    a layer's at first, fewer by a cosine. The masks lie in the optimiser's state as "mask", so its state_dict() and a Trainer's
    checkpoints hold them; steps are counted in param_groups[0]["sparse_step"]. Masks that are there already are gone on with.

    Every optimizer.step() first moves connections where it is time, then masks the gradients. New connections start at 0 with moments of
    0. Give the step no closure. detach() ends it all and leaves the weights as they are.
    Errors: ValueError for settings out of range, layers that the model or the optimiser lacks, and masks of other shapes; TypeError
    for an optimiser that keeps its moments in 8 bits.
    Source: Mocanu et al. 2018 (SET), Evci et al. 2020 (RigL), Zhu and Gupta 2017 (pruning).
    """

    def __init__(self, model: Any, optimizer: Optimizer, method: str = "rigl", density: float = 0.125, distribution: str = "erk", *,
                 layers: "Iterable[str] | None" = None, drop_fraction: float = 0.3, begin: int = 0, end: "int | None" = None,
                 every: int = 100, seed: int = 0) -> None:
        if end is None:
            if method != "static":
                raise ValueError("[SparseTraining] end: expected the step of the last update, such as three quarters of all steps, got None")
            end = begin + 1
        self.options: dict[str, Any] = {"method": method, "density": float(density), "distribution": distribution, "begin": int(begin),
                                        "drop_fraction": float(drop_fraction), "end": int(end), "every": int(every), "seed": int(seed)}
        _core.sparse_check(self.options)
        self.layers = sparse_layers(model, layers)
        self.optimizer = optimizer
        self.dropped = self.grown = 0  # by all updates of this object
        trained = {id(t) for g in optimizer.param_groups for t in g["params"]}
        missing = [n for n, t in self.layers if id(t) not in trained]
        if missing:
            raise ValueError(f"[SparseTraining] layers: the optimizer does not train {', '.join(missing[:6])}")
        shapes = [list(t.shape) for _, t in self.layers]
        self.densities = dict(zip((n for n, _ in self.layers), _core.sparse_densities(shapes, self.options)))
        for i, (name, t) in enumerate(self.layers):
            if "mask" not in optimizer.state[t]:
                optimizer.state[t]["mask"] = _core.sparse_mask(list(t.shape), self.densities[name], self.options, i)
        optimizer.param_groups[0].setdefault("sparse_step", 0)
        _core.sparse_apply([t.detach() for _, t in self.layers], list(self.masks().values()))
        self._handles = [optimizer.register_step_pre_hook(self._before), optimizer.register_step_post_hook(self._after)]
        self._handles += [t.register_post_accumulate_grad_hook(self._accumulated) for _, t in self.layers]

    @property
    def step(self) -> int:
        """Steps of the optimiser so far."""
        return int(self.optimizer.param_groups[0].get("sparse_step", 0))

    def masks(self) -> "dict[str, Tensor]":
        """The masks, uint8, by the names of their weights. Errors: ValueError for one that does not fit its weight."""
        return {name: self._mask(name, t) for name, t in self.layers}

    def density(self) -> float:
        """The share of ones in all masks together."""
        masks = [m.numpy() for m in self.masks().values()]
        return sum(int(m.sum()) for m in masks) / sum(m.size for m in masks)

    def detach(self) -> None:
        """Takes the hooks off the optimiser; its state keeps the masks."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _mask(self, name: str, t: Tensor) -> Tensor:
        mask = self.optimizer.state[t].get("mask")
        if not isinstance(mask, Tensor) or mask.dtype != dtype.uint8 or tuple(mask.shape) != tuple(t.shape):
            got = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else "none"
            raise ValueError(f"[SparseTraining] the mask of {name}: expected uint8 {tuple(t.shape)}, got {got}; is the optimizer's state that of "
                             "another model?")
        return mask

    def _moves_next(self) -> bool:
        return _core.sparse_updates_at(self.options, self.step + 1)

    def _accumulated(self, t: Tensor) -> None:
        """A gradient came: where no connection is to move, norms and clipping shall see what is left of it alone."""
        if t.grad is not None and not self._moves_next():
            _core.sparse_apply([t.grad], [self.optimizer.state[t]["mask"]])

    def _before(self, optimizer: Optimizer, args: "tuple[Any, ...]", kwargs: Mapping[str, Any]) -> None:
        if args and args[0] is not None:
            raise ValueError("[SparseTraining] step: expected no closure: gradients must be there before the step")
        masks = self.masks()
        if self._moves_next():
            for i, (name, t) in enumerate(self.layers):
                moments = [v for k, v in optimizer.state[t].items() if isinstance(v, Tensor) and k != "mask"]
                went, came = _core.sparse_update(self.options, self.densities[name], masks[name], t.detach(), t.grad, moments, i, self.step + 1)
                self.dropped, self.grown = self.dropped + went, self.grown + came
        some = [(t.grad, masks[name]) for name, t in self.layers if t.grad is not None]
        _core.sparse_apply([g for g, _ in some], [m for _, m in some])

    def _after(self, optimizer: Optimizer, args: "tuple[Any, ...]", kwargs: Mapping[str, Any]) -> None:
        _core.sparse_apply([t.detach() for _, t in self.layers], list(self.masks().values()))
        optimizer.param_groups[0]["sparse_step"] = self.step + 1
