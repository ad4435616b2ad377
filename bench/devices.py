"""Where compare.py's runners compute: --device, handed on to their processes. What is measured ends when the device has done its work."""
import os

NAME = os.environ.get("TENON_BENCH_DEVICE", "cpu")
ON_GPU = NAME != "cpu"


def finished(library):
    """Waits for the device; `library` is torch or tenon."""
    if ON_GPU:
        library.cuda.synchronize()


def peak_memory_mb():
    """The most that tensors took on the device, of whichever library is in use; None on the CPU, where the process's memory tells."""
    import sys
    if not ON_GPU:
        return None
    library = sys.modules.get("torch") or sys.modules["tenon"]
    return library.cuda.max_memory_allocated() / 2**20
