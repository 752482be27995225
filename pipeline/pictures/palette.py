"""Colours of objects over frames."""

import numpy as np
import numpy.typing as npt

from ..tasks.masks.png import davis_palette

__all__ = ["display_palette"]


def display_palette() -> npt.NDArray[np.uint8]:
    """Brighten the same hues, for drawing over frames, where DAVIS's half-bright colours are hard to see.

    Returns
    -------
    numpy.ndarray
        (256, 3), uint8, RGB; different wherever `davis_palette` is.
    """
    return np.rint(255 * (davis_palette() / 255) ** 0.3).astype(np.uint8)
