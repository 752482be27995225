"""Read mask files: PNG files of object numbers, for annotations and ground truth alike.

Stored values become object numbers in two steps. The file itself determines how its values are stored (`read_mask`):
palette indices or grey levels, of any bit depth, with or without alpha. The first mask of a video determines what 255
means in all of them (`MaskSequence`): one object if 255 is the only value, DAVIS' void otherwise.
"""

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from ...extract.truncation import image_is_truncated
from ...propagate.targets.object_ids import VOID, object_mask
from ...store.errors import LabelError

__all__ = ["VOID", "MaskSequence", "first_appearances", "is_binary", "read_annotated_mask", "read_mask"]

_log = logging.getLogger(__name__)

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GRAYSCALE = {0, 4}  # PNG colour types, without and with alpha
_PALETTE = 3

# Larger values than this are grey levels of a picture, not object numbers.
_MOST_COUNTED = 32
# Interpolation creates at least this many values that occur only in edges: for grey levels, and for smaller numbers,
# which may also be slivers of objects.
_FEWEST_EDGE_LEVELS, _FEWEST_EDGE_NUMBERS = 3, 10


def read_mask(path: Path, size: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
    """Read the object numbers of one file; 0 is the background.

    - Palette indices and grey levels are object numbers, whatever the colours. Where index 0 of a palette of two
      colours is not black and index 1 is, the black one is the background.
    - A mask with only 0 and the largest value of its bit depth is binary: the latter pixels become 255.
      Levels of 16 bits that are multiples of 257 are 8 bits, stretched.
    - If alpha varies, transparent pixels are background; if the colours show no object, the opaque pixels are one.
      Constant alpha, and an EXIF orientation, are ignored.

    Parameters
    ----------
    path
        A PNG file: palette (as DAVIS), grayscale, or colour with three equal channels.
    size
        (height, width) that the mask must have, the size of its frames.

    Returns
    -------
    numpy.ndarray
        (height, width), uint8, with `VOID` or binary 255 as stored.

    Raises
    ------
    LabelError
        When the file cannot be read, is truncated, is another kind of image, was interpolated, has values above 255,
        or has another size.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LabelError(f"cannot read mask {path}: {error.strerror}") from error
    if not data.startswith(_PNG_SIGNATURE):
        raise LabelError(f"mask {path} is not a PNG file; save masks as palette or grayscale PNG")
    if image_is_truncated(data):
        raise LabelError(f"mask {path} is truncated: the file ends before the image does; copy or export it again")
    try:
        with Image.open(io.BytesIO(data)) as image:
            values, palette = np.asarray(image), image.getpalette()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise LabelError(f"cannot decode mask {path}: {error}") from error
    # The header chunk comes first: bit depth and colour type are at fixed offsets.
    bit_depth, colour_type = data[24], data[25]
    if colour_type == _PALETTE:
        ids = _in_palette_order(values.astype(np.uint8), palette or [], path)
        _refuse_interpolation(ids, path)
    else:
        ids = _from_levels(values, bit_depth=bit_depth, colour_type=colour_type, path=path)
    if size is not None and ids.shape != size:
        raise LabelError(
            f"mask {path} is {ids.shape[1]}x{ids.shape[0]} pixels (width x height), but its frames are "
            f"{size[1]}x{size[0]}; save the mask at the size of the frames, without interpolation"
        )
    return ids


def is_binary(ids: npt.NDArray[np.uint8]) -> bool:
    """Return whether a mask holds 255 and no other number than 0: one object."""
    return set(_values(ids).tolist()) in ({VOID}, {0, VOID})


@dataclass(frozen=True)
class MaskSequence:
    """Masks of a video, all with the same meaning of 255."""

    paths: Mapping[str, Path]  # files by name of the frame, in order

    @cached_property
    def binary(self) -> bool:
        """Whether 255 is object 1 in all masks, because it is in the first."""
        first = next(iter(self.paths.values()), None)
        return first is not None and is_binary(read_mask(first))

    def read(self, frame: str, size: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
        """Return the object numbers of a frame, (height, width), uint8; void pixels are background. See `read_mask`."""
        return self.meant(read_mask(self.paths[frame], size))

    def meant(self, ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Replace 255, in place, in a mask of `read_mask`: by object 1 in binary masks, else by the background."""
        ids[ids == VOID] = 1 if self.binary else 0
        return ids


def read_annotated_mask(
    path: Path,
    size: tuple[int, int],
    object_ids: Sequence[int] | None = None,
    *,
    binary: bool | None = None,
) -> npt.NDArray[np.uint8]:
    """Read a mask that propagation starts from: object numbers 1 to 254, 0 elsewhere; log a warning about the others.

    Only the objects `object_ids` are annotated here, possibly missing in the mask; by default all, at least one. 255 is
    object 1 rather than void if `binary`, and by default in a mask without other numbers. Raises LabelError as
    `read_mask`, and, without `object_ids`, when the mask holds no object.
    """
    ids = read_mask(path, size)
    void = 0 if (is_binary(ids) if binary is None else binary) else int((ids == VOID).sum())
    if void:
        _log.warning(
            "%s: %d pixels of value %d are left out: beside other numbers, %d marks void pixels; give an object "
            "another number",
            path, void, VOID, VOID,
        )  # fmt: skip
    if void or object_ids is not None:
        ids[ids == VOID] = 0 if void else 1
    if object_ids is not None:
        ids[~np.isin(ids, object_ids)] = 0
        return ids
    try:
        return object_mask(ids)
    except LabelError as error:
        raise LabelError(f"{path}: {error}") from error


def first_appearances(paths: Mapping[str, Path]) -> dict[int, str]:
    """Return the name of the frame in which each object first appears, by its number, in the order of the frames.

    All masks are read; those that cannot be read raise LabelError.
    """
    stamps = tuple((name, path, *_stamp(path)) for name, path in paths.items())
    return dict(_first_appearances(stamps))


@lru_cache(maxsize=64)
def _first_appearances(stamps: tuple[tuple[str, Path, int, int], ...]) -> tuple[tuple[int, str], ...]:
    masks = MaskSequence({name: path for name, path, *_ in stamps})
    found: dict[int, str] = {}
    for name in masks.paths:
        for number in _values(masks.read(name)).tolist():
            if number:
                found.setdefault(number, name)
    return tuple(found.items())


def _values(ids: npt.NDArray[np.integer]) -> npt.NDArray[np.intp]:
    """Return the values that occur, rising, like `numpy.unique` but ten times as fast."""
    return np.flatnonzero(np.bincount(ids.ravel()))


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise LabelError(f"cannot read mask {path}: {error.strerror}") from error
    return status.st_mtime_ns, status.st_size


def _in_palette_order(ids: npt.NDArray[np.uint8], palette: Sequence[int], path: Path) -> npt.NDArray[np.uint8]:
    """Exchange indices if the palette says that another index than 0 is the black background."""
    colours = [tuple(palette[start : start + 3]) for start in range(0, len(palette), 3)]
    black = (0, 0, 0)
    used = [index for index in _values(ids).tolist() if index < len(colours)]
    others = [index for index in used if index and colours[index] == black]
    if not colours or colours[0] == black or 0 not in used or not others:
        return ids
    if len(used) == 2:
        return np.where(ids == 0, np.uint8(1), np.uint8(0))
    raise LabelError(
        f"mask {path} has a palette whose index 0 is not black, while index {others[0]} is: it is unclear which is the "
        "background; save the mask with the background as index 0"
    )


def _from_levels(
    values: npt.NDArray[np.generic], *, bit_depth: int, colour_type: int, path: Path
) -> npt.NDArray[np.uint8]:
    """Return object numbers from grey levels, or from colours that are grey."""
    alpha = None
    if values.ndim == 3:
        channels = 1 if colour_type in _GRAYSCALE else 3
        colour = values[..., :channels]
        if bit_depth > 8 or (colour != colour[..., :1]).any():
            raise LabelError(
                f"mask {path} is a colour image: save it as a palette or grayscale PNG of object numbers, or convert "
                f"one colour for each object by `ted mask VIDEO --from {path.parent}`"
            )
        alpha = values[..., channels] if values.shape[2] > channels else None
        values = colour[..., 0]
    levels = values.astype(np.int32)
    if colour_type in _GRAYSCALE and bit_depth in (2, 4):
        levels //= 255 // (2**bit_depth - 1)  # Pillow stretches these to 0..255
    levels = _as_eight_bits(levels, bit_depth)
    if alpha is not None and alpha.min() < alpha.max():
        levels = _through_alpha(levels, alpha, path)
    largest = int(levels.max())
    if largest > 255:
        raise LabelError(
            f"mask {path} has values up to {largest}, and object numbers are below 255: renumber its objects"
        )
    _refuse_interpolation(levels, path)
    return levels.astype(np.uint8)


def _as_eight_bits(levels: npt.NDArray[np.int32], bit_depth: int) -> npt.NDArray[np.int32]:
    """Scale a binary mask to 255, and 16-bit levels that were stretched from 8 bits back to 8 bits."""
    white = 2**bit_depth - 1
    if 1 < bit_depth != 8 and levels.max() == white and not ((levels > 0) & (levels < white)).any():
        return np.where(levels > 0, 255, 0).astype(np.int32)
    if bit_depth == 16 and levels.max() > 255 and not (levels % 257).any():
        return np.asarray(levels // 257)
    return levels


def _through_alpha(levels: npt.NDArray[np.int32], alpha: npt.NDArray[np.generic], path: Path) -> npt.NDArray[np.int32]:
    """Make transparent pixels background; if the opaque ones show no object, make them the object."""
    opaque = alpha == alpha.max()
    if bool(((alpha != 0) & ~opaque).any()):
        raise LabelError(
            f"mask {path} has an alpha channel with {len(np.unique(alpha))} levels: it is unclear which pixels belong "
            "to an object; save the mask without alpha, as a palette or grayscale PNG of object numbers"
        )
    seen = np.where(opaque, levels, 0)
    if not seen.any():
        seen = np.where(opaque, 255, 0)
    return seen.astype(np.int32)


def _refuse_interpolation(levels: npt.NDArray[np.integer], path: Path) -> None:
    """Raise LabelError for values that occur only in edges, between lower and higher values, as in a soft mask."""
    values = _values(levels)
    counted = not (values[values != VOID] > _MOST_COUNTED).any()
    fewest = _FEWEST_EDGE_NUMBERS if counted else _FEWEST_EDGE_LEVELS
    if len(values) < fewest + 2:
        return
    image = np.ascontiguousarray(levels, dtype=np.float32)
    kernel = np.ones((3, 3), dtype=np.uint8)
    low, high = cv2.erode(image, kernel), cv2.dilate(image, kernel)
    flat, between = low == high, (low < image) & (image < high)
    solid = _values(levels[np.asarray(flat)])
    edge_values = np.setdiff1d(values, solid)
    in_edges = np.isin(levels, edge_values)
    if len(solid) and len(edge_values) >= fewest and between[in_edges].mean() >= 0.5:
        raise LabelError(
            f"mask {path} was interpolated: {int(in_edges.sum())} pixels have one of {len(edge_values)} values that "
            "occur only in edges, between others, and would each be an object; save the mask without smoothing, "
            "anti-aliasing or interpolation (nearest neighbour), with one value for each object"
        )
