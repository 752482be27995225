"""Masks as polygons and as run lengths, both as COCO defines them (pycocotools)."""

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from ...store.errors import LabelError

_Mask = npt.NDArray[np.bool_]


def polygons_to_mask(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> _Mask:
    """Fill polygons, and return the union of their pixels.

    Parameters
    ----------
    polygons
        Each is x0, y0, x1, y1, ... in pixels, at least three points; pixel i covers [i, i + 1).
    size
        (height, width) in pixels.

    Returns
    -------
    numpy.ndarray
        (height, width), bool.

    Raises
    ------
    LabelError
        For a polygon of fewer than three points, an odd number of values, values that are not finite, or points
        further outside the frame than it is large.
    """
    height, width = size
    if not polygons:
        raise LabelError("has no polygon")
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise LabelError(f"has a polygon of {len(polygon)} numbers: x and y of at least three points are needed")
        for values, extent in ((polygon[::2], width), (polygon[1::2], height)):
            if not all(-extent <= value <= 2 * extent for value in values):  # NaN is not within, either
                wrong = next(value for value in values if not -extent <= value <= 2 * extent)
                raise LabelError(f"has a point at {wrong:g}, far outside of the {width}x{height} pixels")
    runs = coco.frPyObjects([[float(value) for value in polygon] for polygon in polygons], height, width)
    # Not `pycocotools.mask.decode`, which NumPy 2 warns about.
    return rle_to_mask(coco.merge(runs), size)


def mask_to_polygons(mask: _Mask) -> list[list[float]]:
    """Return polygons along the edges of a mask's pixels; `polygons_to_mask` gives the same mask.

    A hole is joined to its outline by lines there and back, as in polygons of other tools.

    Parameters
    ----------
    mask
        (height, width), bool.

    Returns
    -------
    list of list of float
        x0, y0, x1, y1, ... of each connected part, in whole pixels; empty for an empty mask.
    """
    height, width = mask.shape
    # Corners of pixels have even coordinates on this grid, and centres odd ones.
    grid = np.zeros((2 * height + 1, 2 * width + 1), np.uint8)
    grid[1::2, 1::2] = mask
    grid = cv2.dilate(grid, np.ones((3, 3), np.uint8)).astype(np.uint8)
    contours, tree = cv2.findContours(grid, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outlines: dict[int, list[tuple[int, int]]] = {}
    for number, contour in enumerate(contours):
        points = _corners(np.asarray(contour[:, 0], dtype=np.int32))
        parent = int(tree[0, number, 3])
        if parent < 0:
            outlines[number] = [*points, points[0]]
        else:  # along the axes, where rounding is the same in both directions
            start = outlines[parent][0]
            between = (points[0][0], start[1])
            outlines[parent] += [between, *points, points[0], between, start]
    return [[float(value) for point in points[:-1] for value in point] for points in outlines.values()]


def _corners(contour: npt.NDArray[np.int32]) -> list[tuple[int, int]]:
    """Return the corners of a contour on the grid of `mask_to_polygons`, in pixels."""
    following = np.roll(contour, -1, axis=0)
    # A diagonal step cuts a corner, whose coordinates are the even ones of its ends.
    cut = np.where(contour % 2 == 0, contour, following)
    path = np.stack([contour, cut], axis=1).reshape(-1, 2)
    path = path[(path % 2 == 0).all(1)] // 2
    path = path[(path != np.roll(path, 1, axis=0)).any(1)]
    before, after = path - np.roll(path, 1, axis=0), np.roll(path, -1, axis=0) - path
    turns = (np.sign(before) != np.sign(after)).any(1)
    return [(int(x), int(y)) for x, y in path[turns]]


def box_polygon(x: float, y: float, width: float, height: float, degrees: float = 0) -> list[float]:
    """Return a box as a polygon, turned around its centre by an angle (clockwise on the screen)."""
    angle = math.radians(degrees)
    centre_x, centre_y = x + width / 2, y + height / 2
    corners = [(-width / 2, -height / 2), (width / 2, -height / 2), (width / 2, height / 2), (-width / 2, height / 2)]
    cos, sin = math.cos(angle), math.sin(angle)
    return [value for dx, dy in corners for value in (centre_x + dx * cos - dy * sin, centre_y + dx * sin + dy * cos)]


def rle_to_mask(rle: Any, size: tuple[int, int]) -> _Mask:
    """Decode run lengths: ``{"size": [height, width], "counts": ...}``.

    Counts are lengths of alternating runs of 0 and 1 along columns, first of 0: a list, or COCO's compressed text.

    Parameters
    ----------
    rle
        The run lengths, as JSON values.
    size
        (height, width) that the mask must have.

    Returns
    -------
    numpy.ndarray
        (height, width), bool.

    Raises
    ------
    LabelError
        When they cannot be decoded, are of another size, or do not cover the mask.
    """
    try:
        own, counts = tuple(rle["size"]), rle["counts"]
        runs = np.array(counts if isinstance(counts, list) else _decompress(counts), dtype=np.int64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise LabelError("has run lengths that are not {'size': [height, width], 'counts': ...} of COCO") from error
    if own != size:
        raise LabelError(f"has run lengths of (height, width) {own}, but its frame is {size}")
    height, width = size
    return runs_to_mask(runs, (width, height)).T.copy()


def runs_to_mask(runs: npt.NDArray[np.int64], size: tuple[int, int]) -> _Mask:
    """Decode lengths of alternating runs along rows, first of 0; raises LabelError if they do not cover the size."""
    height, width = size
    # The bounds of each run come first: a sum may overflow.
    if runs.ndim != 1 or ((runs < 0) | (runs > height * width)).any() or int(runs.sum()) != height * width:
        raise LabelError(f"has run lengths that do not add up to its {height * width} pixels")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)


def _decompress(text: str | bytes) -> list[int]:
    """Decode COCO's compressed counts: 5 bits a character, each count less the last but one.

    `pycocotools.mask.decode` does not check them, and writes outside of the mask if they are wrong.
    """
    counts: list[int] = []
    value = shift = 0
    for byte in text.encode("ascii") if isinstance(text, str) else text:
        if not 48 <= byte < 112 or shift > 40:
            raise ValueError("not compressed counts")
        value |= (byte - 48 & 0x1F) << shift
        shift += 5
        if byte - 48 & 0x20:
            continue
        if byte - 48 & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("compressed counts end early")
    return counts


def mask_to_rle(mask: _Mask) -> dict[str, Any]:
    """Encode a mask (height, width), bool, as COCO's compressed run lengths, of JSON values."""
    rle = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(value) for value in rle["size"]], "counts": rle["counts"].decode("ascii")}
