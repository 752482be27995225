"""Masks as palette PNGs in the colours of DAVIS."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ....store.errors import LabelError
from ...runs.files import written_whole


def davis_palette() -> npt.NDArray[np.uint8]:
    """Compute the palette of the DAVIS and PASCAL VOC masks: (256, 3), uint8, RGB.

    Bits of the object number become bits of a channel, from the highest down: bits 0, 3, 6 make red, bits 1, 4, 7
    green, bits 2, 5 blue.
    """
    numbers = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for level in range(8):
        for channel in range(3):
            colours[:, channel] |= ((numbers >> (3 * level + channel) & 1) << (7 - level)).astype(np.uint8)
    return colours


def write_mask(path: Path, ids: npt.NDArray[np.integer], palette: npt.NDArray[np.uint8] | None = None) -> Path:
    """Write a mask as a palette PNG, whose indices are the object numbers; return its path.

    `ids` is (height, width), integers in 0 to 255; LabelError is raised for others. `palette` is (256, 3), uint8, RGB;
    `davis_palette` by default. The folder is made if absent.
    """
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer) or not ids.size:
        raise LabelError(f"a mask is (height, width) of integers, not {ids.shape} of {ids.dtype}: {path}")
    if ids.min() < 0 or ids.max() > 255:
        raise LabelError(f"object numbers {ids.min()} to {ids.max()} do not fit a palette PNG (0 to 255): {path}")
    image = Image.fromarray(np.ascontiguousarray(ids, dtype=np.uint8))
    image.putpalette((davis_palette() if palette is None else palette).tobytes())
    with written_whole(path, sync=False) as temporary:  # a folder of results is synced as a whole
        image.save(temporary, format="PNG")
    return path
