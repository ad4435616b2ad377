"""Where a training run stands, and what callbacks may ask of it: TrainerState, TrainerControl, ExportableState."""
from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass
from typing import Any


class ExportableState:
    """What keeps values across a resumed run: state() gives them, from_state() makes the object again."""

    def state(self) -> dict[str, Any]:
        """{"args": arguments of the constructor, "attributes": what changed since}; JSON values only."""
        raise NotImplementedError(f"[{type(self).__name__}] state: expected a method that returns args and attributes")

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Any:
        made = cls(**state["args"])
        for name, value in state["attributes"].items():
            setattr(made, name, value)
        return made


@dataclass
class TrainerControl(ExportableState):
    """Switches that callbacks set and the Trainer obeys; those of a step go back at its end."""

    should_training_stop: bool = False
    should_epoch_stop: bool = False
    should_save: bool = False
    should_evaluate: bool = False
    should_log: bool = False

    def state(self) -> dict[str, Any]:
        return {"args": dataclasses.asdict(self), "attributes": {}}


@dataclass
class TrainerState:
    """Where a run stands; a checkpoint keeps it as trainer_state.json, with Transformers' fields."""

    epoch: float = 0
    global_step: int = 0
    max_steps: int = 0
    logging_steps: int = 500
    eval_steps: int = 500
    save_steps: int = 500
    train_batch_size: "int | None" = None
    num_train_epochs: int = 0
    num_input_tokens_seen: int = 0
    total_flos: float = 0
    log_history: Any = None
    best_metric: "float | None" = None
    best_global_step: "int | None" = None
    best_model_checkpoint: "str | None" = None
    is_local_process_zero: bool = True
    is_world_process_zero: bool = True
    is_hyper_param_search: bool = False
    trial_name: "str | None" = None
    trial_params: "dict[str, Any] | None" = None
    stateful_callbacks: Any = None

    def __post_init__(self) -> None:
        self.log_history = [] if self.log_history is None else self.log_history
        if not isinstance(self.stateful_callbacks, dict):
            self.stateful_callbacks = states_of(self.stateful_callbacks or ())

    def compute_steps(self, args: Any, max_steps: int) -> None:
        """Turns shares of a run into steps."""
        for name in ("logging_steps", "eval_steps", "save_steps"):
            value = getattr(args, name)
            if value is not None:
                setattr(self, name, math.ceil(max_steps * value) if 0 < value < 1 else int(value))

    def save_to_json(self, json_path: "str | os.PathLike[str]") -> None:
        """Writes the state. Errors: TypeError for a callback whose state is not JSON."""
        text = json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True, default=_number) + "\n"
        with open(json_path, "w", encoding="utf-8") as file:
            file.write(text)

    @classmethod
    def load_from_json(cls, json_path: "str | os.PathLike[str]") -> "TrainerState":
        """Reads a state. Errors: FileNotFoundError; ValueError for a file that is not one."""
        with open(json_path, encoding="utf-8") as file:
            try:
                values = json.load(file)
            except ValueError as error:
                raise ValueError(f"[TrainerState] {json_path}: expected JSON, got {error}") from None
        known = {f.name for f in dataclasses.fields(cls)}
        if not isinstance(values, dict) or not isinstance(values.get("global_step"), int) or values["global_step"] < 0:
            raise ValueError(f"[TrainerState] {json_path}: expected the state of a training run")
        none, number = type(None), (int, float)
        kinds: dict[str, tuple[type, ...]] = {
            "log_history": (list, none), "stateful_callbacks": (dict, none), "epoch": number, "total_flos": number,
            "num_input_tokens_seen": (int,), "best_metric": (*number, none), "best_global_step": (int, none),
            "best_model_checkpoint": (str, none), "train_batch_size": (int, none)}
        for name, allowed in kinds.items():
            if name in values and not isinstance(values[name], allowed):
                raise ValueError(f"[TrainerState] {json_path}: {name}: expected {allowed[0].__name__}, got {values[name]!r}"[:300])
        return cls(**{k: v for k, v in values.items() if k in known})


def states_of(objects: Any) -> dict[str, Any]:
    """The states of callbacks by class name; a list where a class occurs several times."""
    states: dict[str, Any] = {}
    for item in objects:
        name, state = type(item).__name__, item.state()
        if name not in states:
            states[name] = state
        else:
            states[name] = [*(states[name] if isinstance(states[name], list) else [states[name]]), state]
    return states


def _number(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"[TrainerState] expected JSON values, got {type(value).__name__}")
