"""Fixtures that all tests share."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real data and of fixtures computed by the peers' own code, beside the project's checkout."""
    folder = Path(__file__).parents[2] / "shared"
    if not (folder / "fixtures").is_dir():
        pytest.skip(f"needs the shared fixtures at {folder}")
    return folder


def pytest_sessionstart() -> None:
    """Begin on one thread, before any fixture: features made on two have other last bits than those made later."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _few_threads() -> None:
    """Keep small tensors on one thread: spreading them costs more than it gains, much more on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_sync() -> Iterator[None]:
    """Do not wait for the disk, tens of thousands of times: what is there after a crash of the machine, none can see.

    That files are synced, and when, is tested in `tests/store/test_durable.py`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 400 kB, for as root no permission denies writing; skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
