"""nn.Module: parts of a model that list their parameters, buffers and parts, as PyTorch's."""
from __future__ import annotations

import itertools
from collections import OrderedDict, namedtuple
from typing import Any, Callable, Iterator

from ..conversion import Tensor, as_tensor, device_name, dtype, to_dtype
from ..grad_mode import no_grad
from .parameter import Parameter

__all__ = ["LoadResult", "Module"]

LoadResult = namedtuple("LoadResult", ["missing_keys", "unexpected_keys"])


class Module:
    """A part of a model. A subclass calls super().__init__(), assigns its parameters and parts to attributes and defines forward()."""

    training: bool = True

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        if "_modules" not in self.__dict__:
            self.__dict__.update(training=True, _parameters={}, _buffers={}, _transient=set(), _modules={}, _hooks_before={}, _hooks_after={})

    # Attributes
    def __setattr__(self, name: str, value: Any) -> None:
        d = self.__dict__
        if isinstance(value, (Parameter, Module)) or (isinstance(value, Tensor) and "_buffer" in value.__dict__):
            if "_modules" not in d:
                raise AttributeError(f"[{type(self).__name__}] cannot assign parts before super().__init__()")
            for table in (d, d["_parameters"], d["_modules"], d["_buffers"]):
                table.pop(name, None)
            if isinstance(value, Module):
                d["_modules"][name] = value
            elif isinstance(value, Parameter):
                d["_parameters"][name] = value
            else:
                self.register_buffer(name, value, value.__dict__.pop("_buffer"))
            return
        tables = () if isinstance(getattr(type(self), name, None), property) else ("_parameters", "_modules", "_buffers")
        for table in tables:
            if name in d.get(table, ()):
                if value is not None and not (table == "_buffers" and isinstance(value, Tensor)):
                    raise TypeError(f"[{type(self).__name__}] cannot assign {type(value).__name__} as {table[1:-1]} {name!r}")
                d[table][name] = value
                return
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        d = self.__dict__
        for table in ("_parameters", "_modules", "_buffers"):
            if name in d.get(table, ()):
                return d[table][name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for table in ("_parameters", "_modules", "_buffers"):
            if self.__dict__.get(table, {}).pop(name, None) is not None:
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        d = self.__dict__
        return sorted({*super().__dir__(), *d.get("_parameters", ()), *d.get("_modules", ()), *d.get("_buffers", ())})

    def register_parameter(self, name: str, param: "Tensor | None") -> None:
        self.__dict__["_parameters"][name] = param

    def register_buffer(self, name: str, tensor: "Tensor | None", persistent: bool = True) -> None:
        """A tensor of the state that is not trained; one that is not persistent stays out of state_dict()."""
        self.__dict__["_buffers"][name] = tensor
        (self._transient.discard if persistent else self._transient.add)(name)

    def add_module(self, name: str, module: "Module | None") -> None:
        self.__dict__["_modules"][name] = module

    register_module = add_module

    # Calls
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"[{type(self).__name__}] has no forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        d = self.__dict__
        if not d["_hooks_before"] and not d["_hooks_after"]:
            return self.forward(*args, **kwargs)
        for hook in list(d["_hooks_before"].values()):
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        result = self.forward(*args, **kwargs)
        for hook in list(d["_hooks_after"].values()):
            changed = hook(self, args, result)
            result = result if changed is None else changed
        return result

    def register_forward_hook(self, hook: Callable[..., Any]) -> Any:
        """Calls hook(module, args, result) after each forward(); what it returns, if anything, takes the result's place."""
        return _removable(self._hooks_after, hook)

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> Any:
        """Calls hook(module, args) before each forward(); what it returns, if anything, takes the place of args."""
        return _removable(self._hooks_before, hook)

    # Parts
    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        return ((n, m) for n, m in self._modules.items() if m is not None)

    def children(self) -> Iterator["Module"]:
        return (m for _, m in self.named_children())

    def named_modules(self, memo: "set[int] | None" = None, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, "Module"]]:
        """This module and all within, each once, with their names."""
        memo = set() if memo is None else memo
        if id(self) in memo:
            return
        if remove_duplicate:
            memo.add(id(self))
        yield prefix, self
        for name, module in self.named_children():
            yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator["Module"]:
        return (m for _, m in self.named_modules())

    def get_submodule(self, target: str) -> "Module":
        """A part by its dotted name. Errors: AttributeError."""
        module: Any = self
        for part in target.split(".") if target else ():
            module = getattr(module, part)
        return module  # type: ignore[no-any-return]

    # Parameters
    def _own_parameters(self) -> Iterator[tuple[str, "Tensor | None"]]:
        yield from self._parameters.items()

    def named_parameters(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Iterator[tuple[str, Tensor]]:
        """The parameters with their names, shared ones once."""
        seen: set[int] = set()
        for path, module in self.named_modules(prefix=prefix) if recurse else ((prefix, self),):
            for name, p in module._own_parameters():
                if p is not None and (not remove_duplicate or id(p) not in seen):
                    seen.add(id(p))
                    yield f"{path}.{name}" if path else name, p

    def parameters(self, recurse: bool = True) -> Iterator[Tensor]:
        return (p for _, p in self.named_parameters(recurse=recurse))

    def get_parameter(self, target: str) -> Tensor:
        """One parameter by its dotted name. Errors: AttributeError."""
        for name, p in self.named_parameters(remove_duplicate=False):
            if name == target:
                return p
        raise AttributeError(f"[{type(self).__name__}] has no parameter {target!r}")

    def named_buffers(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Iterator[tuple[str, Tensor]]:
        for path, module in self.named_modules(prefix=prefix) if recurse else ((prefix, self),):
            for name, b in module._buffers.items():
                if b is not None:
                    yield f"{path}.{name}" if path else name, b

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        return (b for _, b in self.named_buffers(recurse=recurse))

    # State
    def _state(self) -> "OrderedDict[str, Tensor]":
        """What state_dict() holds, as the tensors themselves."""
        state: "OrderedDict[str, Tensor]" = OrderedDict()
        for path, module in self.named_modules(remove_duplicate=False):
            lead = f"{path}." if path else ""
            for name, t in itertools.chain(module._own_parameters(), module._buffers.items()):
                if t is not None and name not in module._transient:
                    state[lead + name] = t
        return state

    def state_dict(self, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """All parameters and persistent buffers by name, sharing memory."""
        state: Any = OrderedDict() if destination is None else destination
        for name, t in self._state().items():
            state[prefix + name] = t if keep_vars else t.detach()
        return state

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> LoadResult:
        """Copies tensors into parameters and buffers. Errors: RuntimeError naming what is missing, superfluous or of another shape."""
        own = self._state()
        missing = [n for n in own if n not in state_dict]
        unexpected = [n for n in state_dict if n not in own]
        shapes = [f"{n}: expected {tuple(own[n].shape)}, got {tuple(as_tensor(v).shape)}" for n, v in state_dict.items()
                  if n in own and tuple(as_tensor(v).shape) != tuple(own[n].shape)]
        if shapes or (strict and (missing or unexpected)):
            raise RuntimeError(f"[load_state_dict] missing: {missing}; unexpected: {unexpected}; wrong shapes: {shapes}")
        with no_grad():
            for name, value in state_dict.items():
                if name in own:
                    self._assign(name, own[name], value)
        return LoadResult(missing, unexpected)

    def _assign(self, name: str, t: Tensor, value: Any) -> None:
        t.copy_(value)

    # Modes and types
    def train(self, mode: bool = True) -> Any:
        """Sets training mode, in which dropout works, here and in all parts."""
        if not isinstance(mode, bool):
            raise ValueError(f"[train] expected a bool, got {mode!r}")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Any:
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        for p in self.parameters():
            if set_to_none or p.grad is None:
                p.grad = None
            else:
                p.grad.zero_()

    def apply(self, fn: Callable[["Module"], Any]) -> Any:
        """Calls fn with every part, and with this module last."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def to(self, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False, **kwargs: Any) -> Any:
        """Changes the type of floating point parameters and buffers, or moves all of them: to("cuda"), where tenon.cuda.is_available().

        The parameters stay the same objects. Errors: RuntimeError for a device that cannot be used, MemoryError; the module is then as before.
        """
        for arg in args:
            if isinstance(arg, Tensor):
                dtype, device = arg.dtype, arg.device
            elif hasattr(arg, "itemsize") and not isinstance(arg, str):
                dtype = arg
            elif not isinstance(arg, bool):
                device = arg
        if device is not None:
            self._move(device_name(device))
        if dtype is not None:
            self._cast(to_dtype(dtype))
        return self

    def _move(self, where: str) -> None:
        for module in self.children():
            module._move(where)
        self._move_own(where)

    def _move_own(self, where: str) -> None:
        """Parameters, buffers and gradients, but not those of the parts."""
        own = [t for t in (*self._parameters.values(), *self._buffers.values()) if t is not None and t._device != where]
        copies = [(t, t._to_device(where), None if t.grad is None else t.grad._to_device(where)) for t in own]  # all, before one is taken
        for t, elements, gradient in copies:
            t._rebind(elements)
            t.__dict__["_grad"] = gradient

    def _cast(self, kind: Any) -> None:
        for module in self.children():
            module._cast(kind)
        for t in (*self._parameters.values(), *self._buffers.values()):
            if t is not None and t.dtype.is_floating_point and t.dtype != kind:
                t._rebind(t._to(kind))

    def float(self) -> Any:
        return self.to(dtype.float32)

    def double(self) -> Any:
        return self.to(dtype.float64)

    def half(self) -> Any:
        return self.to(dtype.float16)

    def bfloat16(self) -> Any:
        return self.to(dtype.bfloat16)

    def cpu(self) -> Any:
        return self.to("cpu")

    def cuda(self, device: Any = None) -> Any:
        return self.to("cuda" if device is None else device)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is left to compile."""

    # Text
    def extra_repr(self) -> str:
        return ""

    def __repr__(self) -> str:
        parts = [f"({name}): " + repr(module).replace("\n", "\n  ") for name, module in self._modules.items()]
        if not parts:
            return f"{type(self).__name__}({self.extra_repr()})"
        lines = [self.extra_repr(), *parts] if self.extra_repr() else parts
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"


def _removable(hooks: dict[int, Any], hook: Callable[..., Any]) -> Any:
    from ..autograd import Removable

    return Removable(hooks, hook)
