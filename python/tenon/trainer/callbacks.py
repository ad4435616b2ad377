"""Callbacks of a training run: the hooks, the default flow, progress, printing and early stopping."""
from __future__ import annotations

from typing import Any

from .. import hub
from .names import IntervalStrategy, SaveStrategy
from .state import ExportableState, TrainerControl

EVENTS = ("on_init_end", "on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end", "on_step_begin", "on_pre_optimizer_step",
          "on_optimizer_step", "on_substep_end", "on_step_end", "on_evaluate", "on_predict", "on_save", "on_log", "on_prediction_step",
          "on_push_begin")


class TrainerCallback:
    """Hooks of a run; each takes (args, state, control, **kwargs) and may return a control.

    kwargs: model, processing_class, optimizer, lr_scheduler, train_dataloader, eval_dataloader; metrics for on_evaluate and on_predict; logs
    for on_log; loss (of the step, a float) for on_step_end.
    """

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """At the end of Trainer's constructor."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Before the first step."""

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """After the last step."""

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Before an epoch."""

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """After an epoch."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Before a step, which may take several batches."""

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """After gradients are clipped, before the optimiser's step."""

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """After the optimiser's step, before gradients are set to zero."""

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """After a batch that is not the last of its step."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """After a step."""

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """After an evaluation."""

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any, **kwargs: Any) -> Any:
        """After predictions."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """After a checkpoint was written."""

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """After something was logged."""

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """After a batch of evaluation or prediction."""

    def on_push_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Never called: nothing is uploaded."""


class CallbackHandler(TrainerCallback):
    """Calls a list of callbacks in order."""

    def __init__(self, callbacks: list[Any], model: Any, processing_class: Any, optimizer: Any, lr_scheduler: Any) -> None:
        self.callbacks: list[TrainerCallback] = []
        for callback in callbacks:
            self.add_callback(callback)
        self.model, self.processing_class, self.optimizer, self.lr_scheduler = model, processing_class, optimizer, lr_scheduler
        self.train_dataloader: Any = None
        self.eval_dataloader: Any = None

    def add_callback(self, callback: Any) -> None:
        """Adds an object or makes one of a class."""
        made = callback() if isinstance(callback, type) else callback
        missing = [name for name in EVENTS if not callable(getattr(made, name, None))]
        if missing:
            raise TypeError(f"[Trainer] callbacks: expected a TrainerCallback, got {type(made).__name__}, which lacks {missing[0]}")
        if type(made) in map(type, self.callbacks):
            hub.warn(f"Trainer: there is already a {type(made).__name__} among the callbacks")
        self.callbacks.append(made)

    def _find(self, callback: Any) -> "TrainerCallback | None":
        matches = (lambda c: isinstance(c, callback)) if isinstance(callback, type) else (lambda c: c == callback)
        return next(filter(matches, self.callbacks), None)

    def pop_callback(self, callback: Any) -> "TrainerCallback | None":
        """Takes a callback (an object or the first of a class) off the list and returns it."""
        found = self._find(callback)
        if found is not None:
            self.callbacks.remove(found)
        return found

    def remove_callback(self, callback: Any) -> None:
        """Takes a callback off the list."""
        self.pop_callback(callback)

    @property
    def callback_list(self) -> str:
        return "\n".join(type(c).__name__ for c in self.callbacks)

    def call_event(self, event: str, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> TrainerControl:
        """Calls a hook of all callbacks; returns the control that they leave."""
        if event == "on_train_begin":
            control.should_training_stop = False
        elif event == "on_epoch_begin":
            control.should_epoch_stop = False
        elif event == "on_step_begin":
            control.should_log = control.should_evaluate = control.should_save = False
        elif event in ("on_evaluate", "on_save", "on_log"):
            setattr(control, {"on_evaluate": "should_evaluate", "on_save": "should_save", "on_log": "should_log"}[event], False)
        shared = {"model": self.model, "processing_class": self.processing_class, "optimizer": self.optimizer,
                  "lr_scheduler": self.lr_scheduler, "train_dataloader": self.train_dataloader, "eval_dataloader": self.eval_dataloader}
        for callback in list(self.callbacks):
            result = getattr(callback, event)(args, state, control, **shared, **kwargs)
            control = control if result is None else result
        return control


def _event(name: str) -> Any:
    def call(self: CallbackHandler, args: Any, state: Any, control: Any, *values: Any, **kwargs: Any) -> Any:
        kwargs.update(zip(("logs",) if name == "on_log" else ("metrics",), values))  # Transformers passes these by position
        return self.call_event(name, args, state, control, **kwargs)

    call.__name__ = name
    call.__doc__ = f"Calls {name} of all callbacks."
    return call


for _name in EVENTS:
    setattr(CallbackHandler, _name, _event(_name))


class DefaultFlowCallback(TrainerCallback):
    """Decides from the arguments when to log, evaluate, save and stop."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        step = state.global_step
        is_last = step >= state.max_steps
        by_steps = args.eval_strategy == IntervalStrategy.STEPS and args.eval_delay <= step
        if (step == 1 and args.logging_first_step) or (args.logging_strategy == IntervalStrategy.STEPS and step % state.logging_steps == 0):
            control.should_log = True
        if by_steps and (is_last or step % state.eval_steps == 0):
            control.should_evaluate = True
        if args.save_strategy == SaveStrategy.STEPS and (is_last or (state.save_steps > 0 and step % state.save_steps == 0)):
            control.should_save = True
        if is_last:
            control.should_training_stop = True
        return control

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if args.logging_strategy == IntervalStrategy.EPOCH:
            control.should_log = True
        if args.eval_strategy == IntervalStrategy.EPOCH and args.eval_delay <= state.epoch:
            control.should_evaluate = True
        if args.save_strategy == SaveStrategy.EPOCH:
            control.should_save = True
        return control


def _bar(total: int, leave: bool = True) -> Any:
    """A tqdm bar, or None where tqdm is not installed."""
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        hub.warn("Trainer: progress bars need the package tqdm (pip install 'tenon-ml[train]'); logs are printed without", once=True)
        return None
    return tqdm(total=total, leave=leave, dynamic_ncols=True, smoothing=0.1)


def _short(logs: dict[str, Any], longest: int = 100) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, value in logs.items():
        if isinstance(value, float):
            value = f"{value:.4g}"
        elif isinstance(value, str) and len(value) > longest:
            value = f"(a text of {len(value)} characters)"
        if name != "total_flos":
            shown[name] = value
    return shown


class ProgressCallback(TrainerCallback):
    """A bar with steps done, time left, steps a second and the last loss; logs are written above it."""

    def __init__(self, max_str_len: int = 100) -> None:
        self.training_bar: Any = None
        self.prediction_bar: Any = None
        self.max_str_len = max_str_len
        self._step = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        self.training_bar, self._step = _bar(state.max_steps), state.global_step
        if self.training_bar is not None and state.global_step:
            self.training_bar.update(state.global_step)
            self.training_bar.unpause()

    def on_step_end(self, args: Any, state: Any, control: Any, loss: "float | None" = None, **kwargs: Any) -> Any:
        if self.training_bar is not None:
            if loss is not None:
                self.training_bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
            self.training_bar.update(state.global_step - self._step)
        self._step = state.global_step

    def on_prediction_step(self, args: Any, state: Any, control: Any, eval_dataloader: Any = None, **kwargs: Any) -> Any:
        if self.prediction_bar is None and hasattr(eval_dataloader, "__len__"):
            self.prediction_bar = _bar(len(eval_dataloader), leave=self.training_bar is None)
        if self.prediction_bar is not None:
            self.prediction_bar.update(1)

    def _close_prediction(self) -> None:
        if self.prediction_bar is not None:
            self.prediction_bar.close()
        self.prediction_bar = None

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        self._close_prediction()

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any, **kwargs: Any) -> Any:
        self._close_prediction()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> Any:
        text = str(_short(logs or {}, self.max_str_len))
        if self.training_bar is not None:
            self.training_bar.write(text)
        elif not _has_tqdm():
            print(text)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        self._close_prediction()
        if self.training_bar is not None:
            self.training_bar.close()
        self.training_bar = None


def _has_tqdm() -> bool:
    """True if tqdm can be imported."""
    import importlib.util

    return importlib.util.find_spec("tqdm") is not None


class PrinterCallback(TrainerCallback):
    """Prints what is logged."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> Any:
        if logs is not None:
            print(_short(logs))


class EarlyStoppingCallback(TrainerCallback, ExportableState):
    """Stops after `early_stopping_patience` evaluations in a row that do not better metric_for_best_model by more than the threshold."""

    def __init__(self, early_stopping_patience: int = 1, early_stopping_threshold: "float | None" = 0.0) -> None:
        self.early_stopping_patience = early_stopping_patience
        self.early_stopping_threshold = early_stopping_threshold or 0.0
        self.early_stopping_patience_counter = 0

    def check_metric_value(self, args: Any, state: Any, control: Any, metric_value: float) -> None:
        """Counts an evaluation that is no better than the best one."""
        best = state.best_metric
        gain = 0.0 if best is None else (metric_value - best if args.greater_is_better else best - metric_value)
        if best is None or gain > self.early_stopping_threshold:
            self.early_stopping_patience_counter = 0
        else:
            self.early_stopping_patience_counter += 1

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if args.metric_for_best_model is None or args.eval_strategy == IntervalStrategy.NO:
            raise ValueError("[EarlyStoppingCallback] expected metric_for_best_model and an eval_strategy of \"steps\" or \"epoch\"")
        if not args.load_best_model_at_end:
            hub.warn("EarlyStoppingCallback without load_best_model_at_end: the model stays as the last step left it", once=True)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> Any:
        name = args.metric_for_best_model
        name = name if name.startswith("eval_") else f"eval_{name}"
        value = (metrics or {}).get(name)
        if value is None:
            hub.warn(f"EarlyStoppingCallback: the evaluation has no {name}; training goes on", once=True)
            return
        self.check_metric_value(args, state, control, value)
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            control.should_training_stop = True

    def state(self) -> dict[str, Any]:
        return {"args": {"early_stopping_patience": self.early_stopping_patience, "early_stopping_threshold": self.early_stopping_threshold},
                "attributes": {"early_stopping_patience_counter": self.early_stopping_patience_counter}}
