"""The kinds of units: which arrays each is made of, and where its files lie, relative to the unit."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .errors import ConfigError, CorruptUnitError, Hint, SchemaError
from .forms import Form
from .layout import GROUP

__all__ = [
    "AFFINITIES",
    "FEATURES",
    "SCHEMA_VERSION",
    "ArrayLayout",
    "UnitKind",
    "check_form",
    "check_kind",
    "check_schema",
    "feature_kind",
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


FEATURES = UnitKind(
    name="features",
    arrays=(ArrayLayout(name="features", dimensions=("frame", "y", "x", "channel"), dtype="float16"),),
    maker="extraction",
)

#: Feature units of the other families of forms.
_FORMS = {
    "int8": UnitKind(
        name="features",
        arrays=(
            ArrayLayout(name="features", dimensions=("frame", "y", "x", "channel"), dtype="int8", fill_value=0),
            ArrayLayout(name="scale", dimensions=("frame", "y", "x"), dtype="float32"),
            ArrayLayout(name="channel_mean", dimensions=("channel",), dtype="float32"),
            ArrayLayout(name="channel_scale", dimensions=("channel",), dtype="float32"),
        ),
        maker="conversion",
    ),
    "bitround": UnitKind(
        name="features",
        arrays=(
            ArrayLayout(
                name="features", dimensions=("frame", "y", "x", "channel"), dtype="float16", compressor="blosc"
            ),
        ),
        maker="conversion",
    ),
    "pca": UnitKind(
        name="features",
        arrays=(
            ArrayLayout(name="features", dimensions=("frame", "y", "x", "component"), dtype="float16"),
            ArrayLayout(name="components", dimensions=("component", "channel"), dtype="float32"),
        ),
        maker="conversion",
    ),
}

AFFINITIES = UnitKind(
    name="affinities",
    arrays=(
        ArrayLayout(
            name="sources", dimensions=("frame", "pixel", "slot"), dtype="int32", compressor="zstd", fill_value=-1
        ),
        ArrayLayout(name="cosines", dimensions=("frame", "part", "pixel", "slot"), dtype="float32", compressor="zstd"),
        ArrayLayout(name="bounds", dimensions=("frame", "fusion", "pixel"), dtype="float32", compressor="zstd"),
    ),
    maker="search",
)


def kind_of(unit: Path) -> UnitKind:
    """Tell the kind of a unit by its place in the hierarchy of a video; elsewhere (a copy) by its arrays."""
    above = [folder.name for folder in unit.absolute().parents]
    if above[0] == "affinities" and above[1].endswith(".zarr"):
        return AFFINITIES
    if not (len(above) > 3 and above[3].endswith(".zarr")) and (unit / AFFINITIES.records).is_dir():
        return AFFINITIES
    try:
        return feature_kind(Form.parse(unit.name))
    except ConfigError:  # the records are where those of all forms are
        return FEATURES


def feature_kind(form: Form) -> UnitKind:
    """Return the kind of feature units of a form."""
    return _FORMS.get(form.family, FEATURES)


def check_form(name: Any, where: Path) -> Form:
    """Return the form of a name on disk; raise SchemaError for one that this version does not know."""
    try:
        form = Form.parse(str(name))
    except ConfigError as error:
        raise SchemaError(
            f"{where} holds features in the form {name!r}, which this version does not know: upgrade ted-tracking"
        ) from error
    return form


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
            f"{where} holds {values['kind']} where {kind.name} belong", hint=Hint("repair", {"maker": kind.maker})
        )
