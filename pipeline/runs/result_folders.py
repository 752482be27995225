"""Folders of results: each appears whole, and says what it was made of."""

import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...store.errors import ConfigError

__all__ = ["atomic_folder", "has_same_result"]

_RECORD = "ted.json"


def has_same_result(folder: Path, record: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Tell whether a result that was made of the same is in a folder; False where it is to be made.

    Parameters
    ----------
    folder
        Of the result.
    record
        All that the result depends on, JSON-compatible.
    overwrite
        Whether any result is to be replaced.

    Raises
    ------
    ConfigError
        When a result of something else, or no result, is in the way.
    """
    if not overwrite and _read_record(folder) == record:
        return True
    if folder.exists() and not (folder / _RECORD).is_file():
        raise ConfigError(f"{folder} is in the way, and no result of `ted propagate`: give another --out, or move it")
    if folder.exists() and not overwrite:
        raise ConfigError(
            f"{folder} holds a result of other settings or features; give another --out, or --overwrite to replace it"
        )
    return False


@contextmanager
def atomic_folder(folder: Path, record: Mapping[str, Any]) -> Iterator[Path]:
    """Give a hidden folder that takes the final name, with its record, when the block succeeds; else it is removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    hidden = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.partial")
    hidden.mkdir()
    try:
        yield hidden
        (hidden / _RECORD).write_text(json.dumps(record, indent=1) + "\n")
        old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.old")
        if folder.exists():
            folder.rename(old)
        hidden.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _read_record(folder: Path) -> Any:
    try:
        return json.loads((folder / _RECORD).read_bytes())
    except (OSError, ValueError):
        return None
