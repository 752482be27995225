"""Masks, boxes and points drawn over frames (height, width, 3), RGB, in the colours of their objects.

All functions return a new array. Pixel i of a frame covers [i, i + 1).
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from .palette import display_palette

_Picture = npt.NDArray[np.uint8]

# Opacity of the tint of a mask; fractional bits of OpenCV's coordinates: sixteenths of a pixel.
_OPACITY, _BITS = 0.55, 4


def overlay_mask(frame: _Picture, ids: npt.NDArray[np.integer]) -> _Picture:
    """Tint objects with their colours, and draw their contours inside of them in full colour.

    `ids` (height, width) holds object numbers, 0 to 255; pixels of 0 stay as they are.
    """
    colours = display_palette()[ids]
    tinted = cv2.addWeighted(frame, 1 - _OPACITY, colours, _OPACITY, 0).astype(np.uint8, copy=False)
    labels = ids.astype(np.uint8)
    # Contours keep their visible width in pictures of any size.
    width = max(1, round(min(frame.shape[:2]) / 200))
    kernel = np.ones((2 * width + 1, 2 * width + 1), dtype=np.uint8)
    contour = (cv2.dilate(labels, kernel) != labels) | (cv2.erode(labels, kernel) != labels)
    drawn = np.where((labels > 0)[..., None], tinted, frame)
    return np.where((contour & (labels > 0))[..., None], colours, drawn)


def object_colour(number: int) -> int:
    """Return the palette's index of an object: its number up to 254, then again from 1."""
    return (number - 1) % 254 + 1


def overlay_boxes(frame: _Picture, boxes: Mapping[int, Sequence[float]]) -> _Picture:
    """Draw boxes, lines inside of the edges, lower numbers over higher ones.

    `boxes` holds x, y, width and height in pixels by number of the object. Boxes that are not finite are absent.
    """
    colours = display_palette()
    drawn = frame.copy()
    height, width = frame.shape[:2]
    line = max(1, round(min(height, width) / 150))
    for number, box in sorted(boxes.items(), reverse=True):
        if not np.isfinite(box).all():
            continue
        x, y, wide, high = box
        left, right = (round(min(max(at, 0), width)) for at in (x, x + wide))
        top, bottom = (round(min(max(at, 0), height)) for at in (y, y + high))
        inside = drawn[top:bottom, left:right]
        edge = np.ones(inside.shape[:2], dtype=bool)
        edge[line:-line, line:-line] = False
        inside[edge] = colours[object_colour(number)]
    return drawn


def overlay_points(
    frame: _Picture,
    xy: npt.NDArray[np.float64],
    colours: Sequence[int],
    *,
    solid: npt.NDArray[np.bool_] | None = None,
    links: Sequence[tuple[int, int]] = (),
) -> _Picture:
    """Draw points as discs with a dark rim, and lines between linked points; earlier points over later ones.

    `xy` (point, 2) are in pixels; points that are not finite are not drawn. `colours` are indices of the palette.
    Points that are not `solid` are rings, which show the frame inside. `links` are pairs of points to join.
    """
    known = display_palette()
    drawn = frame.copy()
    radius = max(3.0, min(frame.shape[:2]) / 70)
    there = np.asarray(np.isfinite(xy).all(1))
    # OpenCV's pixels have their centres at integers, and its coordinates overflow far outside.
    fixed = (np.clip(np.where(there[:, None], xy, 0), -1e4, 1e5) - 0.5) * 2**_BITS
    at = np.rint(fixed).astype(int).tolist()
    for start, end in links:
        if there[start] and there[end]:
            for width, ink in ((radius, (0, 0, 0)), (radius / 2, (255, 255, 255))):
                cv2.line(drawn, at[start], at[end], ink, round(width), cv2.LINE_AA, _BITS)
    for point in reversed(np.flatnonzero(there).tolist()):
        colour = tuple(map(int, known[colours[point]]))
        filled = solid is None or solid[point]
        outer = radius * 1.3 if filled else radius
        rim, width = (-1, -1) if filled else (round(radius), round(radius / 2))
        cv2.circle(drawn, at[point], round(outer * 2**_BITS), (0, 0, 0), rim, cv2.LINE_AA, _BITS)
        cv2.circle(drawn, at[point], round(radius * 2**_BITS), colour, width, cv2.LINE_AA, _BITS)
    return drawn
