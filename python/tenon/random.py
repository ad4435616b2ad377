"""Random numbers: the seed, NumPy's PCG64 for tensors, and streams for what the library draws itself. The streams differ from PyTorch's."""
from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator

from . import _core
from ._core import Tensor
from ._lazy import LazyModule, np

__all__ = ["Generator", "fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state"]

_MASK = 2**64 - 1
json: Any = LazyModule("json")
secrets: Any = LazyModule("secrets")


class _State:
    seed = 0
    models = 0   # made from a configuration since the seed was set
    streams = 0  # of dropout, since the seed was set
    generator: Any = None


_state = _State()


def manual_seed(seed: int) -> None:
    """Seeds rand, randn, randint, randperm, dropout, sampling and the weights of models made from a configuration."""
    _state.seed, _state.models, _state.streams, _state.generator = int(seed), 0, 0, None


def seed() -> int:
    """Seeds with a number that nobody can foresee, and returns it."""
    manual_seed(secrets.randbits(63))
    return _state.seed


def initial_seed() -> int:
    """What manual_seed() was given last."""
    return _state.seed


def next_seed() -> int:
    """The seed of the next model made from a configuration: follows manual_seed, differs from model to model."""
    _state.models += 1
    return (_state.seed * 1_000_003 + _state.models) % 2**63 if _state.models > 1 else _state.seed


def next_stream() -> int:
    """The seed of the next forward pass with dropout."""
    _state.streams += 1
    return (_state.seed * 0x5851F42D4C957F2D + _state.streams * 0x9E3779B97F4A7C15) & _MASK


def generator() -> Any:
    """NumPy's generator behind rand and its kin."""
    if _state.generator is None:
        _state.generator = np.random.default_rng(_state.seed)
    return _state.generator


class Generator:
    """A source of random numbers of one's own: Generator().manual_seed(3)."""

    def __init__(self, device: Any = "cpu") -> None:
        self._seed = 0
        self._numbers: Any = None

    def manual_seed(self, seed: int) -> "Generator":
        self._seed, self._numbers = int(seed), None
        return self

    def initial_seed(self) -> int:
        return self._seed

    def numpy(self) -> Any:
        """The NumPy generator behind it."""
        if self._numbers is None:
            self._numbers = np.random.default_rng(self._seed)
        return self._numbers

    def get_state(self) -> Tensor:
        return _core.from_buffer(bytearray(json.dumps({"seed": self._seed, "numpy": self.numpy().bit_generator.state}).encode()))

    def set_state(self, new_state: Tensor) -> None:
        state = json.loads(memoryview(new_state).tobytes())
        self._seed, self.numpy().bit_generator.state = int(state["seed"]), state["numpy"]


def get_rng_state() -> Tensor:
    """Everything that the next random numbers follow from, as bytes."""
    state = {"seed": _state.seed, "models": _state.models, "streams": _state.streams, "numpy": generator().bit_generator.state}
    return _core.from_buffer(bytearray(json.dumps(state).encode()))


def set_rng_state(new_state: Tensor) -> None:
    """Goes back to where get_rng_state() was called. Errors: ValueError for anything else."""
    try:
        state = json.loads(memoryview(new_state).tobytes())
        bits = np.random.PCG64(0)
        bits.state = state["numpy"]
        _state.seed, _state.models, _state.streams = (int(state[name]) for name in ("seed", "models", "streams"))
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"[set_rng_state] expected what get_rng_state() returned: {error}") from None
    _state.generator = np.random.Generator(bits)


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True) -> Iterator[None]:
    """Takes back at the end of the block what was drawn within it."""
    before = get_rng_state() if enabled else None
    try:
        yield
    finally:
        if before is not None:
            set_rng_state(before)
