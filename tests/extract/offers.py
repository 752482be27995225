"""Simulate entry points of installed packages."""

from pathlib import Path

import pytest


def offer(group: str, name: str, value: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``importlib.metadata`` find an entry point, in this process and its child processes."""
    installed = folder / "site" / "foreign-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
    monkeypatch.syspath_prepend(installed.parent)
