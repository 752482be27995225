"""Colours of objects in pictures. Result PNGs have DAVIS's palette instead."""

import numpy as np
import numpy.typing as npt

from ..tasks.masks.png import davis_palette

#: Colours of Okabe and Ito (https://jfly.uni-koeln.de/color/), distinct for all kinds of colour vision: RGB.
_OKABE_ITO = (
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (0, 114, 178),  # blue
    (213, 94, 0),  # vermilion
    (204, 121, 167),  # reddish purple
)


def display_palette() -> npt.NDArray[np.uint8]:
    """Return the colour of each object number: Okabe and Ito's for objects 1 to 7, bright variants of DAVIS's beyond.

    Returns
    -------
    numpy.ndarray
        (256, 3), uint8, RGB, all different; background is black.
    """
    palette = np.rint(255 * (davis_palette() / 255) ** 0.3).astype(np.uint8)
    palette[1 : 1 + len(_OKABE_ITO)] = _OKABE_ITO
    return palette
