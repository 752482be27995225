"""Making a unit's groups and arrays, as docs/reference/storage-format.md has them, and opening arrays for writing."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ZstdCodec
from zarr.core.array_spec import ArrayConfigParams

from .durable import sync_folder, write_atomic
from .layout import GROUP, SCHEMA_VERSION, ArrayLayout, video_folder
from .removal import discard
from .stored import Spec

__all__ = ["create_array", "make_groups", "open_array", "write_group"]

# Level 1: higher ones save 4 % of affinities at the most and take two to three times as long. Of rounded features, bits
# that are alike are put together first, which no compressor finds by itself; lz4 is then within 4 % of the smallest,
# and three times as fast (docs/reference/codecs.md).
_COMPRESSORS = {
    None: (),
    "zstd": (ZstdCodec(level=1),),
    "blosc": (BloscCodec(typesize=2, cname="lz4", clevel=5, shuffle="bitshuffle", blocksize=0),),
}

# write_empty_chunks is not persisted: without it a frame of fill values would vanish, so each open passes it.
_CONFIG: ArrayConfigParams = {"write_empty_chunks": True}


def open_array(unit: Path, layout: ArrayLayout) -> Any:
    """Open an array of a unit for writing."""
    opened = zarr.open_array(str(unit / layout.name), mode="r+", zarr_format=3)
    # Of an array that exists, `open_array` ignores the configuration that it is given.
    return zarr.Array(zarr.AsyncArray(opened.metadata, opened.store_path, config=_CONFIG))


def create_array(unit: Path, layout: ArrayLayout, shape: tuple[int, ...]) -> Any:
    """Create an array of a unit, of this shape (with the frames, if it has any), and open it for writing."""
    return zarr.create_array(
        store=str(unit / layout.name),
        shape=shape,
        chunks=(1, *shape[1:]) if layout.per_frame else shape,
        dtype=layout.dtype,
        fill_value=layout.fill_value,
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
    """Write the metadata of a group, unless it is there already and not to be replaced; see `write_atomic`."""
    path = folder / GROUP
    content = {"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"}
    if replace or not path.is_file():
        if path.is_dir():
            discard(path)
        write_atomic(path, json.dumps(content, indent=2).encode(), scratch=scratch)


def make_groups(root: Path, spec: Spec, *, scratch: Path | None = None) -> None:
    """Create the groups of a cache down to a unit, durably.

    Their content is fixed: to lose a race to create one is success. Temporary files are made in `scratch`, a unit's
    folder: in a group that many share, nobody could tell those that a crash has left.
    """
    video = video_folder(root, spec.dataset, spec.video)
    write_group(
        video,
        {"ted": {"schema_version": SCHEMA_VERSION, "dataset": spec.dataset, "video": spec.video}},
        scratch=scratch,
    )
    for group in list(spec.folder(root).relative_to(video).parents)[:-1]:
        write_group(video / group, {}, scratch=scratch)
        sync_folder(video / group)
    for folder in (video, video.parent, root):
        sync_folder(folder)
