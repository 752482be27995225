"""The journal of an incomplete unit: which files are on the disk, one line for each batch."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from .durable import canonical_json, write_atomic
from .kinds import kind_of
from .marker import FileRecord

__all__ = ["append_journal", "read_journal", "remove_journal", "replace_journal"]

_NAME = "journal.jsonl"


def append_journal(unit: Path, records: Mapping[str, FileRecord]) -> None:
    """Enter files, by key, that are on the disk already; durable on return."""
    with _path(unit).open("ab") as journal:
        journal.write(_line(records))
        journal.flush()
        os.fsync(journal.fileno())


def replace_journal(unit: Path, records: Mapping[str, FileRecord]) -> None:
    """Write a journal of these files alone, in the place of any other."""
    write_atomic(_path(unit), _line(records))


def remove_journal(unit: Path) -> None:
    """Delete the journal, if there is one."""
    _path(unit).unlink(missing_ok=True)


def read_journal(unit: Path) -> dict[str, FileRecord]:
    """Return the journal's metadata of arrays and chunks, by key.

    A last line torn by a crash, and anything else unreadable, counts as absent.
    """
    path, kind = _path(unit), kind_of(unit)
    found: dict[str, FileRecord] = {}
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            for key, (size, digest) in json.loads(line).items():
                if key in kind.shared or kind.chunk_frame(key) is not None:
                    found[key] = FileRecord(bytes=size, sha256=digest)
    return found


def _path(unit: Path) -> Path:
    return unit / kind_of(unit).records / _NAME


def _line(records: Mapping[str, FileRecord]) -> bytes:
    return canonical_json({key: [record.bytes, record.sha256] for key, record in records.items()}) + b"\n"
