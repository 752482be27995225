"""Records of a unit: the completion marker, and the journal of an incomplete unit."""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .artifacts.registry import layout_at
from .durable import NO_FILE, canonical_json, parse_json, read_regular, write_atomic
from .errors import CacheError, CorruptUnitError, Hint, IncompleteUnitError
from .fields import check_schema
from .layout import SCHEMA_VERSION

_JOURNAL = "journal.jsonl"
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*", re.ASCII)


def checksum(data: bytes | bytearray | memoryview) -> str:
    """Return the SHA-256 of bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """Size in bytes and SHA-256 of one file of a unit."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Marker:
    """Completion marker: records of all files of a complete unit. It is written last."""

    digest: str  # digest of the unit's description
    files: Mapping[str, FileRecord]  # record of every file (metadata and chunks), by its path relative to the unit
    #: Content of the metadata files, from which damaged ones are restored. Units of earlier versions lack it.
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def content_hash(self) -> str:
        """SHA-256 over the names and checksums of all files; equal if and only if the content is equal."""
        return checksum(canonical_json({path: record.sha256 for path, record in self.files.items()}))

    @property
    def total_bytes(self) -> int:
        """Total size of all files in bytes."""
        return sum(record.bytes for record in self.files.values())


def marker_key(unit: Path) -> str:
    """Return the path of a unit's marker, relative to the unit."""
    return f"{layout_at(unit).records}/complete.json"


def record_file(path: Path) -> FileRecord:
    """Read a file and return its record."""
    data = read_regular(path, path.stat().st_size)
    return FileRecord(bytes=len(data), sha256=checksum(data))


def matches(path: Path, promised: FileRecord) -> bool:
    """Tell whether a file exists, can be read, and has the recorded size and checksum."""
    try:
        return path.stat().st_size == promised.bytes and record_file(path) == promised
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
    except OSError as error:
        if error.errno not in NO_FILE:  # an error of the disk, not of the file
            raise
        return False


def write_marker(unit: Path, marker: Marker) -> None:
    """Write the marker durably; all files that it lists must be on the disk already."""
    body = {
        "schema_version": SCHEMA_VERSION,
        "digest": marker.digest,
        "content_hash": marker.content_hash,
        "files": _listed(marker.files),
        "metadata": dict(marker.metadata),
    }
    body["checksum"] = checksum(canonical_json(body))
    write_atomic(unit / marker_key(unit), json.dumps(body, indent=1, sort_keys=True).encode() + b"\n")


def read_marker(unit: Path) -> Marker:
    """Read a unit's marker.

    Raises IncompleteUnitError when there is none, SchemaError when it has a newer format, CorruptUnitError when it is
    damaged, and CacheError when the disk cannot read it.
    """
    maker, path = layout_at(unit).maker, unit / marker_key(unit)
    damaged = CorruptUnitError(f"the completion marker of {unit} is damaged", hint=Hint("remake", {"maker": maker}))
    try:
        text = read_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        raise IncompleteUnitError(
            f"{unit} is not complete: its {maker} was interrupted or is still running",
            hint=Hint("resume", {"maker": maker}),
        ) from None
    except OSError as error:
        if error.errno in NO_FILE:
            raise damaged from error
        # An error of the disk, not of the marker.
        raise CacheError(f"cannot read {path}: {error.strerror}") from error
    try:
        body = parse_json(text)
        if isinstance(body["schema_version"], int):
            check_schema(body["schema_version"], unit)
        promised = body.pop("checksum")
        if promised != checksum(canonical_json(body)) or not all(map(_KEY.fullmatch, body["files"])):
            raise damaged
        metadata = body.get("metadata", {})
        if not all(isinstance(text, str) for text in metadata.values()):
            raise damaged
        return Marker(digest=body["digest"], files=_records(body["files"]), metadata=metadata)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged from error


def remove_marker(unit: Path) -> None:
    """Delete the marker, which makes the unit incomplete."""
    (unit / marker_key(unit)).unlink(missing_ok=True)


def append_journal(unit: Path, records: Mapping[str, FileRecord]) -> None:
    """Append the records of files, by key, which must be on the disk already; durable on return."""
    with _journal(unit).open("ab") as journal:
        journal.write(canonical_json(_listed(records)) + b"\n")
        journal.flush()
        os.fsync(journal.fileno())


def replace_journal(unit: Path, records: Mapping[str, FileRecord]) -> None:
    """Replace the journal by one with these files only."""
    write_atomic(_journal(unit), canonical_json(_listed(records)) + b"\n")


def remove_journal(unit: Path) -> None:
    """Delete the journal, if there is one."""
    _journal(unit).unlink(missing_ok=True)


def read_journal(unit: Path) -> dict[str, FileRecord]:
    """Return the journal's records of metadata and chunks, by key.

    Unreadable lines, such as a last line cut by a crash, are ignored; so is a journal that is not a regular file.
    """
    layout = layout_at(unit)
    found: dict[str, FileRecord] = {}
    content = b""
    try:
        content = read_regular(_journal(unit))
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
    for line in content.splitlines():
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            for key, record in _records(parse_json(line)).items():
                if key in layout.shared or layout.chunk_frame(key) is not None:
                    found[key] = record
    return found


def _journal(unit: Path) -> Path:
    return unit / layout_at(unit).records / _JOURNAL


def _listed(records: Mapping[str, FileRecord]) -> dict[str, list[Any]]:
    return {key: [record.bytes, record.sha256] for key, record in records.items()}


def _records(values: Mapping[str, Any]) -> dict[str, FileRecord]:
    found = {}
    for key, (size, digest) in values.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 0 or not isinstance(digest, str):
            raise TypeError("a file's record is its size and its checksum")
        found[key] = FileRecord(bytes=size, sha256=digest)
    return found
