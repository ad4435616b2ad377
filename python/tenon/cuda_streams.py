"""Streams and events of GPUs, under torch.cuda's names."""
from __future__ import annotations

from typing import Any

from . import _core
from .conversion import device as _device

__all__ = ["Event", "Stream", "StreamContext", "current_stream", "default_stream", "stream"]


def index_of(device: Any) -> int:
    """The number of a device given as None, a number, a name or a device."""
    if device is None:
        return 0
    where = _device(device)
    if where.type != "cuda":
        raise ValueError(f"[cuda] expected a cuda device, got {where}")
    return where.index or 0


class Stream:
    """A queue of work: that of different streams may overlap. Streams do not wait for CUDA's default stream, nor it for them; wait_stream()
    has one wait for another. A tensor that is used on another stream than it was made on needs record_stream(), or its memory may be used
    again too early.

    Errors: RuntimeError with the reason if there is no such device.
    """

    def __init__(self, device: Any = None, priority: int = 0, **_: Any) -> None:
        self._core = _core.CudaStream(index_of(device))

    @classmethod
    def _of(cls, core: "_core.CudaStream") -> "Stream":
        s = cls.__new__(cls)
        s._core = core
        return s

    @property
    def device(self) -> Any:
        return _device(f"cuda:{self._core.device}")

    @property
    def cuda_stream(self) -> int:
        """The cudaStream_t as a number; 0 is CUDA's default stream."""
        return self._core.handle

    def synchronize(self) -> None:
        """Waits until its work is done."""
        self._core.synchronize()

    def query(self) -> bool:
        """Whether its work is done."""
        return self.record_event().query()

    def record_event(self, event: "Event | None" = None) -> "Event":
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: "Event") -> None:
        """Later work begins when the event is reached."""
        event.wait(self)

    def wait_stream(self, stream: "Stream") -> None:
        """Later work begins when what `stream` has by now is done."""
        self.wait_event(stream.record_event())

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Stream) and (self._core.device, self.cuda_stream) == (other._core.device, other.cuda_stream)

    def __hash__(self) -> int:
        return hash((self._core.device, self.cuda_stream))

    def __repr__(self) -> str:
        return f"<tenon.cuda.Stream device={self.device} cuda_stream={self.cuda_stream:#x}>"


class Event:
    """A mark in a stream. elapsed_time() between two of them is what the work between them took."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        if interprocess:
            raise ValueError("[Event] interprocess: events are of one process here")
        self._core: "_core.CudaEvent | None" = None
        self._timed = enable_timing

    def record(self, stream: "Stream | None" = None) -> None:
        """Marks a stream, by default the thread's current one."""
        where = current_stream() if stream is None else stream
        with StreamContext(where):
            self._core = _core.CudaEvent(where._core.device)
            self._core.record()

    def wait(self, stream: "Stream | None" = None) -> None:
        if self._core is not None:
            self._core.wait((current_stream() if stream is None else stream)._core)

    def query(self) -> bool:
        return self._core is None or self._core.reached()

    def synchronize(self) -> None:
        if self._core is not None:
            self._core.synchronize()

    def elapsed_time(self, end_event: "Event") -> float:
        """Milliseconds. Errors: ValueError for events that were not made with enable_timing, or not recorded; RuntimeError before both are
        reached."""
        if not (self._timed and end_event._timed):
            raise ValueError("[Event] elapsed_time: expected events made with enable_timing=True")
        if self._core is None or end_event._core is None:
            raise ValueError("[Event] elapsed_time: expected recorded events")
        return self._core.milliseconds_to(end_event._core)


class StreamContext:
    """`with tenon.cuda.stream(s):` the thread's work goes to `s`; None changes nothing."""

    def __init__(self, stream: "Stream | None") -> None:
        self.stream = stream
        self._scope = None if stream is None else _core.CudaStreamScope(stream._core)

    def __enter__(self) -> None:
        if self._scope is not None:
            _forget_numbers()
            self._scope.enter()

    def __exit__(self, *error: Any) -> None:
        if self._scope is not None:
            self._scope.exit()
            _forget_numbers()


def _forget_numbers() -> None:
    """Numbers that expressions keep on a device were written on one stream, and are not for another."""
    from .device_array import _number

    _number.cache_clear()


def stream(stream: "Stream | None") -> StreamContext:
    return StreamContext(stream)


def current_stream(device: Any = None) -> Stream:
    """What the calling thread's work goes to."""
    return Stream._of(_core.CudaStream.current(index_of(device)))


def default_stream(device: Any = None) -> Stream:
    """CUDA's default stream of a device, which is a thread's current one unless it says otherwise."""
    return Stream._of(_core.CudaStream.default(index_of(device)))
