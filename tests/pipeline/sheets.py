"""Reading pictures, and finding one on another."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image


def read(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


def holds(sheet: npt.NDArray[np.uint8], picture: npt.NDArray[np.uint8]) -> bool:
    """Whether a picture is somewhere on a sheet, to the last bit."""
    height, width = picture.shape[:2]
    corners = np.argwhere((sheet[:-height, :-width] == picture[0, 0]).all(-1))
    return any(np.array_equal(sheet[y : y + height, x : x + width], picture) for y, x in corners)
