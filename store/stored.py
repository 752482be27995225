"""Base classes of units of any kind: description, marker and arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from .arrays import ArrayReader, damage
from .durable import parse_json, read_regular
from .fields import readable
from .layout import GROUP, UnitLayout
from .marker import Marker, checksum, marker_key, read_marker

__all__ = ["Spec", "SpecT", "StoredUnit", "read_spec"]


class Spec(Protocol):
    """Interface of the descriptions of all kinds of units."""

    @property
    def kind(self) -> str:
        """Name of the kind: ``"features"``, ``"affinities"``, or a plug-in's."""

    @property
    def layout(self) -> UnitLayout:
        """Arrays of the unit, and where its files lie."""

    @property
    def dataset(self) -> str:
        """Real name of the dataset."""

    @property
    def video(self) -> str:
        """Real name of the video."""

    @property
    def frame_count(self) -> int:
        """Number of frames."""

    @property
    def label(self) -> str:
        """Name for messages."""

    def digest(self) -> str:
        """Return the SHA-256 of all fields that determine the values, 64 hex digits."""

    def folder(self, root: Path) -> Path:
        """Return the unit's folder in a cache."""

    def columns(self) -> dict[str, Any]:
        """Return this unit's own columns in a list of units, beside dataset, video, frames and state."""

    def to_json(self) -> dict[str, Any]:
        """Return the attribute ``ted`` of the unit's group."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: Path) -> Self:
        """Build a spec from the result of `to_json`; check type and range of all fields."""


SpecT = TypeVar("SpecT", bound=Spec)


class StoredUnit(Generic[SpecT]):
    """A complete unit of any kind; each kind has its own subclass."""

    def __init__(self, folder: Path, spec_type: type[SpecT]) -> None:
        self.folder = folder
        self.marker = read_marker(folder)
        self.spec = read_spec(folder, spec_type, self.marker)
        # A chunk that the marker does not list would be read unchecked, or as fill values.
        count, layout = self.spec.frame_count, self.spec.layout
        if self.marker.files.keys() != layout.files(count):
            raise damage(folder, marker_key(folder), "does not promise exactly the frames of the unit")
        self._readers = {array.name: ArrayReader(folder, self.marker, array) for array in layout.arrays}
        if any(self._readers[array.name].shape[0] != count for array in layout.frame_arrays):
            raise damage(folder, GROUP, "names another number of frames than are stored")

    @property
    def content_hash(self) -> str:
        """SHA-256 of the unit's content; equal if and only if the files are equal."""
        return self.marker.content_hash

    @property
    def run_record(self) -> dict[str, Any]:
        """Host, versions, device, settings and timings of the run that finished the unit; empty if they were lost."""
        try:
            record = parse_json(read_regular(self.folder / self.spec.layout.records / "run.json"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    @property
    def provenance(self) -> dict[str, Any]:
        """Origin of the unit: its description, the hash of its content, and the run record."""
        return self.spec.to_json() | {"content_hash": self.content_hash, "run": self.run_record}


def read_spec(folder: Path, spec_type: type[SpecT], marker: Marker | None = None) -> SpecT:
    """Read a unit's description from its group's attributes, and compare it with the unit's marker if there is one.

    Raises
    ------
    CorruptUnitError
        When it cannot be read, or contradicts the marker.
    SchemaError
        When it has a newer format, or a field has a wrong type or is out of range.
    """
    try:
        text = read_regular(folder / GROUP)
        values = parse_json(text)["attributes"]["ted"]
        if not isinstance(values, dict):
            raise TypeError("the attribute `ted` is no mapping")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damage(folder, GROUP, f"cannot be read ({error})") from error
    spec = spec_type.from_json(values, folder)
    with readable(folder):
        spec.folder(Path())
    if marker is not None:
        promised = marker.files.get(GROUP)
        if promised is None or checksum(text) != promised.sha256 or spec.digest() != marker.digest:
            raise damage(folder, GROUP, "is not what was written (its checksum differs)")
    return spec
