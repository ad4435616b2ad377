"""Tests of a device: with TENON_CUDA_LIBRARY they run on what that library serves; without it each file runs in a process of its own on the
emulated library that the C++ tests build, if there is one."""
import os
import pathlib
import subprocess
import sys

import pytest

import tenon

HERE = "TENON_CUDA_LIBRARY" in os.environ
BUILDS = [pathlib.Path(tenon._core.__file__).absolute().parents[2], pathlib.Path(__file__).resolve().parents[2] / "build" / "release"]
EMULATOR = next((p for p in (b / "tests" / "cuda" / "libtenon_cuda_emulator.so" for b in BUILDS) if p.exists()), None)
on_a_device = pytest.mark.skipif(not HERE, reason="runs in a process of its own")
elsewhere = pytest.mark.skipif(HERE, reason="this is that process")


def is_emulated():
    return "emulator" in os.environ.get("TENON_CUDA_LIBRARY", "")


def run_on_the_emulated_library(file):
    if EMULATOR is None:
        pytest.skip("no emulated CUDA library was built")
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", file], capture_output=True, text=True,
                          env={**os.environ, "TENON_CUDA_LIBRARY": str(EMULATOR)})
    assert done.returncode == 0, done.stdout + done.stderr
