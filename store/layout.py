"""Names and places on disk (docs/reference/storage-format.md): nothing a dataset says can point outside the cache."""

import hashlib
import re
from pathlib import Path

from .errors import ConfigError

__all__ = ["GROUP", "affinity_folder", "safe_name", "tap_name", "unit_folder", "video_folder"]

#: Zarr's metadata of a group or an array, in its folder. That of a unit's group carries the unit's description.
GROUP = "zarr.json"

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


def affinity_folder(root: Path, *, dataset: str, video: str, digest: str) -> Path:
    """Return the folder of an affinity unit; the digest's first eight characters name it, the whole is compared."""
    return video_folder(root, dataset, video) / "affinities" / digest[:8]
