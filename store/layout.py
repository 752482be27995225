"""Names and files on disk (docs/reference/storage-format.md). No dataset's name can lead out of the cache."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .errors import CacheError, ConfigError

#: Version of the on-disk format. A reader refuses a higher one.
SCHEMA_VERSION = 1

#: File with Zarr's metadata of a group or an array. That of a unit's group contains the unit's description.
GROUP = "zarr.json"

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]|^[.-]")
_LONGEST = 120


def safe_name(name: str) -> str:
    """Turn any name into a file name that is valid on every system.

    Letters, digits and ``_ . -`` stay (``.`` and ``-`` not in front). Every other byte of the UTF-8 form becomes
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
    """Return a tap's name on disk, without characters that shells expand: ``up_blocks.2`` for ``up_blocks[2]``."""
    return safe_name(tap.replace("[", ".").replace("]", ""))


def printable(text: str, keep: str = "") -> str:
    r"""Escape unprintable characters as Python does: ``\x1b``, ``\n``, ``\u202e``.

    Use it to print any name that comes from a file, folder or dataset. Otherwise a name could move the cursor, colour
    the terminal or fake a line of output.

    Parameters
    ----------
    text
        The text.
    keep
        Characters to leave unescaped, for example ``"\n"`` in a message of several lines.
    """
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in text
    )


def video_folder(root: Path, dataset: str, video: str) -> Path:
    """Return the folder of a video's Zarr hierarchy."""
    return root / safe_name(dataset) / f"{safe_name(video)}.zarr"


def unit_path(root: Path, dataset: str, video: str, *parts: str) -> Path:
    """Return a unit's folder in a cache: ``root/DATASET/VIDEO.zarr/PART/...``.

    Raises ConfigError if a part is not a plain file name, since the folder would lie elsewhere.
    """
    for name in parts:
        if name in ("", ".", "..") or "/" in name or os.sep in name or "\0" in name:
            raise ConfigError(f"{name!r} is no name of a folder: the unit would lie outside of its place in {root}")
    return video_folder(root, dataset, video).joinpath(*parts)


def check_inside(root: Path, folder: Path) -> None:
    """Raise CacheError unless a folder lies below a root and no folder between them is a link.

    Call it before changing, claiming or deleting a unit, so that no files of another folder are changed.
    """
    try:
        names = folder.relative_to(root).parts
    except ValueError as error:
        raise CacheError(f"{folder} does not lie in the cache {root}") from error
    path = root
    for name in names:
        path = path / name
        if name == ".." or path.is_symlink():
            raise CacheError(f"{path} is a link: nothing behind it is changed. Use the cache that it leads to")
    if not folder.resolve().is_relative_to(root.resolve()):
        raise CacheError(f"{folder} does not lie in the cache {root}")


@dataclass(frozen=True, kw_only=True)
class ArrayLayout:
    """One array of a unit.

    Attributes
    ----------
    name
        Name of its folder.
    dimensions
        Names of its axes. An array whose first axis is ``"frame"`` has one chunk per frame. Any other array is shared
        by all frames, and is one chunk.
    dtype
        Type of its values, stored little endian.
    compressor
        Lossless compressor of chunks; None for uncompressed chunks. Every chunk has a checksum.
    fill_value
        Value that Zarr readers show for a lost chunk; by default NaN, or 0 for integers.
    """

    name: str
    dimensions: tuple[str, ...]
    dtype: str
    compressor: Literal["zstd", "blosc"] | None = None
    fill_value: float | None = None

    @property
    def per_frame(self) -> bool:
        """Whether each frame has a chunk of its own."""
        return self.dimensions[0] == "frame"

    @property
    def metadata(self) -> str:
        """Key of the array's metadata, relative to the unit."""
        return f"{self.name}/{GROUP}"

    @property
    def chunks(self) -> str:
        """Folder of the array's chunks, relative to the unit."""
        return f"{self.name}/c"

    def chunk_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a chunk of an array with this shape."""
        return (1, *shape[1:]) if self.per_frame else shape

    def chunk_key(self, frame: int) -> str:
        """Return the key of a frame's chunk, relative to the unit; for a shared array, pass frame 0."""
        return "/".join([self.chunks, str(frame), *"0" * (len(self.dimensions) - 1)])

    def chunk_frame(self, key: str) -> int | None:
        """Return the frame whose chunk a key names, or None for the key of another file."""
        if not self.per_frame:
            return None
        found = re.fullmatch(rf"{re.escape(self.chunks)}/(\d+){'/0' * (len(self.dimensions) - 1)}", key, re.ASCII)
        return int(found[1]) if found else None


@dataclass(frozen=True, kw_only=True)
class UnitLayout:
    """Arrays of a unit, and where its files lie, relative to its folder."""

    arrays: tuple[ArrayLayout, ...]  # the arrays
    #: The process that makes such units, for messages and hints: ``"extraction"``, ``"conversion"``, ``"search"``, or a
    #: plug-in's word.
    maker: str

    @property
    def records(self) -> str:
        """Folder of the unit's own records (marker, journal, claim, run record), relative to the unit.

        It lies inside the first array's folder, because Zarr readers warn about foreign files in a group's folder but
        do not list an array's folder.
        """
        return f"{self.arrays[0].name}/ted"

    @property
    def metadata(self) -> frozenset[str]:
        """Keys of the arrays' metadata."""
        return frozenset(array.metadata for array in self.arrays)

    @property
    def frame_arrays(self) -> tuple[ArrayLayout, ...]:
        """The arrays with one chunk a frame."""
        return tuple(array for array in self.arrays if array.per_frame)

    @property
    def shared_arrays(self) -> tuple[ArrayLayout, ...]:
        """The arrays that all frames share."""
        return tuple(array for array in self.arrays if not array.per_frame)

    @property
    def shared(self) -> frozenset[str]:
        """Keys of the files that every frame needs: metadata of arrays, chunks of shared arrays."""
        return self.metadata | {array.chunk_key(0) for array in self.shared_arrays}

    def chunk_keys(self, frame: int) -> tuple[str, ...]:
        """Return the keys of a frame's chunks, one for each of `frame_arrays`."""
        return tuple(array.chunk_key(frame) for array in self.frame_arrays)

    def chunk_frame(self, key: str) -> int | None:
        """Return the frame whose chunk a key names, or None for the key of another file."""
        frames = (array.chunk_frame(key) for array in self.arrays)
        return next((frame for frame in frames if frame is not None), None)

    def files(self, frame_count: int) -> set[str]:
        """Return the keys of all files of a complete unit."""
        return {GROUP, *self.shared}.union(*map(self.chunk_keys, range(frame_count)))
