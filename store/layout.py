"""Names and places on disk (docs/storage-format.md): nothing a dataset says can point outside the cache."""

import hashlib
import re
from pathlib import Path

from .errors import ConfigError

__all__ = [
    "ARRAY",
    "FEATURES",
    "GROUP",
    "RECORDS",
    "SCHEMA_VERSION",
    "chunk_frame",
    "chunk_key",
    "safe_name",
    "tap_name",
    "unit_folder",
    "video_folder",
]

#: Version of the on-disk format. A reader refuses a higher one.
SCHEMA_VERSION = 1

#: The array of a unit that holds its features.
FEATURES = "features"

#: Zarr's metadata of a unit's group, which carries the unit's description, and of its array, relative to the unit.
GROUP = "zarr.json"
ARRAY = f"{FEATURES}/zarr.json"

#: Folder of a unit's own records (marker, journal, claim, run), relative to the unit. It lies inside the array's
#: folder because Zarr readers list a group's members, and warn of files that are none, but not an array's.
RECORDS = f"{FEATURES}/ted"

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]|^[.-]")
_LONGEST = 120


def safe_name(name: str) -> str:
    """Turn any name into one that is a plain file name everywhere.

    Letters, digits and ``_ . -`` stay (``.`` and ``-`` not in front); every other byte of the UTF-8 form becomes
    ``%XX``, so that different names stay different. Names longer than 120 characters are cut and end in ``~`` and the
    first 16 hex digits of the name's SHA-256.

    Raises
    ------
    ConfigError
        For an empty name.
    """
    if not name:
        raise ConfigError("a dataset or video has an empty name; give it one")
    escaped = _UNSAFE.sub(
        lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogateescape")), name
    )
    if len(escaped) <= _LONGEST:
        return escaped
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{escaped[: _LONGEST - 17]}~{digest[:16]}"


def tap_name(tap: str) -> str:
    """Return a tap's name on disk: ``up_blocks[2]`` becomes ``up_blocks.2``, free of what a shell would expand."""
    return safe_name(tap.replace("[", ".").replace("]", ""))


def video_folder(root: Path, dataset: str, video: str) -> Path:
    """Return the folder of a video's Zarr hierarchy."""
    return root / safe_name(dataset) / f"{safe_name(video)}.zarr"


def unit_folder(
    root: Path, *, dataset: str, video: str, backbone: str, digest: str, timestep: int, tap: str, form: str
) -> Path:
    """Return the folder of a unit; the digest's first eight characters name it, the whole of it is compared."""
    return (
        video_folder(root, dataset, video)
        / f"{safe_name(backbone)}@{digest[:8]}"
        / f"t{timestep}"
        / tap_name(tap)
        / safe_name(form)
    )


def chunk_key(frame: int) -> str:
    """Return the key, relative to the unit, of the one chunk that holds a frame's features."""
    return f"{FEATURES}/c/{frame}/0/0/0"


def chunk_frame(key: str) -> int | None:
    """Return the frame whose chunk a key names, or None for the key of another file; the inverse of `chunk_key`."""
    found = re.fullmatch(rf"{FEATURES}/c/(\d+)/0/0/0", key)
    return int(found[1]) if found else None
