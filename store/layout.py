"""Names and places on disk (docs/reference/storage-format.md): nothing a dataset says can point outside the cache."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .errors import ConfigError

__all__ = [
    "GROUP",
    "SCHEMA_VERSION",
    "ArrayLayout",
    "UnitKind",
    "affinity_folder",
    "safe_name",
    "tap_name",
    "unit_folder",
    "video_folder",
]

#: Version of the on-disk format. A reader refuses a higher one.
SCHEMA_VERSION = 1

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


@dataclass(frozen=True, kw_only=True)
class ArrayLayout:
    """One array of a unit.

    Attributes
    ----------
    name
        Its folder.
    dimensions
        Names of its axes. Where the first is ``"frame"``, a chunk is one frame; else all frames share the array, and it
        is one chunk.
    dtype
        Its type, stored little endian.
    compressor
        What makes chunks smaller, without loss; all have a checksum.
    fill_value
        What Zarr readers show for a chunk that is lost.
    """

    name: str
    dimensions: tuple[str, ...]
    dtype: str
    compressor: Literal["zstd", "blosc"] | None = None
    fill_value: float = float("nan")

    @property
    def per_frame(self) -> bool:
        """Whether each frame has a chunk of its own."""
        return self.dimensions[0] == "frame"

    @property
    def metadata(self) -> str:
        """Key of the array's metadata, relative to the unit."""
        return f"{self.name}/zarr.json"

    @property
    def chunks(self) -> str:
        """Folder of the array's chunks, relative to the unit."""
        return f"{self.name}/c"

    def chunk_key(self, frame: int) -> str:
        """Return the key, relative to the unit, of the one chunk that holds a frame; of a shared array, of frame 0."""
        return "/".join([self.chunks, str(frame), *"0" * (len(self.dimensions) - 1)])

    def chunk_frame(self, key: str) -> int | None:
        """Return the frame whose chunk a key names, or None for the key of another file."""
        if not self.per_frame:
            return None
        found = re.fullmatch(rf"{self.chunks}/(\d+){'/0' * (len(self.dimensions) - 1)}", key, re.ASCII)
        return int(found[1]) if found else None


@dataclass(frozen=True, kw_only=True)
class UnitKind:
    """What all units of a kind have in common.

    Attributes
    ----------
    name
        What their descriptions give as ``kind``.
    arrays
        Their arrays.
    maker
        What makes them, for messages and hints: ``"extraction"``, ``"conversion"`` or ``"search"``.
    """

    name: str
    arrays: tuple[ArrayLayout, ...]
    maker: str

    @property
    def records(self) -> str:
        """Folder of a unit's own records (marker, journal, claim, run), relative to the unit.

        It lies inside the first array's folder because Zarr readers list a group's members, and warn of files that are
        none, but not an array's.
        """
        return f"{self.arrays[0].name}/ted"

    @property
    def metadata(self) -> frozenset[str]:
        """Keys of the arrays' metadata."""
        return frozenset(array.metadata for array in self.arrays)

    @property
    def shared_arrays(self) -> tuple[ArrayLayout, ...]:
        """The arrays that all frames share."""
        return tuple(array for array in self.arrays if not array.per_frame)

    @property
    def shared(self) -> frozenset[str]:
        """Keys of what gives all frames their meaning: the arrays' metadata, and the chunks of shared arrays."""
        return self.metadata | {array.chunk_key(0) for array in self.shared_arrays}

    def chunk_keys(self, frame: int) -> tuple[str, ...]:
        """Return the keys of the chunks that hold a frame, one for each array with frames."""
        return tuple(array.chunk_key(frame) for array in self.arrays if array.per_frame)

    def chunk_frame(self, key: str) -> int | None:
        """Return the frame whose chunk a key names, or None for the key of another file."""
        frames = (array.chunk_frame(key) for array in self.arrays)
        return next((frame for frame in frames if frame is not None), None)

    def files(self, frame_count: int) -> set[str]:
        """Return the keys of all files that a complete unit promises."""
        return {GROUP, *self.shared}.union(*map(self.chunk_keys, range(frame_count)))
