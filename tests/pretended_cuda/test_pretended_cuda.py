"""The CUDA paths on a machine without a GPU: `tests/test_cuda.py`, and commands, on a pretended device."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

#: A small part of `tests/test_cuda.py`; the rest takes longer and is run by hand.
_CHOSEN = "many-smooth-float16 or many_settings or decoded or on_pretended_cuda"


def test_the_cuda_paths_on_a_pretended_device() -> None:
    if shutil.which("g++") is None:
        pytest.skip("needs g++ to pretend a CUDA device")
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "tests.pretended_cuda", "-p", "no:cacheprovider"]
    files = ["tests/test_cuda.py", "tests/pipeline/on_pretended_cuda.py"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *files, "-k", _CHOSEN],
        cwd=Path(__file__).parents[2],
        env={name: value for name, value in environment.items() if not name.startswith("PYTEST")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
