"""Base classes of units of any kind: description, marker and arrays."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from .arrays import ArrayReader, damage
from .durable import canonical_json, parse_json, read_regular
from .fields import readable
from .layout import GROUP, SCHEMA_VERSION, UnitLayout, unit_path
from .marker import Marker, checksum, marker_key, read_marker


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
        """Build a spec from the result of `to_json` of the unit in a folder.

        Raises SchemaError when the schema is newer than this version, the kind or codec unknown, or a field missing or
        wrong; and CorruptUnitError when it describes another kind of unit than the folder's.
        """


SpecT = TypeVar("SpecT", bound=Spec)


@dataclass(frozen=True, kw_only=True)
class DigestSpec(ABC):
    """A description of units whose folders are named by kind and digest."""

    kind: str
    dataset: str
    video: str

    @abstractmethod
    def determining(self) -> dict[str, Any]:
        """Return all fields that determine the values, as JSON values."""

    @abstractmethod
    def fields(self) -> dict[str, Any]:
        """Return the fields of `to_json` that other kinds do not have."""

    @property
    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each array, by name."""

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON of `determining`, 64 hex digits."""
        return hashlib.sha256(canonical_json(self.determining())).hexdigest()

    @property
    def name(self) -> str:
        """Kind and begin of the digest: ``affinities@1a2b3c4d``."""
        return f"{self.kind}@{self.digest()[:8]}"

    @property
    def label(self) -> str:
        """Name for messages: ``davis/camel affinities@1a2b3c4d``."""
        return f"{self.dataset}/{self.video} {self.name}"

    def folder(self, root: Path) -> Path:
        """Return the unit's folder in a cache."""
        return unit_path(root, self.dataset, self.video, self.kind, self.digest()[:8])

    def to_json(self) -> dict[str, Any]:
        """Return the attribute ``ted`` of the unit's group (docs/reference/storage-format.md)."""
        named = {"kind": self.kind, "dataset": self.dataset, "video": self.video}
        return {"schema_version": SCHEMA_VERSION, **named, **self.fields(), "digest": self.digest()}


class StoredUnit(Generic[SpecT]):
    """A complete unit of any kind; each kind has its own subclass. Can be pickled.

    Parameters
    ----------
    folder
        The unit's folder.

    Raises
    ------
    IncompleteUnitError
        When it was not finished.
    CorruptUnitError
        When its files contradict its marker. Values are checked when they are read.
    SchemaError
        When it was written in a newer format, or by a plug-in (a kind or a codec) that is not installed here.
    """

    spec_type: ClassVar[Any]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marker = read_marker(folder)
        self.spec: SpecT = read_spec(folder, self.spec_type, self.marker)
        # A chunk that the marker does not list would be read unchecked, or as fill values.
        count, layout = self.spec.frame_count, self.spec.layout
        if self.marker.files.keys() != layout.files(count):
            raise damage(folder, marker_key(folder), "does not promise exactly the frames of the unit")
        self._readers = {array.name: ArrayReader(folder, self.marker, array) for array in layout.arrays}
        if any(self._readers[array.name].shape[0] != count for array in layout.frame_arrays):
            raise damage(folder, GROUP, "names another number of frames than are stored")
        shapes = self.spec.shapes if isinstance(self.spec, DigestSpec) else {}
        if any(self._readers[name].shape != shape for name, shape in shapes.items()):
            raise damage(folder, GROUP, "describes arrays of another shape than are stored")

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

    Raises CorruptUnitError when it cannot be read, or contradicts the marker, and SchemaError when it has a newer
    format, or a field has a wrong type or is out of range.
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
