"""Whether operations note how their gradients are had: no_grad and its kin, for each thread on its own."""
from __future__ import annotations

import functools
import threading
from typing import Any


_GENERATOR = 0x20  # inspect.CO_GENERATOR, without the time that the import of inspect takes


class _State(threading.local):
    enabled = True
    inference = False
    anomaly = False  # backward() looks for NaN


state = _State()


class _GradMode:
    """A context manager and decorator, as PyTorch's; also decorates generators and whole functions without brackets."""

    def __init__(self, mode: Any = True) -> None:
        self._before: list[tuple[bool, bool]] = []
        self._function = mode if callable(mode) else None
        self._mode = True if callable(mode) else bool(mode)
        if self._function is not None:
            functools.update_wrapper(self, self._function)

    def _set(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> "_GradMode":
        self._before.append((state.enabled, state.inference))
        self._set()
        return self

    def __exit__(self, *error: Any) -> None:
        state.enabled, state.inference = self._before.pop()

    def _again(self) -> "_GradMode":
        return type(self)(self._mode)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._function is not None:
            with self._again():
                return self._function(*args, **kwargs)
        function = args[0]
        if getattr(getattr(function, "__code__", None), "co_flags", 0) & _GENERATOR:
            return self._generator(function)

        @functools.wraps(function)
        def wrapped(*a: Any, **k: Any) -> Any:
            with self._again():
                return function(*a, **k)

        return wrapped

    def _generator(self, function: Any) -> Any:
        @functools.wraps(function)
        def wrapped(*a: Any, **k: Any) -> Any:
            made = function(*a, **k)
            while True:
                with self._again():  # the consumer's own mode holds between two values
                    try:
                        value = next(made)
                    except StopIteration as end:
                        return end.value
                yield value

        return wrapped

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)


class no_grad(_GradMode):
    """`with no_grad():`, `@no_grad()` or `@no_grad`: no gradients are noted."""

    def _set(self) -> None:
        state.enabled = False


class inference_mode(_GradMode):
    """As no_grad; inference_mode(False) leaves everything as it is."""

    def _set(self) -> None:
        if self._mode:
            state.enabled, state.inference = False, True


class enable_grad(_GradMode):
    """Notes gradients again inside of no_grad."""

    def _set(self) -> None:
        state.enabled = True


class set_grad_enabled(_GradMode):
    """Sets the mode at once, and as a context manager for its block alone."""

    def __init__(self, mode: bool) -> None:
        super().__init__(bool(mode))
        self._first: "tuple[bool, bool] | None" = (state.enabled, state.inference)
        self._set()

    def _set(self) -> None:
        state.enabled = self._mode

    def __enter__(self) -> "_GradMode":
        before, self._first = self._first, None
        super().__enter__()
        if before is not None:
            self._before[-1] = before
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._first is not None:  # used as a decorator: nothing was to change now
            (state.enabled, state.inference), self._first = self._first, None
        return super().__call__(*args, **kwargs)


class detect_anomaly:
    """Within the block backward() raises RuntimeError naming the first operation whose gradient is NaN. Slow."""

    def __init__(self, check_nan: bool = True, mode: bool = True) -> None:
        self._mode, self._before = bool(check_nan and mode), state.anomaly

    def __enter__(self) -> None:
        self._before, state.anomaly = state.anomaly, self._mode

    def __exit__(self, *error: Any) -> None:
        state.anomaly = self._before


class set_detect_anomaly(detect_anomaly):
    """The same at once, and as a context manager for its block alone."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        super().__init__(check_nan, mode)
        state.anomaly = self._mode

    def __enter__(self) -> None:
        state.anomaly = self._mode


def is_grad_enabled() -> bool:
    """Whether operations of this thread note their gradients."""
    return state.enabled


def is_inference_mode_enabled() -> bool:
    """Whether this thread is inside of inference_mode."""
    return state.inference
