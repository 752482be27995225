"""Masks drawn over frames."""

import cv2
import numpy as np
import numpy.typing as npt

from .palette import display_palette

__all__ = ["overlay_mask"]


def overlay_mask(
    frame: npt.NDArray[np.uint8],
    ids: npt.NDArray[np.integer],
    *,
    opacity: float = 0.55,
    palette: npt.NDArray[np.uint8] | None = None,
) -> npt.NDArray[np.uint8]:
    """Tint objects with their colours and draw their contours, inside of them, in full colour.

    Parameters
    ----------
    frame
        (height, width, 3), RGB.
    ids
        (height, width), object numbers in 0..255; 0 is left as it is.
    opacity
        Of the tint, in [0, 1].
    palette
        (256, 3), uint8, RGB; `display_palette` by default.

    Returns
    -------
    numpy.ndarray
        (height, width, 3), RGB, a new array.
    """
    colours = (display_palette() if palette is None else palette)[ids]
    tinted = cv2.addWeighted(frame, 1 - opacity, colours, opacity, 0).astype(np.uint8, copy=False)
    labels = ids.astype(np.uint8)
    # Contours keep their visible width in pictures of any size.
    width = max(1, round(min(frame.shape[:2]) / 200))
    kernel = np.ones((2 * width + 1, 2 * width + 1), dtype=np.uint8)
    contour = (cv2.dilate(labels, kernel) != labels) | (cv2.erode(labels, kernel) != labels)
    drawn = np.where((labels > 0)[..., None], tinted, frame)
    return np.where((contour & (labels > 0))[..., None], colours, drawn)
