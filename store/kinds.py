"""The kinds of units: which arrays each is made of, and where its files lie, relative to the unit."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import CorruptUnitError, SchemaError
from .layout import GROUP

__all__ = [
    "AFFINITIES",
    "FEATURES",
    "SCHEMA_VERSION",
    "ArrayLayout",
    "UnitKind",
    "check_kind",
    "check_schema",
    "kind_of",
]

#: Version of the on-disk format. A reader refuses a higher one.
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ArrayLayout:
    """One array of a unit.

    Attributes
    ----------
    name
        Its folder.
    dimensions
        Names of its axes; the first is ``"frame"``, and a chunk is one frame.
    dtype
        Its type, stored little endian.
    compressed
        Whether chunks are compressed; all have a checksum.
    fill_value
        What Zarr readers show for a chunk that is lost.
    """

    name: str
    dimensions: tuple[str, ...]
    dtype: str
    compressed: bool
    fill_value: float = float("nan")

    @property
    def metadata(self) -> str:
        """Key of the array's metadata, relative to the unit."""
        return f"{self.name}/zarr.json"

    @property
    def chunks(self) -> str:
        """Folder of the array's chunks, relative to the unit."""
        return f"{self.name}/c"

    def chunk_key(self, frame: int) -> str:
        """Return the key, relative to the unit, of the one chunk that holds a frame."""
        return "/".join([self.chunks, str(frame), *"0" * (len(self.dimensions) - 1)])

    def chunk_frame(self, key: str) -> int | None:
        """Return the frame whose chunk a key names, or None for the key of another file."""
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
    making, maker
        For messages: what makes them, and the command that does.
    """

    name: str
    arrays: tuple[ArrayLayout, ...]
    making: str
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

    def chunk_keys(self, frame: int) -> tuple[str, ...]:
        """Return the keys of the chunks that hold a frame, one an array."""
        return tuple(array.chunk_key(frame) for array in self.arrays)

    def chunk_frame(self, key: str) -> int | None:
        """Return the frame whose chunk a key names, or None for the key of another file."""
        frames = (array.chunk_frame(key) for array in self.arrays)
        return next((frame for frame in frames if frame is not None), None)

    def files(self, frame_count: int) -> set[str]:
        """Return the keys of all files that a complete unit promises."""
        return {GROUP, *self.metadata}.union(*map(self.chunk_keys, range(frame_count)))


FEATURES = UnitKind(
    name="features",
    arrays=(
        ArrayLayout(name="features", dimensions=("frame", "y", "x", "channel"), dtype="float16", compressed=False),
    ),
    making="extraction",
    maker="`ted extract`",
)

AFFINITIES = UnitKind(
    name="affinities",
    arrays=(
        ArrayLayout(
            name="sources", dimensions=("frame", "pixel", "slot"), dtype="int32", compressed=True, fill_value=-1
        ),
        ArrayLayout(name="cosines", dimensions=("frame", "part", "pixel", "slot"), dtype="float32", compressed=True),
        ArrayLayout(name="bounds", dimensions=("frame", "fusion", "pixel"), dtype="float32", compressed=True),
    ),
    making="the search",
    maker="`ted propagate` or `ted sweep`",
)


def kind_of(unit: Path) -> UnitKind:
    """Tell the kind of a unit by its place in the hierarchy of a video; elsewhere (a copy) by its arrays."""
    above = [folder.name for folder in unit.absolute().parents]
    if above[0] == "affinities" and above[1].endswith(".zarr"):
        return AFFINITIES
    if len(above) > 3 and above[3].endswith(".zarr"):
        return FEATURES
    return AFFINITIES if (unit / AFFINITIES.records).is_dir() else FEATURES


def check_schema(version: Any, where: Path) -> None:
    """Raise SchemaError when a version of the on-disk format is newer than this program, or none at all."""
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise SchemaError(
            f"{where} is written in cache format {version}; this version reads up to {SCHEMA_VERSION}: "
            "upgrade ted-tracking"
        )


def check_kind(values: Mapping[str, Any], kind: UnitKind, where: Path) -> None:
    """Refuse the description of a unit of a newer format (SchemaError) or another kind (CorruptUnitError)."""
    check_schema(values.get("schema_version"), where)
    if values.get("kind", kind.name) != kind.name:
        raise CorruptUnitError(
            f"{where} holds {values['kind']} in a place for {kind.name}: run `ted cache verify --repair`, "
            f"then the same {kind.maker} again"
        )
