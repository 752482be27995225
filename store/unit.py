"""Reading a unit: its description, its provenance and its features, lazily, every byte checked against the marker."""

import asyncio
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

from .durable import explain_os_errors
from .errors import CacheError, CorruptUnitError
from .layout import ARRAY, FEATURES, GROUP, RECORDS, chunk_key
from .marker import MARKER, FileRecord, Marker, checksum, read_marker
from .request import FeatureRequest, UnitSpec

if TYPE_CHECKING:
    from zarr.abc.store import Store

__all__ = ["FrameReader", "Unit", "open_store"]


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
            raise CorruptUnitError(_damage(self._unit, key, "is missing"))
        actual = await asyncio.to_thread(lambda: checksum(content.as_buffer_like()))
        if actual != promised.sha256:
            raise CorruptUnitError(_damage(self._unit, key, "is not what was written (its checksum differs)"))
        return content


def _damage(unit: Path, key: str, what: str) -> str:
    return (
        f"{unit / key} {what}: the unit is damaged, or was replaced or removed while it was read. "
        "Run `ted cache verify --repair`, then the same `ted extract` again: it redoes only what is damaged"
    )


class FrameReader:
    """An array-like view of a unit's features that dask can slice, pickle and send to other processes.

    Every chunk is checked against the marker that was read when the unit was opened, so that a unit that is
    overwritten meanwhile gives an error, or equal values, and never a mixture.
    """

    ndim = 4

    def __init__(self, unit: Path, marker: Marker) -> None:
        self._unit = unit
        self._marker = marker
        self.shape: tuple[int, int, int, int] = self._array.shape
        self.dtype: np.dtype[Any] = self._array.dtype

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_array"}

    @cached_property
    def _array(self) -> Any:
        store = _CheckedStore(open_store(self._unit), self._unit, self._marker.files)
        with explain_os_errors(f"read {self._unit}"):
            return zarr.open_array(store, path=FEATURES, mode="r", zarr_format=3)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return np.asarray(self._array[index])


class Unit:
    """One complete feature unit: a video's features from one backbone at one timestep and tap.

    Parameters
    ----------
    folder
        The unit's folder.

    Raises
    ------
    IncompleteUnitError
        When extraction has not finished it.
    CorruptUnitError
        When its files contradict its marker. Features are checked when they are read.
    SchemaError
        When it was written in a newer format.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marker = read_marker(folder)
        self.spec = read_spec(folder, self.marker)
        frames = range(len(self.spec.frame_names))
        # A chunk that is absent from the marker would be read unchecked, or as fill values.
        if self.marker.files.keys() != {GROUP, ARRAY, *map(chunk_key, frames)}:
            raise CorruptUnitError(_damage(folder, MARKER, "does not promise exactly the frames of the unit"))
        self._reader = FrameReader(folder, self.marker)
        if self._reader.shape[0] != len(frames):
            raise CorruptUnitError(_damage(folder, GROUP, "names another number of frames than are stored"))

    def __repr__(self) -> str:
        return f"<Unit {self.spec.label} {self.shape}>"

    @property
    def request(self) -> FeatureRequest:
        """What determined the features."""
        return self.spec.request

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(frame, y, x, channel)."""
        return self._reader.shape

    @property
    def grid(self) -> tuple[int, int]:
        """(y, x) cells of the feature grid."""
        return self.shape[1], self.shape[2]

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) in pixels of the frames that the UNet saw."""
        return self.request.frame_size

    @property
    def content_hash(self) -> str:
        """SHA-256 of the unit's content: the name under which dask knows its features."""
        return self.marker.content_hash

    @property
    def features(self) -> da.Array:
        """The features, read lazily: (frame, y, x, channel) float16, one chunk a frame.

        The name of the dask array derives from the content: dask's own token ignores it, and would serve stale reads
        when a unit is replaced.
        """
        return da.from_array(
            self._reader,
            chunks=(1, *self.shape[1:]),
            name=f"ted-features-{self.content_hash}",
            asarray=False,
            meta=np.empty((0,) * 4, dtype=self._reader.dtype),
        )

    @property
    def run_record(self) -> dict[str, Any]:
        """Host, versions, device, batch size and timings of the extraction; empty if it was not kept."""
        try:
            record = json.loads((self.folder / RECORDS / "run.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    @property
    def provenance(self) -> dict[str, Any]:
        """How these features were made: the request, timestep and tap, the content's hash, and the run record."""
        return self.spec.to_json() | {"content_hash": self.content_hash, "run": self.run_record}


def read_spec(folder: Path, marker: Marker | None = None) -> UnitSpec:
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
        raise CorruptUnitError(_damage(folder, GROUP, f"cannot be read ({error})")) from error
    spec = UnitSpec.from_json(values, folder)
    if marker is not None:
        promised = marker.files.get(GROUP)
        if promised is None or checksum(text) != promised.sha256 or spec.request.digest() != marker.digest:
            raise CorruptUnitError(_damage(folder, GROUP, "is not what was written (its checksum differs)"))
    return spec
