"""The base of all optimisers: groups of parameters with settings of their own, states, and both as a dict to be saved."""
from __future__ import annotations

import collections
import itertools
from typing import Any, Callable, Iterable, Mapping

from .. import _core
from .._core import Tensor, dtype
from ..conversion import as_tensor
from ..grad_mode import enable_grad

Parameters = Iterable[Any]  # tensors, (name, tensor) pairs, or dicts of settings with "params"


class Optimizer:
    """Steps parameters in place from their `grad`.

    `param_groups` is a list of dicts, each with "params" and the settings of these; `state` maps a parameter to what is remembered of it.
    A class for a new optimiser overrides step(). Errors: ValueError for no parameters, one that is given twice or was computed by an
    operation, and a setting out of range; TypeError for what is no float32 tensor.
    """

    _kind = ""  # the core's name of it; the classes beside this have one
    _names: tuple[str, ...] = ()  # of the state's tensors, in the core's order, as far as there are any

    def __init__(self, params: Parameters, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(f"[{type(self).__name__}] params: expected a list of tensors or of dicts, got one tensor")
        self.defaults = defaults
        self.state: "collections.defaultdict[Tensor, dict[str, Any]]" = collections.defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._pre_hooks: "dict[int, Callable[..., Any]]" = {}
        self._post_hooks: "dict[int, Callable[..., Any]]" = {}
        self._hook_number = itertools.count()
        groups = list(params)
        if not groups:
            raise ValueError(f"[{type(self).__name__}] params: expected at least one parameter, got none")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters with settings of their own; those that are not given are the optimiser's defaults. Errors: as the class."""
        if not isinstance(param_group, dict):
            raise TypeError(f"[{type(self).__name__}] group: expected a dict, got {type(param_group).__name__}")
        group = dict(param_group)
        given = group["params"]
        if isinstance(given, (set, frozenset)):
            raise TypeError(f"[{type(self).__name__}] params: expected an ordered collection, got a set, whose order changes between runs")
        entries = [given] if isinstance(given, Tensor) else list(given)
        if entries and all(isinstance(e, tuple) for e in entries):
            group["param_names"] = [name for name, _ in entries]
            entries = [t for _, t in entries]
        known = {id(t) for g in self.param_groups for t in g["params"]}
        for t in entries:
            self._check_parameter(t, known)
            known.add(id(t))
        group["params"] = entries
        for name, value in self.defaults.items():
            group.setdefault(name, value)
        self._check_settings(group)
        self.param_groups.append(group)

    def _check_parameter(self, t: Any, known: set[int]) -> None:
        where = f"[{type(self).__name__}] params:"
        if not isinstance(t, Tensor):
            raise TypeError(f"{where} expected tensors, got {type(t).__name__}")
        if not t.is_leaf:
            raise ValueError(f"{where} expected leaves of the graph, got a tensor that an operation computed")
        if id(t) in known:
            raise ValueError(f"{where} a parameter appears twice")
        prepare = t.__dict__.get("_prepare")
        if prepare is not None:  # the weight of a model: it may be packed, or mapped from a file
            prepare()
        if t.dtype != dtype.float32:
            raise TypeError(f"{where} expected float32, got {t.dtype}; under autocast the weights stay float32, too")
        if t.read_only:
            raise TypeError(f"{where} the memory is read-only (a mapped file); clone() gives a writable copy")

    def _settings(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """A group's settings as the core takes them."""
        return {name: group[name] for name in self.defaults if name in group}

    def _check_settings(self, group: Mapping[str, Any]) -> None:
        if self._kind:
            _core.optim_check(self._kind, self._settings(group))

    def step(self, closure: "Callable[[], Any] | None" = None) -> Any:
        """One step for every parameter that has a gradient. Returns what `closure`, called first with gradients enabled, returns.

        Errors: TypeError, ValueError for gradients of another type or shape than their parameter's.
        """
        if not self._kind:
            raise NotImplementedError(f"[{type(self).__name__}] step() is not defined")
        for hook in list(self._pre_hooks.values()):
            hook(self, (closure,), {})
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [t for t in group["params"] if t.grad is not None]
            if params:
                self._step_group(group, params)
        for hook in list(self._post_hooks.values()):
            hook(self, (closure,), {})
        return loss

    def _step_group(self, group: Mapping[str, Any], params: list[Tensor]) -> None:
        settings = self._settings(group)
        states, steps = [], []
        for t in params:
            state = self.state[t]
            if "step" not in state:  # it may hold what others keep with a parameter, such as a mask
                state.update(step=0, **_core.optim_state(self._kind, t, settings))
            states.append([state[name] for name in self._names if name in state])
            steps.append(int(state["step"]) + 1)
        _core.optim_step(self._kind, params, [t.grad for t in params], states, steps, settings)
        for t, count in zip(params, steps):
            self.state[t]["step"] = count

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients, or fills them with zeros."""
        for group in self.param_groups:
            for t in group["params"]:
                if t.grad is None:
                    continue
                if set_to_none:
                    t.grad = None
                else:
                    t.grad = t.grad.detach()
                    t.grad.zero_()

    # Saved and loaded
    def state_dict(self) -> dict[str, Any]:
        """{"state": {number of the parameter: its state}, "param_groups": [settings with numbers as "params"]}, as PyTorch's."""
        number: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for t in group["params"]:
                number.setdefault(id(t), len(number))
            groups.append({k: v for k, v in group.items() if k != "params"} | {"params": [number[id(t)] for t in group["params"]]})
        return {"state": {number[id(t)]: dict(s) for t, s in self.state.items() if id(t) in number}, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes the settings and copies of the states. Errors: ValueError if the groups or a state's shape differ from this optimiser's."""
        groups, saved = self.param_groups, state_dict["param_groups"]
        if [len(g["params"]) for g in groups] != [len(g["params"]) for g in saved]:
            raise ValueError(f"[{type(self).__name__}] load_state_dict: expected groups of {[len(g['params']) for g in groups]} parameters, "
                             f"got {[len(g['params']) for g in saved]}")
        parameter = {n: t for g, s in zip(groups, saved) for n, t in zip(s["params"], g["params"])}
        state: "collections.defaultdict[Tensor, dict[str, Any]]" = collections.defaultdict(dict)
        for n, values in state_dict["state"].items():
            # Keys that went through JSON are text.
            t = parameter.get(n) if n in parameter else parameter.get(int(n))
            if t is not None:
                state[t] = self._loaded(t, values)
        self.param_groups = [{**g, **{k: v for k, v in s.items() if k != "params"}} for g, s in zip(groups, saved)]
        self.state = state

    def _loaded(self, t: Tensor, values: Mapping[str, Any]) -> dict[str, Any]:
        own = {}
        for name, value in values.items():
            if hasattr(value, "shape") and not isinstance(value, Tensor):
                value = as_tensor(value)
            if name == "step":
                value = int(value)
            elif isinstance(value, Tensor):
                value = value.clone() if value._device == t._device else value._to_device(t._device)
            own[name] = value
        return own

    # Hooks
    def register_step_pre_hook(self, hook: Callable[..., Any]) -> "_Handle":
        """hook(optimizer, args, kwargs) before every step; the handle's remove() ends it."""
        return _Handle(self._pre_hooks, next(self._hook_number), hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> "_Handle":
        """hook(optimizer, args, kwargs) after every step; the handle's remove() ends it."""
        return _Handle(self._post_hooks, next(self._hook_number), hook)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {group[k]}" for k in sorted(group) if k != "params"]
        return "\n".join(lines + [")"])


class _Handle:
    def __init__(self, hooks: dict[int, Callable[..., Any]], number: int, hook: Callable[..., Any]) -> None:
        self._hooks, self._number = hooks, number
        hooks[number] = hook

    def remove(self) -> None:
        self._hooks.pop(self._number, None)
