"""Packages that are not installed: a folder on the path with a module and its entry points."""

import sys
from pathlib import Path

import pytest


def offer(
    folder: Path, module: str, source: str, group: str, name: str, attribute: str, patch: pytest.MonkeyPatch
) -> None:
    """Put a module on the path, and register an attribute of it as an entry point."""
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / f"{module}.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:{attribute}\n")
    patch.syspath_prepend(str(folder))
    patch.delitem(sys.modules, module, raising=False)
