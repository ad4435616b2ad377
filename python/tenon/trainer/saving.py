"""The part of the Trainer that writes and reads checkpoints."""
from __future__ import annotations

import os
import shutil
from typing import Any

from .. import hub
from . import checkpointing as files
from .columns import restore_router_log, router_progress
from .names import SaveStrategy
from .results import PREFIX_CHECKPOINT_DIR, get_last_checkpoint, metrics_format, sorted_checkpoints
from .state import ExportableState, TrainerState, states_of


class Saving:
    """Models, checkpoints, the best one, metrics as files."""

    args: Any
    model: Any
    processing_class: Any
    optimizer: Any
    lr_scheduler: Any
    callback_handler: Any
    state: TrainerState
    control: Any
    _progress: dict[str, Any]

    def save_model(self, output_dir: "str | os.PathLike[str] | None" = None, _internal_call: bool = False) -> None:
        """Writes the model, its tokenizer or processor and the arguments, so that from_pretrained opens the folder."""
        self._save(os.fspath(self.args.output_dir if output_dir is None else output_dir))

    def _save(self, output_dir: str, state_dict: Any = None) -> None:
        os.makedirs(output_dir, exist_ok=True)
        files.save_weights(self.model, output_dir, state_dict)
        processor: Any = self.processing_class or getattr(self.data_collator, "tokenizer", None)  # type: ignore[attr-defined]
        if hasattr(processor, "save_pretrained"):
            processor.save_pretrained(output_dir)
        files.write_json(self.args.to_dict(), os.path.join(output_dir, files.ARGUMENTS))

    def _stateful(self) -> list[Any]:
        return [c for c in [*self.callback_handler.callbacks, self.control] if isinstance(c, ExportableState)]

    def _save_checkpoint(self, model: Any = None, trial: Any = None) -> str:
        """Writes checkpoint-STEP, whole or not at all, then deletes what save_total_limit leaves out. Errors: OSError if the disk is full."""
        folder = self.args.output_dir
        path = os.path.join(folder, f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
        best = self.state.best_global_step
        before = self.state.best_model_checkpoint
        try:
            with files.whole_folder(path) as draft:
                self.save_model(draft, _internal_call=True)
                if files.has_adapters(self.model):
                    files.save_trained(self.model, draft)
                if best and self.args.save_strategy != SaveStrategy.NO:
                    best_path = os.path.join(folder, f"{PREFIX_CHECKPOINT_DIR}-{best}")
                    if best == self.state.global_step or os.path.isdir(best_path):
                        self.state.best_model_checkpoint = best_path
                if not self.args.save_only_model:
                    files.save_optimizer(self.optimizer, draft)
                    files.save_schedule(self.lr_scheduler, draft)
                    files.write_json(files.rng_state(), os.path.join(draft, files.RNG))
                    progress = {**self._progress, **router_progress(self.model), "scaler": self.scaler.state_dict()}
                    files.write_json(progress, os.path.join(draft, files.PROGRESS))
                self.state.stateful_callbacks = states_of(self._stateful())
                self.state.save_to_json(os.path.join(draft, files.STATE))
        except BaseException:
            self.state.best_model_checkpoint = before
            raise
        files.rotate(folder, self.args.save_total_limit, self.state.best_model_checkpoint)
        return path

    def _checkpoint_of(self, resume: Any) -> "str | None":
        """The folder that resume_from_checkpoint means. Errors: ValueError if there is none."""
        files.clear_drafts(self.args.output_dir)
        if resume is None or resume is False:
            return None
        if resume is True:
            path = get_last_checkpoint(self.args.output_dir)
            if path is None:
                raise ValueError(f"[Trainer] resume_from_checkpoint: expected a folder {PREFIX_CHECKPOINT_DIR}-N in {self.args.output_dir}, "
                                 f"found none")
            return path
        path = str(os.fspath(resume))
        if not os.path.isdir(path):
            raise ValueError(f"[Trainer] resume_from_checkpoint: no such folder: {path}")
        return path

    def _load_from_checkpoint(self, path: str) -> None:
        files.load_weights(self.model, path)

    def _load_state(self, path: str) -> TrainerState:
        if not os.path.isfile(os.path.join(path, files.STATE)):
            raise ValueError(f"[Trainer] resume_from_checkpoint: {path} has no {files.STATE}; it is a model, not a checkpoint of a training "
                             f"run")
        state = TrainerState.load_from_json(os.path.join(path, files.STATE))
        if state.best_model_checkpoint is not None and not os.path.isdir(state.best_model_checkpoint):
            hub.warn(f"Trainer: the best checkpoint so far, {state.best_model_checkpoint}, is gone and no longer counts")
            state.best_model_checkpoint = None
        files.warn_of_changes(self.args, path)
        return state

    def _load_optimizer_and_scheduler(self, path: str) -> None:
        files.load_optimizer(self.optimizer, path)
        files.load_schedule(self.lr_scheduler, path)
        with files.reading(path, files.PROGRESS):
            saved = files.read_json(path, files.PROGRESS)
            self._progress = {"loss": float(saved["loss"]), "last_logged": int(saved["last_logged"])}
            restore_router_log(self.model, saved.get("router"))
            if saved.get("scaler"):
                self.scaler.load_state_dict({name: float(value) for name, value in saved["scaler"].items()})

    def _load_rng_state(self, path: str) -> None:
        files.set_rng_state(files.read_json(path, files.RNG))

    def _load_callback_state(self) -> None:
        """Gives callbacks back what they had counted, if restore_callback_states_from_checkpoint says so."""
        if not self.args.restore_callback_states_from_checkpoint:
            return
        by_name: dict[str, list[Any]] = {}
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, ExportableState):
                by_name.setdefault(type(callback).__name__, []).append(callback)
        for name, saved in self.state.stateful_callbacks.items():
            for callback, values in zip(by_name.get(name, ()), saved if isinstance(saved, list) else [saved]):
                restored = type(callback).from_state(values)
                callback.__dict__.update(restored.__dict__)

    def _load_best_model(self) -> None:
        path = self.state.best_model_checkpoint
        assert path is not None
        try:
            self._load_from_checkpoint(path)
        except (FileNotFoundError, ValueError) as error:
            hub.warn(f"Trainer: the best model could not be opened again: {error}")

    def _prune_at_end(self) -> None:
        """With save_total_limit=1 the best checkpoint alone stays."""
        best = self.state.best_model_checkpoint
        if self.args.save_total_limit == 1 and best is not None:
            for path in sorted_checkpoints(self.args.output_dir):
                if os.path.abspath(path) != os.path.abspath(best):
                    shutil.rmtree(path, ignore_errors=True)

    # Metrics and state as files
    def save_state(self) -> None:
        """Writes trainer_state.json to output_dir."""
        os.makedirs(self.args.output_dir, exist_ok=True)
        self.state.save_to_json(os.path.join(self.args.output_dir, files.STATE))

    def save_metrics(self, split: str, metrics: dict[str, float], combined: bool = True) -> None:
        """Writes SPLIT_results.json and, combined, adds to all_results.json."""
        os.makedirs(self.args.output_dir, exist_ok=True)
        files.write_json(metrics, os.path.join(self.args.output_dir, f"{split}_results.json"))
        if combined:
            path = os.path.join(self.args.output_dir, "all_results.json")
            files.write_json({**(files.read_json(self.args.output_dir, "all_results.json") if os.path.isfile(path) else {}), **metrics}, path)

    def log_metrics(self, split: str, metrics: dict[str, float]) -> None:
        """Prints metrics, one a line."""
        shown = metrics_format(metrics)
        widths = [max((len(str(x)) for x in xs), default=0) for xs in (shown, shown.values())]
        print(f"***** {split} metrics *****")
        for name in sorted(shown):
            print(f"  {name:<{widths[0]}} = {shown[name]!s:>{widths[1]}}")

    def metrics_format(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Metrics as people read them."""
        return metrics_format(metrics)

    def push_to_hub(self, *args: Any, **kwargs: Any) -> None:
        """Errors: ValueError always; the folder that save_model() writes is what the hub takes."""
        raise ValueError("[Trainer] push_to_hub is not supported; upload the output folder with huggingface_hub")
