"""Sparse training under a Trainer."""
from __future__ import annotations

from typing import Any

from ..trainer.callbacks import TrainerCallback
from .training import SparseTraining


class SparseTrainingCallback(TrainerCallback):
    """Makes a Trainer's run sparse: SparseTraining's settings, on the optimiser that the Trainer made.

    end: 3/4 of all steps unless given. Checkpoints hold the masks, and a resumed run goes on with the same bits. `sparse` is the
    SparseTraining of the run, also after it. Errors: as SparseTraining, when training begins.
    """

    def __init__(self, method: str = "rigl", density: float = 0.125, distribution: str = "erk", **settings: Any) -> None:
        self.settings = {"method": method, "density": density, "distribution": distribution, **settings}
        self.sparse: "SparseTraining | None" = None

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None, **kwargs: Any) -> None:
        """Draws the masks, or takes those of the checkpoint."""
        if self.sparse is not None:
            self.sparse.detach()
        settings = dict(self.settings)
        if settings.get("end") is None:
            settings["end"] = max(settings.get("begin", 0) + 1, 3 * state.max_steps // 4)
        self.sparse = SparseTraining(model, optimizer, **settings)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Lets go of the optimiser."""
        if self.sparse is not None:
            self.sparse.detach()
