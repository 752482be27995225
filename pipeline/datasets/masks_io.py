"""Reading masks: PNG files whose pixel values are object numbers."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...extract.truncation import image_is_truncated
from ...propagate.targets.object_ids import VOID, object_mask
from ...store.errors import LabelError

__all__ = ["VOID", "read_given_mask", "read_mask"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GRAYSCALE = {0, 4}  # PNG colour types, without and with alpha


def read_mask(path: Path, size: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
    """Read a mask as it is: palette indices, or grayscale values, are object numbers; 0 is the background.

    Parameters
    ----------
    path
        A PNG file: palette (as DAVIS), or grayscale of up to 16 bits, or colour with three equal channels.
        An alpha channel and an EXIF orientation are ignored.
    size
        (height, width) that the mask must have: that of its frames.

    Returns
    -------
    numpy.ndarray
        (height, width), uint8, values as stored: `VOID` is not replaced.

    Raises
    ------
    LabelError
        When the file cannot be read, is truncated, is not such an image, has more than 255 objects or another size.
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
            values = np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise LabelError(f"cannot decode mask {path}: {error}") from error
    # The header chunk comes first and always says these two things at the same place.
    ids = _object_numbers(values, bit_depth=data[24], colour_type=data[25], path=path)
    if size is not None and ids.shape != size:
        raise LabelError(
            f"mask {path} is {ids.shape[1]}x{ids.shape[0]} pixels (width x height), but its frames are "
            f"{size[1]}x{size[0]}; save the mask at the size of the frames, without interpolation"
        )
    return ids


def read_given_mask(
    path: Path, size: tuple[int, int], object_ids: Sequence[int] | None = None
) -> npt.NDArray[np.uint8]:
    """Read a mask that a tracker is given: as `read_mask`, then what its numbers mean (`object_mask`).

    Parameters
    ----------
    path, size
        As for `read_mask`.
    object_ids
        The objects that are given: what else the mask holds, or does not hold, does not matter. By default all.

    Raises
    ------
    LabelError
        As `read_mask`, and when it holds no object at all.
    """
    ids = read_mask(path, size)
    if object_ids is not None:
        ids[~np.isin(ids, object_ids)] = 0
        return ids
    try:
        return object_mask(ids)
    except LabelError as error:
        raise LabelError(f"{path}: {error}") from error


def _object_numbers(
    values: npt.NDArray[np.generic], *, bit_depth: int, colour_type: int, path: Path
) -> npt.NDArray[np.uint8]:
    if values.ndim == 3:
        colour = values[..., :1] if colour_type in _GRAYSCALE else values[..., :3]
        if bit_depth > 8 or (colour != colour[..., :1]).any():
            raise LabelError(f"mask {path} is a colour image: save it as a palette or grayscale PNG of object numbers")
        values = colour[..., 0]
    if colour_type in _GRAYSCALE and bit_depth in (2, 4):
        # Pillow stretches these to 0..255.
        values = values.astype(np.uint8) // (255 // (2**bit_depth - 1))
    largest = int(values.max())
    if largest > 255:
        raise LabelError(f"mask {path} has more than 255 objects: its largest value is {largest}")
    return values.astype(np.uint8)
