"""Checkpoints of a training run: whole or not at all, as JSON and safetensors, never pickle."""
from __future__ import annotations

import json
import os
import random
import shutil
from contextlib import contextmanager
from typing import Any, Iterator

from .. import hub
from .._lazy import np
from ..conversion import Tensor, as_tensor
from ..safetensors import load_file, save_file
from .results import PREFIX_CHECKPOINT_DIR, sorted_checkpoints

STATE, ARGUMENTS, SCHEDULER, RNG, PROGRESS = "trainer_state.json", "training_args.json", "scheduler.json", "rng_state.json", "progress.json"
OPTIMIZER, OPTIMIZER_TENSORS = "optimizer.json", "optimizer.safetensors"
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER, TRAINED = "adapter_model.safetensors", "trained_parameters.safetensors"


@contextmanager
def whole_folder(path: str) -> Iterator[str]:
    """A folder to write to that takes the place of `path` at the end of the block; an error leaves what was there. Errors: OSError."""
    parent, name = os.path.split(os.path.abspath(path))
    draft, old = os.path.join(parent, f".{name}.draft"), os.path.join(parent, f".{name}.old")
    for leftover in (draft, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        os.makedirs(draft)
        yield draft
        if os.path.isdir(path):
            os.rename(path, old)
        os.rename(draft, path)
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        if os.path.isdir(old) and not os.path.isdir(path):
            os.rename(old, path)
        if isinstance(error, (OSError, RuntimeError)):
            last = sorted_checkpoints(parent)
            kept = f"; the last whole checkpoint is {last[-1]}" if last else ""
            raise OSError(f"[Trainer] {path} could not be written: {error}{kept}") from error
        raise
    shutil.rmtree(old, ignore_errors=True)


def clear_drafts(folder: str) -> None:
    """Deletes what runs that were killed while saving left behind, and puts back a checkpoint that was about to be replaced."""
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        path, final = os.path.join(folder, name), os.path.join(folder, name[1:].rpartition(".")[0])
        if not name.startswith(f".{PREFIX_CHECKPOINT_DIR}-"):
            continue
        if name.endswith(".old") and not os.path.isdir(final):
            os.rename(path, final)
        elif name.endswith((".draft", ".old")):
            shutil.rmtree(path, ignore_errors=True)


def write_json(value: Any, path: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")


def read_json(folder: str, name: str) -> Any:
    """Errors: FileNotFoundError for a file that the checkpoint lacks, ValueError for damage."""
    path = os.path.join(folder, name)
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"[Trainer] resume_from_checkpoint: {folder} has no {name}; it was saved without the state of its training "
                                "(save_only_model), or by another program") from None
    except ValueError as error:
        raise ValueError(f"[Trainer] resume_from_checkpoint: {path}: expected JSON, got {error}") from None


@contextmanager
def reading(folder: str, name: str) -> Iterator[None]:
    """Says of what goes wrong within the block that the file is damaged. Errors: ValueError."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise ValueError(f"[Trainer] resume_from_checkpoint: {os.path.join(folder, name)} is damaged: {type(error).__name__} {error}") from None


# Optimiser and schedule
def save_optimizer(optimizer: Any, folder: str) -> None:
    """Writes state_dict(): tensors to optimizer.safetensors, the rest to optimizer.json."""
    state = optimizer.state_dict()
    tensors: dict[str, Any] = {}
    plain: dict[str, Any] = {}
    for key, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor) or hasattr(value, "__array__"):
                tensors[f"{key}.{name}"] = value
            else:
                plain.setdefault(str(key), {})[name] = value
    write_json({"class": type(optimizer).__name__, "state": plain, "param_groups": state["param_groups"]}, os.path.join(folder, OPTIMIZER))
    save_file(tensors, os.path.join(folder, OPTIMIZER_TENSORS))


def load_optimizer(optimizer: Any, folder: str) -> None:
    """Reads what save_optimizer() wrote. Errors: ValueError for the state of another optimiser or of other parameters, and for damage."""
    with reading(folder, OPTIMIZER):
        _load_optimizer(optimizer, folder, read_json(folder, OPTIMIZER))


def _load_optimizer(optimizer: Any, folder: str, saved: Any) -> None:
    if saved.get("class") != type(optimizer).__name__:
        raise ValueError(f"[Trainer] resume_from_checkpoint: expected the state of {type(optimizer).__name__}, {folder} holds that of "
                         f"{saved.get('class')}")
    own = [len(g["params"]) for g in optimizer.param_groups]
    theirs = [len(g["params"]) for g in saved["param_groups"]]
    if own != theirs:
        raise ValueError(f"[Trainer] resume_from_checkpoint: expected groups of {own} parameters, {folder} has {theirs}; "
                         "were other parameters trained?")
    state: dict[Any, dict[str, Any]] = {int(key): dict(values) for key, values in saved["state"].items()}
    numbers = [v for values in state.values() for v in values.values()]
    if len({tuple(values) for values in state.values()}) > 1 or not all(isinstance(v, (int, float)) for v in numbers):
        raise TypeError("expected the same numbers for each parameter")
    tensors = load_file(os.path.join(folder, OPTIMIZER_TENSORS))
    if state and tensors and state.keys() != {int(name.partition(".")[0]) for name in tensors}:
        raise TypeError("expected the parameters of " + OPTIMIZER_TENSORS)
    for name, value in tensors.items():
        key, _, field = name.partition(".")
        state.setdefault(int(key), {})[field] = value.clone()  # not the file's memory, which may go
    groups = []
    for group, now in zip(saved["param_groups"], optimizer.param_groups):
        groups.append({k: tuple(v) if isinstance(now.get(k), tuple) else v for k, v in group.items()})
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def save_schedule(scheduler: Any, folder: str) -> None:
    """Writes what of state_dict() is JSON: functions are made anew."""
    write_json({k: v for k, v in scheduler.state_dict().items() if _is_json(v)}, os.path.join(folder, SCHEDULER))


def load_schedule(scheduler: Any, folder: str) -> None:
    with reading(folder, SCHEDULER):
        own, saved = scheduler.state_dict(), read_json(folder, SCHEDULER)
        for name, value in own.items():
            if name in saved and not _alike(value, saved[name]):
                raise TypeError(f"{name}: expected a value like {value!r}, got {saved[name]!r}"[:300])
        scheduler.load_state_dict({**own, **saved})


def _alike(own: Any, saved: Any) -> bool:
    """Whether a saved value may take the place of one: a number for a number, a list of as many for a list."""
    if isinstance(own, (list, tuple)):
        return isinstance(saved, list) and len(saved) == len(own) and all(map(_alike, own, saved))
    if isinstance(own, (int, float)):
        return isinstance(saved, (int, float))
    return own is None or type(saved) is type(own)


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


# Random numbers
def rng_state() -> dict[str, Any]:
    """Where Python's, NumPy's and this library's random numbers stand."""
    from ..random import get_rng_state

    name, keys, position, has_gauss, gauss = np.random.get_state()
    return {"python": random.getstate(), "numpy": [name, keys.tolist(), position, has_gauss, gauss],
            "tenon": json.loads(bytes(memoryview(get_rng_state())))}


def set_rng_state(state: dict[str, Any]) -> None:
    """Goes back to where rng_state() was called. Errors: ValueError for anything else."""
    from ..random import set_rng_state as set_own

    try:
        version, keys, gauss = state["python"]
        random.setstate((version, tuple(keys), gauss))
        np.random.set_state((state["numpy"][0], np.array(state["numpy"][1], np.uint32), *state["numpy"][2:]))
        set_own(as_tensor(np.frombuffer(json.dumps(state["tenon"]).encode(), np.uint8).copy()))
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, IndexError) as error:
        raise ValueError(f"[Trainer] {RNG}: expected the state of random numbers, got {type(error).__name__} {error}") from None


# Weights
def save_weights(model: Any, folder: str, state_dict: Any = None) -> None:
    """save_pretrained() where the model has it, else its state_dict() as model.safetensors."""
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(folder) if state_dict is None else model.save_pretrained(folder, state_dict=state_dict)
    else:
        os.makedirs(folder, exist_ok=True)
        save_file(state_dict if state_dict is not None else model.state_dict(), os.path.join(folder, WEIGHTS), {"format": "pt"})


def read_weights(folder: str) -> dict[str, Tensor]:
    """All tensors of a checkpoint. Errors: FileNotFoundError if it has none."""
    index, single = os.path.join(folder, WEIGHTS_INDEX), os.path.join(folder, WEIGHTS)
    if os.path.isfile(index):
        with open(index, encoding="utf-8") as file:
            files = sorted(set(json.load(file)["weight_map"].values()))
        if any(os.path.basename(name) != name for name in files):
            raise ValueError(f"[Trainer] {index}: expected names of files in its own folder")
        return {name: t for file_name in files for name, t in load_file(os.path.join(folder, file_name)).items()}
    if not os.path.isfile(single):
        raise FileNotFoundError(f"[Trainer] resume_from_checkpoint: {folder} has no {WEIGHTS}")
    return load_file(single)


def has_adapters(model: Any) -> bool:
    """True for a model whose save_pretrained() writes adapters alone."""
    return hasattr(model, "peft_config") or getattr(model, "_adapters", None) is not None


def save_trained(model: Any, folder: str) -> None:
    """Writes every trained parameter of a model with adapters: their own files hold what inference needs, prefixes without their projection."""
    save_file({n: p.detach() for n, p in model.named_parameters() if p.requires_grad}, os.path.join(folder, TRAINED))


def _load_trained(model: Any, folder: str) -> None:
    from ..grad_mode import no_grad

    saved, own = load_file(os.path.join(folder, TRAINED)), {n: p for n, p in model.named_parameters() if p.requires_grad}
    odd = [n for n in saved.keys() | own.keys() if n not in saved or n not in own or tuple(saved[n].shape) != tuple(own[n].shape)]
    if odd:
        raise ValueError(f"[Trainer] resume_from_checkpoint: {folder} was trained with other adapters; they differ in "
                         f"{', '.join(sorted(odd)[:4])}")
    with no_grad():
        for name, value in saved.items():
            own[name].copy_(value)


def load_weights(model: Any, folder: str) -> None:
    """Copies a checkpoint's weights into the model. Errors: ValueError for the checkpoint of another architecture, saying where they differ."""
    if has_adapters(model):
        if os.path.isfile(os.path.join(folder, TRAINED)):
            return _load_trained(model, folder)
        if os.path.isfile(os.path.join(folder, ADAPTER)):  # PEFT's own checkpoints
            from ..peft import set_peft_model_state_dict

            set_peft_model_state_dict(model, load_file(os.path.join(folder, ADAPTER)))
            return None
        raise ValueError(f"[Trainer] resume_from_checkpoint: {folder} has no adapters, the model has")
    path = os.path.join(folder, "config.json")
    config = getattr(model, "config", None)
    if config is not None and os.path.isfile(path):
        saved = read_json(folder, "config.json")
        with reading(folder, "config.json"):
            theirs, own = (saved.get("architectures") or [saved.get("model_type")])[0], type(model).__name__
        if saved.get("model_type") != config.model_type or theirs != own:
            raise ValueError(f"[Trainer] resume_from_checkpoint: expected a checkpoint of {own} ({config.model_type}), "
                             f"{folder} holds {theirs} ({saved.get('model_type')})")
    try:
        model.load_state_dict(read_weights(folder))
    except RuntimeError as error:
        raise ValueError(f"[Trainer] resume_from_checkpoint: {folder} does not fit the model: {str(error)[:600]}") from None
    return None


def rotate(folder: str, limit: "int | None", best: "str | None") -> None:
    """Deletes the oldest checkpoints beyond `limit`, never the best nor the newest one."""
    if not limit:
        return
    found = sorted_checkpoints(folder)
    keep = {os.path.abspath(found[-1])} if found else set()
    if best is not None:
        keep.add(os.path.abspath(best))
    extra = len(found) - max(limit, len(keep & set(map(os.path.abspath, found))))
    for path in found:
        if extra <= 0:
            break
        if os.path.abspath(path) not in keep:
            shutil.rmtree(path, ignore_errors=True)
            extra -= 1


def warn_of_changes(args: Any, folder: str) -> None:
    """Says which arguments differ from those of the checkpoint in ways that make the run another one."""
    path = os.path.join(folder, ARGUMENTS)
    if not os.path.isfile(path):
        return
    saved, own = read_json(folder, ARGUMENTS), args.to_dict()
    names = ("per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "max_steps", "learning_rate",
             "lr_scheduler_type", "warmup_steps", "seed", "data_seed", "train_sampling_strategy")
    changed = [f"{n} was {saved[n]!r}, is {own[n]!r}" for n in names if n in saved and saved[n] != own[n]]
    if changed:
        hub.warn(f"Trainer: the run goes on with other arguments than {os.path.basename(folder)} was saved with: {'; '.join(changed)}")
