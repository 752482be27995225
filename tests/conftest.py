"""Fixtures that all tests share."""

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
