"""Claims of other processes, for tests."""

import json
import os
from pathlib import Path
from typing import Any

from ted.store import owners

NAME = "features/ted/claim.json"

#: Changes to an owner after which no process matches it, as if its process id had been reused.
GONE = {"process_start": "0"}


def age(path: Path, seconds: float) -> None:
    """Set a file's modification time into the past of the file system's clock."""
    probe = path.with_name("probe")
    probe.touch()
    then = probe.stat().st_mtime - seconds
    probe.unlink()
    os.utime(path, (then, then))


def leave_claim(unit: Path, *, seconds: float = 0, **changes: Any) -> Path:
    """Write a claim of another host's process, renewed `seconds` ago; a change to None removes the key."""
    owner = {"token": "t", **owners.this_process(), "host": "elsewhere"} | changes
    path = unit / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({key: value for key, value in owner.items() if value is not None}))
    age(path, seconds)
    return path


def litter(unit: Path) -> list[str]:
    return sorted(path.name for path in (unit / NAME).parent.iterdir() if path.name != "claim.json")
