"""The kinds of units: which arrays each is made of, and where its files lie, relative to the unit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .codecs import FLOAT16, FeatureCodec, parse_codec
from .errors import ConfigError, CorruptUnitError, Hint, SchemaError
from .layout import SCHEMA_VERSION, ArrayLayout, UnitKind, safe_name

__all__ = [
    "AFFINITIES",
    "FEATURES",
    "check_codec",
    "check_kind",
    "check_schema",
    "feature_kind",
    "kind_of",
]

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
        return feature_kind(check_codec(unit.name, unit))
    except SchemaError:  # the records of all codecs are in the same folder
        return FEATURES


def feature_kind(codec: FeatureCodec) -> UnitKind:
    """Return the kind of feature units that are stored with a codec."""
    maker = "extraction" if codec.family == FLOAT16.family else "conversion"
    return UnitKind(name="features", arrays=codec.arrays, maker=maker)


#: Feature units as extraction writes them.
FEATURES = feature_kind(FLOAT16)


def check_codec(name: Any, where: Path) -> FeatureCodec:
    """Return the codec of a name on disk; raise SchemaError for one that this version does not know."""
    try:
        if not isinstance(name, str) or safe_name(name) != name:  # a notation could name a file
            raise ConfigError(f"{name!r} is no name of a codec")
        return parse_codec(name)
    except ConfigError as error:
        raise SchemaError(
            f"{where} holds features stored as {name!r}, which this version does not know: upgrade ted-tracking, or "
            "install the plug-in that offers it"
        ) from error


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
