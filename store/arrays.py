"""A unit's groups and arrays: creating, writing, and reading with every byte checked against the marker."""

import asyncio
import json
import math
import stat
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import ByteRequest
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ZstdCodec
from zarr.core.array_spec import ArrayConfigParams
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

from .artifacts.registry import layout_at
from .durable import explain_os_errors, sync_folder, write_atomic
from .errors import CacheError, CorruptUnitError, Hint
from .layout import GROUP, SCHEMA_VERSION, ArrayLayout
from .marker import FileRecord, Marker, checksum
from .removal import discard

if TYPE_CHECKING:
    from zarr.abc.store import Store

    from .stored import Spec

# zstd for affinities: higher levels save at most 4 % and take two to three times as long. blosc for rounded features:
# shuffling groups their equal bits, which makes them compressible; lz4 is then within 4 % of the smallest size, and
# three times as fast (docs/evidence/codec-errors.md).
_COMPRESSORS = {
    None: (),
    "zstd": (ZstdCodec(level=1),),
    "blosc": (BloscCodec(typesize=2, cname="lz4", clevel=5, shuffle="bitshuffle", blocksize=0),),
}

_CRC32C_BYTES = 4

# Zarr does not store write_empty_chunks, so each open passes it: otherwise frames of fill values would not be written.
_CONFIG: ArrayConfigParams = {"write_empty_chunks": True}


def damage(unit: Path, key: str, what: str) -> CorruptUnitError:
    """Return the error for a damaged file of a unit; `what` continues the sentence that its path begins."""
    return CorruptUnitError(
        f"{unit / key} {what}: the unit is damaged, or was replaced or removed while it was read",
        hint=Hint("repair", {"maker": layout_at(unit).maker}),
    )


def open_array(unit: Path, layout: ArrayLayout) -> Any:
    """Open an array of a unit for writing."""
    opened = zarr.open_array(str(unit / layout.name), mode="r+", zarr_format=3)
    # `open_array` ignores the configuration of an array that exists.
    return zarr.Array(zarr.AsyncArray(opened.metadata, opened.store_path, config=_CONFIG))


def create_array(unit: Path, layout: ArrayLayout, shape: tuple[int, ...]) -> Any:
    """Create an array of this shape (with the frames, if it has any), and open it for writing."""
    fill = layout.fill_value
    if fill is None:
        fill = np.nan if layout.dtype.startswith("float") else 0
    return zarr.create_array(
        store=str(unit / layout.name),
        shape=shape,
        chunks=layout.chunk_shape(shape),
        dtype=layout.dtype,
        fill_value=fill,
        filters=None,
        serializer=BytesCodec(endian="little"),
        compressors=[*_COMPRESSORS[layout.compressor], Crc32cCodec()],
        dimension_names=layout.dimensions,
        zarr_format=3,
        config=_CONFIG,
    )


def write_group(
    folder: Path, attributes: Mapping[str, Any], *, replace: bool = False, scratch: Path | None = None
) -> None:
    """Write a group's metadata with `write_atomic`; leave an existing file alone unless it is to be replaced."""
    path = folder / GROUP
    content = {"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"}
    if replace or not path.is_file():
        if path.is_dir():
            discard(path)
        write_atomic(path, json.dumps(content, indent=2).encode(), scratch=scratch)


def make_groups(root: Path, spec: "Spec", *, scratch: Path) -> None:
    """Create the groups of a cache down to a unit, durably.

    Processes may create the same group at the same time, since its content is fixed. Temporary files go to `scratch`, a
    folder of this process: in a shared group, no process could tell which files a crash has left.
    """
    folder = spec.folder(root)
    video = root.joinpath(*folder.relative_to(root).parts[:2])
    about = {"schema_version": SCHEMA_VERSION, "dataset": spec.dataset, "video": spec.video}
    write_group(video, {"ted": about}, scratch=scratch)
    for group in list(folder.relative_to(video).parents)[:-1]:
        write_group(video / group, {}, scratch=scratch)
        sync_folder(video / group)
    for parent in (video, video.parent, root):
        sync_folder(parent)


def open_store(location: Path | str) -> "Store":
    """Open the store of a cache, or of a unit in it, for reading. No other code interprets a location.

    Raises CacheError for a URL: only local folders can be read.
    """
    if "://" in str(location):
        raise CacheError(f"{location} is a URL; a cache must be a local folder: copy it here first")
    return LocalStore(location, read_only=True)


class _CheckedStore(WrapperStore["Store"]):
    """A unit's Zarr store that checks every file against the marker: size, checksum, existence."""

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
        path = self._unit / key
        if byte_range is not None:
            raise CorruptUnitError(f"{path}: a part of a checksummed file was asked for")
        changed = damage(self._unit, key, "is not what was written (its checksum differs)")
        with explain_os_errors(f"read {path}"):
            try:
                found = path.stat()
                if not stat.S_ISREG(found.st_mode) or found.st_size != promised.bytes:  # a pipe would block
                    raise changed
                content = await super().get(key, prototype)
            except (FileNotFoundError, NotADirectoryError):
                content = None
        if content is None:
            raise damage(self._unit, key, "is missing")
        if await asyncio.to_thread(lambda: checksum(content.as_buffer_like())) != promised.sha256:
            raise changed
        return content


class ArrayReader:
    """A lazy reader of one array of a unit, which dask can slice, pickle and send to other processes.

    Every chunk is checked against the marker as it was when the unit was opened. If the unit is overwritten later,
    reading returns equal values or raises an error; it never mixes old and new values.
    """

    def __init__(self, unit: Path, marker: Marker, layout: ArrayLayout) -> None:
        self._unit = unit
        self._marker = marker
        self._layout = layout
        self.ndim = len(layout.dimensions)
        self.shape: tuple[int, ...] = self._array.shape
        self.dtype: np.dtype[Any] = self._array.dtype

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_array"}

    @cached_property
    def _array(self) -> Any:
        store = _CheckedStore(open_store(self._unit), self._unit, self._marker.files)
        wrong = damage(self._unit, self._layout.metadata, "does not describe the array that belongs here")
        try:
            with explain_os_errors(f"read {self._unit}"):
                array = zarr.open_array(store, path=self._layout.name, mode="r", zarr_format=3)
        except CacheError:
            raise
        except Exception as error:  # zarr raises many kinds of errors for foreign metadata
            raise wrong from error
        as_laid_out = (
            array.dtype == np.dtype(self._layout.dtype)
            and getattr(array.metadata, "dimension_names", None) == self._layout.dimensions
            and getattr(array.metadata.chunk_grid, "chunk_shape", None) == self._layout.chunk_shape(array.shape)
        )
        if not as_laid_out:
            raise wrong
        if self._layout.compressor is None:
            expected = math.prod(self._layout.chunk_shape(array.shape)) * array.dtype.itemsize + _CRC32C_BYTES
            keys = map(self._layout.chunk_key, range(array.shape[0] if self._layout.per_frame else 1))
            if any(key in self._marker.files and self._marker.files[key].bytes != expected for key in keys):
                raise wrong
        return array

    def __getitem__(self, index: Any) -> NDArray[Any]:
        try:
            return np.asarray(self._array[index])
        except (ValueError, RuntimeError, MemoryError) as error:  # from a codec that cannot decode the chunk
            raise damage(self._unit, self._layout.chunks, f"cannot be decoded ({error})") from error
