"""Logs as TensorBoard files, written by whichever writer is installed: tensorboardX or tensorboard."""
from __future__ import annotations

import importlib
import importlib.util
import os
import socket
import time
from typing import Any

from .. import hub
from .callbacks import TrainerCallback

_WRITERS = (("tensorboardX", "SummaryWriter"), ("tensorboard.summary", "Writer"))


def _writer_class() -> Any:
    for module, name in _WRITERS:
        if importlib.util.find_spec(module.partition(".")[0]) is not None:
            try:
                return getattr(importlib.import_module(module), name)
            except (ImportError, AttributeError):
                continue
    return None


def available_reports() -> list[str]:
    """The names that report_to="all" stands for."""
    return ["tensorboard"] if any(importlib.util.find_spec(m.partition(".")[0]) for m, _ in _WRITERS) else []


def rewrite_logs(logs: dict[str, Any]) -> dict[str, Any]:
    """Names as TensorBoard groups them: eval_loss -> eval/loss, loss -> train/loss."""
    named: dict[str, Any] = {}
    for name, value in logs.items():
        group = next((g for g in ("eval", "test") if name.startswith(g + "_")), None)
        named[f"{group}/{name[len(group) + 1:]}" if group else f"train/{name}"] = value
    return named


class TensorBoardCallback(TrainerCallback):
    """Writes what is logged to args.logging_dir, $TENSORBOARD_LOGGING_DIR or output_dir/runs/TIME_HOST.

    Errors: ImportError if neither tensorboardX nor tensorboard is installed.
    """

    def __init__(self, tb_writer: Any = None) -> None:
        self.tb_writer = tb_writer
        self._class = None if tb_writer is not None else _writer_class()
        if tb_writer is None and self._class is None:
            raise ImportError("[TensorBoardCallback] expected the package tensorboardX or tensorboard (pip install tensorboardX)")

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> Any:
        if self.tb_writer is None and self._class is not None:
            folder = getattr(args, "logging_dir", None) or os.environ.get("TENSORBOARD_LOGGING_DIR")
            folder = folder or os.path.join(args.output_dir, "runs", f"{time.strftime('%b%d_%H-%M-%S')}_{socket.gethostname()}")
            os.makedirs(folder, exist_ok=True)
            self.tb_writer = self._class(folder)
        if hasattr(self.tb_writer, "add_text"):
            self.tb_writer.add_text("args", args.to_json_string())
            config: Any = getattr(model, "config", None)
            if hasattr(config, "to_json_string"):
                self.tb_writer.add_text("model_config", config.to_json_string())

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> Any:
        if self.tb_writer is None:
            return
        for name, value in rewrite_logs(logs or {}).items():
            if isinstance(value, (int, float)):
                self.tb_writer.add_scalar(name, value, state.global_step)
            else:
                hub.warn(f"TensorBoardCallback: {name} is no number ({type(value).__name__}) and is left out", once=True)
        self.tb_writer.flush()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if self.tb_writer is not None and self._class is not None:
            self.tb_writer.close()
            self.tb_writer = None


def report_callbacks(names: list[str]) -> list[TrainerCallback]:
    """The callbacks that report_to names. Errors: ImportError for one whose package is missing."""
    return [TensorBoardCallback() for _ in names]
