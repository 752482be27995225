"""Reading what all units have: description, marker and arrays, every byte of them checked against the marker."""

import asyncio
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

from .durable import explain_os_errors
from .errors import CacheError, CorruptUnitError, Hint
from .kinds import kind_of
from .layout import GROUP, ArrayLayout, UnitKind
from .marker import FileRecord, Marker, checksum, marker_key, read_marker

if TYPE_CHECKING:
    from zarr.abc.store import Store

__all__ = ["ArrayReader", "Spec", "SpecT", "StoredUnit", "open_store", "read_spec"]


class Spec(Protocol):
    """What the descriptions of all kinds of units have in common."""

    @property
    def kind(self) -> UnitKind:
        """What units of this kind have in common."""

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
        """SHA-256 of what determines the values, 64 hex digits."""

    def folder(self, root: Path) -> Path:
        """Folder in a cache."""

    def to_json(self) -> dict[str, Any]:
        """Return what the unit's group carries in its attribute ``ted``."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: Path) -> Self:
        """Build a spec from what `to_json` gave."""


SpecT = TypeVar("SpecT", bound=Spec)


def open_store(location: Path | str) -> "Store":
    """Open the store of a cache, or of a unit in it, for reading: the one place that knows what a location can be.

    Raises
    ------
    CacheError
        For a URL: only local folders are read so far.
    """
    if "://" in str(location):
        raise CacheError(f"{location} is a URL; a cache must be a local folder for now: copy it here first")
    return LocalStore(location, read_only=True)


class _CheckedStore(WrapperStore["Store"]):
    """A unit's store that compares what it reads with the marker: bit flips, truncation, swapped and lost chunks."""

    def __init__(self, store: "Store", unit: Path, files: Mapping[str, FileRecord]) -> None:
        super().__init__(store)
        self._unit = unit
        self._files = files

    def _with_store(self, store: "Store") -> "_CheckedStore":
        return type(self)(store, self._unit, self._files)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        promised = self._files.get(key)
        if promised is None:
            return await super().get(key, prototype, byte_range)
        if byte_range is not None:
            raise CorruptUnitError(f"{self._unit / key}: a part of a checksummed file was asked for")
        with explain_os_errors(f"read {self._unit / key}"):
            content = await super().get(key, prototype)
        if content is None:
            raise _damage(self._unit, key, "is missing")
        actual = await asyncio.to_thread(lambda: checksum(content.as_buffer_like()))
        if actual != promised.sha256:
            raise _damage(self._unit, key, "is not what was written (its checksum differs)")
        return content


class ArrayReader:
    """An array-like view of a unit's array that dask can slice, pickle and send to other processes.

    Every chunk is checked against the marker that was read when the unit was opened, so that a unit that is
    overwritten meanwhile gives an error, or equal values, and never a mixture.
    """

    def __init__(self, unit: Path, marker: Marker, layout: ArrayLayout) -> None:
        self._unit = unit
        self._marker = marker
        self._name = layout.name
        self.ndim = len(layout.dimensions)
        self.shape: tuple[int, ...] = self._array.shape
        self.dtype: np.dtype[Any] = self._array.dtype

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_array"}

    @cached_property
    def _array(self) -> Any:
        store = _CheckedStore(open_store(self._unit), self._unit, self._marker.files)
        with explain_os_errors(f"read {self._unit}"):
            return zarr.open_array(store, path=self._name, mode="r", zarr_format=3)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return np.asarray(self._array[index])


class StoredUnit(Generic[SpecT]):
    """A complete unit of any kind; see the classes of the kinds."""

    def __init__(self, folder: Path, spec_type: type[SpecT]) -> None:
        self.folder = folder
        self.marker = read_marker(folder)
        self.spec = read_spec(folder, spec_type, self.marker)
        # A chunk that is absent from the marker would be read unchecked, or as fill values.
        count, kind, promised = self.spec.frame_count, self.spec.kind, self.marker.files.keys()
        if promised != kind.files(count):
            raise self._damage(marker_key(folder), "does not promise exactly the frames of the unit")
        self._readers = {array.name: ArrayReader(folder, self.marker, array) for array in kind.arrays}
        if any(self._readers[array.name].shape[0] != count for array in kind.arrays if array.per_frame):
            raise self._damage(GROUP, "names another number of frames than are stored")

    def _damage(self, key: str, what: str) -> CorruptUnitError:
        return _damage(self.folder, key, what)

    @property
    def content_hash(self) -> str:
        """SHA-256 of the unit's content: equal exactly for equal files."""
        return self.marker.content_hash

    @property
    def run_record(self) -> dict[str, Any]:
        """Host, versions, device, settings and timings of the run that finished it; empty if it was not kept."""
        try:
            record = json.loads((self.folder / self.spec.kind.records / "run.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    @property
    def provenance(self) -> dict[str, Any]:
        """How the unit was made: its description, the hash of its content, and the run record."""
        return self.spec.to_json() | {"content_hash": self.content_hash, "run": self.run_record}


def read_spec(folder: Path, spec_type: type[SpecT], marker: Marker | None = None) -> SpecT:
    """Read a unit's description from its group's attributes, and compare it with the unit's marker if there is one.

    Raises
    ------
    CorruptUnitError
        When it cannot be read, or is not what the marker promises.
    SchemaError
        When it is of a newer format.
    """
    try:
        text = (folder / GROUP).read_bytes()
        values = json.loads(text)["attributes"]["ted"]
        if not isinstance(values, dict):
            raise TypeError("the attribute `ted` is no mapping")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damage(folder, GROUP, f"cannot be read ({error})") from error
    spec = spec_type.from_json(values, folder)
    if marker is not None:
        promised = marker.files.get(GROUP)
        if promised is None or checksum(text) != promised.sha256 or spec.digest() != marker.digest:
            raise _damage(folder, GROUP, "is not what was written (its checksum differs)")
    return spec


def _damage(unit: Path, key: str, what: str) -> CorruptUnitError:
    return CorruptUnitError(
        f"{unit / key} {what}: the unit is damaged, or was replaced or removed while it was read",
        hint=Hint("repair", {"maker": kind_of(unit).maker}),
    )
