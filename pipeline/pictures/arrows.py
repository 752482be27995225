"""Arrows from pixels to the sources that their labels come from."""

from collections.abc import Collection

import cv2
import numpy as np
import numpy.typing as npt

from ...propagate import Origins

__all__ = ["POINT_COLOURS", "draw_origins"]

#: Okabe and Ito's colours, which people of any colour vision tell apart, brighter ones first: (colour, 3), uint8, RGB.
POINT_COLOURS = np.array(
    [(230, 159, 0), (86, 180, 233), (240, 228, 66), (0, 158, 115), (213, 94, 0), (204, 121, 167), (0, 114, 178)],
    dtype=np.uint8,
)

_EDGE = (16, 16, 16)


def draw_origins(
    picture: npt.NDArray[np.uint8],
    origins: Origins,
    colours: npt.NDArray[np.uint8],
    *,
    within: Collection[int] = (),
) -> npt.NDArray[np.uint8]:
    """Draw an arrow from each pixel to its sources in some frames: the thicker, the more a source weighs.

    Pixels that have any are rings; a source at the pixel's own place is a dot.

    Parameters
    ----------
    picture
        (height, width, 3), RGB: any frame of the video.
    origins
        Pixels and their sources.
    colours
        (pixel, 3), uint8, RGB.
    within
        Indices of the frames whose sources are drawn; where there are none, all pixels are marked, without arrows.

    Returns
    -------
    numpy.ndarray
        (height, width, 3), RGB, a new array.
    """
    drawn = picture.copy()
    cell = np.array(picture.shape[:2]) / origins.grid  # (height, width) in pixels
    starts = np.rint((origins.cells + 0.5) * cell).astype(int)[:, ::-1]  # (pixel, 2), x and y
    ends = np.rint((origins.places + 0.5) * cell).astype(int)[:, :, ::-1]
    unit = max(1.0, min(picture.shape[:2]) / 360)
    shares = origins.weights / origins.weights.max(axis=1, keepdims=True, initial=1e-12)
    wanted = np.isin(origins.frames, list(within)) & (origins.weights > 0)
    for pixel, source in sorted(np.argwhere(wanted).tolist(), key=lambda item: float(shares[*item])):
        thickness = max(1, round(unit * (0.6 + 2.4 * float(shares[pixel, source]))))
        start, end = starts[pixel].tolist(), ends[pixel, source].tolist()
        for colour, width in ((_EDGE, thickness + max(2, round(unit))), (_plain(colours[pixel]), thickness)):
            _arrow(drawn, start, end, colour, width, unit)
    marked = wanted.any(axis=1) if len(within) else np.ones(len(starts), dtype=bool)
    for place, colour in zip(starts[marked].tolist(), colours[marked], strict=True):
        cv2.circle(drawn, place, round(4.5 * unit), _EDGE, max(3, round(3 * unit)), cv2.LINE_AA)
        cv2.circle(drawn, place, round(4.5 * unit), _plain(colour), max(1, round(1.5 * unit)), cv2.LINE_AA)
    return drawn


def _arrow(
    drawn: npt.NDArray[np.uint8], start: list[int], end: list[int], colour: tuple[int, ...], width: int, unit: float
) -> None:
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    if length < 1:
        cv2.circle(drawn, start, max(1, round(width / 2 + unit / 2)), colour, -1, cv2.LINE_AA)
    else:
        tip = min(0.5, 6 * unit / length)
        cv2.arrowedLine(drawn, start, end, colour, width, cv2.LINE_AA, tipLength=tip)


def _plain(colour: npt.NDArray[np.uint8]) -> tuple[int, ...]:
    return tuple(int(value) for value in colour)
