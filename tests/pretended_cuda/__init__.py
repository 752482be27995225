"""A pretended CUDA device: tensors that say they are on a GPU, and compute on the CPU.

It shows on a machine without a GPU what a GPU would refuse, wait for, or get wrong:

- Operations on tensors of different devices, and conversions of GPU tensors to NumPy, raise the errors that they raise
  on a GPU.
- Each wait of the host for the device is counted by its cause: copies to the host, values read by Python, and
  operations whose output's shape depends on the data.
- An asynchronous copy to the host is filled with NaN (or the largest integer) until the host waits for the device. An
  asynchronous copy to the device fails if its source was changed before that.
- Memory is counted, with its peak; beyond `capacity`, allocations raise ``torch.OutOfMemoryError``.

It shows nothing about speed, rounding, or kernels that CUDA lacks.

As a plug-in of pytest it makes all tests of a session see the device::

    python -m pytest -n0 -p tests.pretended_cuda tests/test_cuda.py

and as a program it runs a script so, such as a benchmark or `ted`::

    python -m tests.pretended_cuda "$(which ted)" propagate walk.mp4 --mask first.png --device cuda

It needs a C++ compiler. `TED_PRETENDED_GPUS` in the environment is the number of devices, 1 by default.
"""

import ctypes
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_name("guard.cpp")


def _load_guard() -> None:
    """Compile and load what PyTorch's C++ code asks a backend for: before PyTorch itself, which keeps the answers."""
    if "torch" in sys.modules:
        raise ImportError("the pretended device must be imported before torch")
    home = Path(str(importlib.util.find_spec("torch").origin)).parent  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "guard.so"
        command = [
            "g++",
            "-std=c++20",
            "-O0",
            "-shared",
            "-fPIC",
            f"-I{home}/include",
            str(_SOURCE),
            "-o",
            str(library),
        ]
        command += [f"-L{home}/lib", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{home}/lib"]
        subprocess.run(command, check=True)
        ctypes.CDLL(str(library), mode=os.RTLD_GLOBAL)


def install() -> None:
    """Pretend the devices in this process, for good; before torch is imported."""
    _load_guard()
    from .device import install

    install(int(os.environ.get("TED_PRETENDED_GPUS", "1")))


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Pretend the device before any of the project's modules is imported."""
    install()
