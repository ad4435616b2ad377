"""GPUs, under torch.cuda's names: whether they can be used, what they are, and their memory.

The CUDA library is built apart (docs/cuda.md) and found at run time. Tensors and models are moved there with .to("cuda").
"""
from __future__ import annotations

from typing import Any, NamedTuple

from . import _core, random
from .cuda_streams import Event, Stream, StreamContext, current_stream, default_stream, stream
from .cuda_streams import index_of as _index

__all__ = ["Event", "Stream", "StreamContext", "current_device", "current_stream", "default_stream", "device_count", "empty_cache",
           "get_device_capability", "get_device_name", "get_device_properties", "is_available", "is_bf16_supported", "is_initialized",
           "manual_seed", "manual_seed_all", "max_memory_allocated", "max_memory_reserved", "memory_allocated", "memory_reserved",
           "reset_peak_memory_stats", "set_device", "set_memory_limit", "stream", "synchronize", "tensor_cores", "why_not"]


class DeviceProperties(NamedTuple):
    """What get_device_properties returns."""

    name: str
    major: int
    minor: int
    multi_processor_count: int
    total_memory: int


def is_available() -> bool:
    """True if the CUDA library was found, the driver serves it and there is a GPU."""
    return not _core._cuda_why_not()


def why_not() -> str:
    """Why it is not available, in words; empty if it is."""
    return _core._cuda_why_not()


def is_initialized() -> bool:
    return is_available()


def device_count() -> int:
    return _core._cuda_device_count()


def current_device() -> int:
    """The device that "cuda" names: the first one."""
    return 0


def set_device(device: Any) -> None:
    """For scripts that say which device "cuda" is. Errors: RuntimeError for another than the first, which is to be named: "cuda:1"."""
    if _index(device) != 0:
        raise RuntimeError(f'[cuda] set_device: "cuda" is the first device; name another one as "cuda:{_index(device)}"')


def get_device_properties(device: Any = None) -> DeviceProperties:
    """Name, compute capability, number of multiprocessors, and bytes of memory. Errors: RuntimeError with the reason if it cannot be used."""
    return DeviceProperties(*_core._cuda_properties(_index(device)))


def tensor_cores(device: Any = None) -> str:
    """How it multiplies: "wgmma" or "mma.sync", or the latter with the reason why Hopper's kernels are not used; tries them if none has been run yet."""
    return _core._cuda_tensor_cores(_index(device))


def get_device_name(device: Any = None) -> str:
    return get_device_properties(device).name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    properties = get_device_properties(device)
    return properties.major, properties.minor


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """True on every GPU that the CUDA library serves."""
    return is_available()


def _memory(device: Any) -> tuple[int, int, int, int]:
    return _core._cuda_memory(_index(device)) if is_available() else (0, 0, 0, 0)


def memory_allocated(device: Any = None) -> int:
    """Bytes that tensors hold."""
    return _memory(device)[0]


def memory_reserved(device: Any = None) -> int:
    """Bytes that tensors hold and that are kept for the next ones."""
    return _memory(device)[1]


def max_memory_allocated(device: Any = None) -> int:
    return _memory(device)[2]


def max_memory_reserved(device: Any = None) -> int:
    return _memory(device)[3]


def reset_peak_memory_stats(device: Any = None) -> None:
    if is_available():
        _core._cuda_reset_peak(_index(device))


def set_memory_limit(bytes: int, device: Any = None) -> None:
    """Allocations beyond so many bytes raise MemoryError; 0 takes the limit away."""
    _core._cuda_set_limit(_index(device), bytes)


def empty_cache() -> None:
    """Gives memory that no tensor uses back to the driver."""
    _core._cuda_empty_cache(-1)


def synchronize(device: Any = None) -> None:
    """Waits until the device has done all work."""
    _core._cuda_synchronize(_index(device))


def manual_seed(seed: int) -> None:
    random.manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    random.manual_seed(seed)


def __getattr__(name: str) -> Any:
    if name == "amp":  # torch.cuda.amp: the same autocast and scaler
        from . import amp

        return amp
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
