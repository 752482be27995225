"""Claims as other processes leave them."""

import json
import os
from pathlib import Path
from typing import Any

from ted.store import owners

NAME = "features/ted/claim.json"

#: Changes to an owner that make it nobody: as if the number had been given to another process.
GONE = {"process_start": "0"}


def age(path: Path, seconds: float) -> None:
    """Make a file older than the file system's clock says now."""
    probe = path.with_name("probe")
    probe.touch()
    then = probe.stat().st_mtime - seconds
    probe.unlink()
    os.utime(path, (then, then))


def leave_claim(unit: Path, *, seconds: float = 0, **changes: Any) -> Path:
    """Leave the claim of another host's process, renewed so many seconds ago; None takes a key away."""
    owner = {"token": "t", **owners.this_process(), "host": "elsewhere"} | changes
    path = unit / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({key: value for key, value in owner.items() if value is not None}))
    age(path, seconds)
    return path


def litter(unit: Path) -> list[str]:
    return sorted(path.name for path in (unit / NAME).parent.iterdir() if path.name != "claim.json")
