"""The completion marker: a fact that is written last, with a checksum of everything the unit is made of."""

import errno
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .durable import canonical_json, write_atomic
from .errors import CacheError, CorruptUnitError, Hint, IncompleteUnitError
from .kinds import check_schema, kind_of
from .layout import SCHEMA_VERSION

__all__ = [
    "FileRecord",
    "Marker",
    "checksum",
    "marker_key",
    "matches",
    "read_marker",
    "record_file",
    "remove_marker",
    "write_marker",
]


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
    """What a finished unit promises.

    Attributes
    ----------
    digest
        Digest of what the unit is of.
    files
        By path relative to the unit, every file whose content is promised: metadata and chunks.
    metadata
        Content of those that are metadata, from which a damaged one is restored; absent in units of earlier versions.
    """

    digest: str
    files: Mapping[str, FileRecord]
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def content_hash(self) -> str:
        """SHA-256 over the names and checksums of all files: equal exactly for equal content."""
        return checksum(canonical_json({path: record.sha256 for path, record in self.files.items()}))

    @property
    def total_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(record.bytes for record in self.files.values())


def marker_key(unit: Path) -> str:
    """Return the marker's place, relative to the unit."""
    return f"{kind_of(unit).records}/complete.json"


def record_file(path: Path) -> FileRecord:
    """Read a file and return its record."""
    data = path.read_bytes()
    return FileRecord(bytes=len(data), sha256=checksum(data))


def matches(path: Path, promised: FileRecord) -> bool:
    """Tell whether a file is there, may be read, and is what was promised, byte for byte."""
    try:
        return path.is_file() and record_file(path) == promised
    except PermissionError:
        return False


def write_marker(unit: Path, marker: Marker) -> None:
    """Write the marker durably; everything it promises must already be on the disk."""
    body = {
        "schema_version": SCHEMA_VERSION,
        "digest": marker.digest,
        "content_hash": marker.content_hash,
        "files": {path: [record.bytes, record.sha256] for path, record in marker.files.items()},
        "metadata": dict(marker.metadata),
    }
    body["checksum"] = checksum(canonical_json(body))
    write_atomic(unit / marker_key(unit), json.dumps(body, indent=1, sort_keys=True).encode() + b"\n")


def read_marker(unit: Path) -> Marker:
    """Read a unit's marker.

    Raises
    ------
    IncompleteUnitError
        When there is none.
    SchemaError
        When it is of a newer format.
    CorruptUnitError
        When it is not as it was written.
    CacheError
        When the disk does not give it.
    """
    kind, path = kind_of(unit), unit / marker_key(unit)
    damaged = CorruptUnitError(
        f"the completion marker of {unit} is damaged", hint=Hint("remake", {"maker": kind.maker})
    )
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise IncompleteUnitError(
            f"{unit} is not complete: its {kind.maker} was interrupted or is still running",
            hint=Hint("resume", {"maker": kind.maker}),
        ) from None
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.ELOOP):
            raise damaged from error
        # Says nothing about what the marker holds.
        raise CacheError(f"cannot read {path}: {error.strerror}") from error
    try:
        body = json.loads(text)
        if isinstance(body["schema_version"], int):
            check_schema(body["schema_version"], unit)
        promised = body.pop("checksum")
        files = {path: FileRecord(bytes=size, sha256=digest) for path, (size, digest) in body["files"].items()}
        if promised != checksum(canonical_json(body)):
            raise damaged
        marker = Marker(digest=body["digest"], files=files, metadata=body.get("metadata", {}))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged from error
    return marker


def remove_marker(unit: Path) -> None:
    """Withdraw the promise: the unit counts as incomplete from here on."""
    (unit / marker_key(unit)).unlink(missing_ok=True)
