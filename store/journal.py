"""The journal of an incomplete unit: which files are on the disk, one line for each batch."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from .durable import canonical_json, write_atomic
from .layout import ARRAY, RECORDS, chunk_frame
from .marker import FileRecord

__all__ = ["append_journal", "read_journal", "remove_journal", "replace_journal"]

_NAME = f"{RECORDS}/journal.jsonl"


def append_journal(unit: Path, records: Mapping[str, FileRecord]) -> None:
    """Enter files, by key, that are on the disk already; durable on return."""
    with (unit / _NAME).open("ab") as journal:
        journal.write(_line(records))
        journal.flush()
        os.fsync(journal.fileno())


def replace_journal(unit: Path, records: Mapping[str, FileRecord]) -> None:
    """Write a journal of these files alone, in the place of any other."""
    write_atomic(unit / _NAME, _line(records))


def remove_journal(unit: Path) -> None:
    """Delete the journal, if there is one."""
    (unit / _NAME).unlink(missing_ok=True)


def read_journal(unit: Path) -> dict[str, FileRecord]:
    """Return the journal's array metadata and chunks, by key.

    A last line torn by a crash, and anything else unreadable, counts as absent.
    """
    path = unit / _NAME
    found: dict[str, FileRecord] = {}
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            for key, (size, digest) in json.loads(line).items():
                if key == ARRAY or chunk_frame(key) is not None:
                    found[key] = FileRecord(bytes=size, sha256=digest)
    return found


def _line(records: Mapping[str, FileRecord]) -> bytes:
    return canonical_json({key: [record.bytes, record.sha256] for key, record in records.items()}) + b"\n"
