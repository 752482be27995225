"""Axis-aligned boxes: a label map of each box has the covered share of every cell; edges are decoded to sub-pixels.

A box is x, y, width, height: its upper left corner and its size, in pixels. Coordinates are continuous: pixel i covers
[i, i + 1), and a cell of the feature grid covers its part of the frame in the same way.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from .base import RowTarget, with_annotations

#: An object is present if its label has at least this share of the annotated one (measured:
#: docs/evidence/points-and-boxes.md).
PRESENT_FROM = 0.3

# Cells with at least this share of the largest value belong to the object; its edges may cut the cells beside them.
_CORE = 0.5

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TrackedBoxes:
    """Boxes of one frame.

    Attributes
    ----------
    boxes
        (box, 4), float64, x, y, width and height in pixels; NaN for an object that is absent.
    mass
        (box,), float64: the sum of the label as a share of the annotated one.
    """

    boxes: _Array
    mass: _Array


def encode_boxes(boxes: _Array, size: tuple[int, int], grid: tuple[int, int]) -> torch.Tensor:
    """Draw a label map for each box: the share of each cell's area that it covers, exactly.

    Parameters
    ----------
    boxes
        (box, 4), x, y, width and height in pixels; NaN for a box that is not annotated. Boxes are clipped to the frame.
    size
        (height, width) of the frame in pixels, for the coordinates.
    grid
        (y, x) of the features.

    Returns
    -------
    torch.Tensor
        (box, y, x), float32, in [0, 1]; the map of a box sums to its area in the frame, in cells. Boxes may overlap:
        there is no background.
    """
    x, y, width, height = (boxes * np.tile([grid[1] / size[1], grid[0] / size[0]], 2)).T  # (box,) each, in cells
    across, down = _covered(x, x + width, grid[1]), _covered(y, y + height, grid[0])
    return torch.from_numpy(np.nan_to_num(down[:, :, None] * across[:, None]).astype(np.float32))


def _covered(start: _Array, stop: _Array, cells: int) -> _Array:
    """Return the share of each cell along an axis that each interval covers: (interval, cell), in [0, 1]."""
    edges = np.arange(cells)
    covered = np.minimum(stop[:, None], edges + 1) - np.maximum(start[:, None], edges)
    return np.asarray(np.maximum(covered, 0))


def decode_boxes(label: torch.Tensor, size: tuple[int, int]) -> tuple[_Array, _Array]:
    """Decode the box of each label map: the extent of its largest connected part.

    Cells with at least half of the map's maximum form connected parts. The box is the part with the largest sum,
    extended by the cells around it, which an edge may cut. The maximum of a column, divided by the map's maximum,
    estimates the share of the column that the object covers. The sums of these shares to the left and right of the
    middle are the distances of the edges from the middle; likewise for rows. A box that covers at least one whole cell
    is decoded exactly, and symmetric blur does not move its edges. Maxima, unlike sums, also give the extent of a disc.

    Parameters
    ----------
    label
        (box, y, x), float, not negative.
    size
        (height, width) of the frame in pixels, for the coordinates.

    Returns
    -------
    boxes : numpy.ndarray
        (box, 4), float64, x, y, width and height in pixels; NaN where a map is zero.
    mass : numpy.ndarray
        (box,), float64: the sum of the label in the part, in cells.
    """
    maps = label.double().cpu().numpy()
    height, width = maps.shape[1:]
    boxes, mass = np.full((len(maps), 4), np.nan), np.zeros(len(maps))
    for number, values in enumerate(maps):
        if values.max() > 0:
            part = np.where(_largest_part(values), values, 0)
            (left, right), (top, bottom) = (_interval(part.max(axis)) for axis in (0, 1))
            boxes[number] = left, top, right - left, bottom - top
            mass[number] = part.sum()
    boxes *= np.tile([size[1] / width, size[0] / height], 2)
    return boxes, mass


@dataclass(frozen=True, kw_only=True)
class BoxTarget(RowTarget):
    """Boxes: rows of x, y, width and height; see `RowTarget`."""

    noun: ClassVar[str] = "box"
    columns: ClassVar[int] = 4

    def draw(self, rows: _Array, grid: tuple[int, int]) -> torch.Tensor:
        """Return the label map of a frame's rows; see `encode_boxes`."""
        return encode_boxes(rows, self.size, grid)

    def decode(self, frame: int, label: torch.Tensor, frame_size: tuple[int, int]) -> TrackedBoxes:
        """Return a frame's boxes; see `decode_boxes`. Annotated boxes are returned unchanged, with a mass of 1.

        Boxes with a mass below `PRESENT_FROM` are absent.
        """
        found, cells = decode_boxes(label, self.size)
        least = self._least_area((label.shape[1], label.shape[2]))
        mass = np.divide(cells, least, out=np.zeros(len(cells)), where=least > 0)
        found[mass < PRESENT_FROM] = np.nan
        boxes, known = with_annotations(found, self.rows.get(frame))
        return TrackedBoxes(boxes=boxes, mass=np.where(known, 1.0, mass))

    def _least_area(self, grid: tuple[int, int]) -> _Array:
        """Return the smallest annotated area of each box inside the frame, (box,), in cells."""
        areas = [encode_boxes(boxes, self.size, grid).double().sum((1, 2)).numpy() for boxes in self.rows.values()]
        known = [np.isfinite(boxes).all(1) for boxes in self.rows.values()]
        return np.asarray(np.where(known, areas, np.inf).min(0))


def _largest_part(values: _Array) -> npt.NDArray[np.bool_]:
    """Return the mask of the connected part with the largest sum, and the cells around it: (y, x), bool."""
    parts, count = ndimage.label(values >= _CORE * values.max())
    amounts = ndimage.sum_labels(values, parts, np.arange(1, count + 1))
    core = parts == 1 + amounts.argmax()
    return np.asarray(ndimage.binary_dilation(core, np.ones((3, 3))))


def _interval(profile: _Array) -> tuple[float, float]:
    """Return the begin and the end of a profile along an axis, (cell,), in cells."""
    share = profile / profile.max()
    core = np.flatnonzero(share >= _CORE)
    middle = int(core[0] + core[-1] + 1) // 2
    return middle - float(share[:middle].sum()), middle + float(share[middle:].sum())
