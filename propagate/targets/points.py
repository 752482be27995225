"""Points on a surface: a label map for each point, decoded with sub-cell precision.

Coordinates are continuous, as TAP-Vid's: pixel i covers [i, i + 1), and its centre is at i + 0.5. A cell of the feature
grid covers its part of the frame in the same way.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from .base import RowTarget, with_annotations

#: A point is visible if at least this share of its mass lies around the maximum (measured:
#: docs/evidence/points-and-boxes.md).
VISIBLE_FROM = 0.4

# Maximum distances in cells, in y and in x, from the maximum: for the coordinates and for the mass. Labels spread with
# every frame: a shorter distance is more exact, a longer one covers the whole label. Measured with the threshold.
_PLACE_REACH, _MASS_REACH = 1, 2

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TrackedPoints:
    """Points of one frame.

    Attributes
    ----------
    places
        (point, 2), float64, x and y in pixels; NaN for a point whose label has vanished.
    mass
        (point,), float64: sum of the label around the maximum, 1 for an annotated point.
    """

    places: _Array
    mass: _Array

    @property
    def visible(self) -> npt.NDArray[np.bool_]:
        """Whether each point's mass is at least `VISIBLE_FROM`: (point,), bool."""
        return self.mass >= VISIBLE_FROM


def encode_points(points: _Array, size: tuple[int, int], grid: tuple[int, int]) -> torch.Tensor:
    """Distribute each point bilinearly over the four cells around it, so that their weighted mean is the point.

    Parameters
    ----------
    points
        (point, 2), x and y in pixels; NaN for a point that is not annotated. Points beyond the centres of the outermost
        cells are moved to them.
    size
        (height, width) of the frame in pixels, for the coordinates.
    grid
        (y, x) of the features.

    Returns
    -------
    torch.Tensor
        (point, y, x), float32, in [0, 1]; the map of an annotated point sums to 1. There is no background channel.
    """
    cells = points * np.array([grid[1] / size[1], grid[0] / size[0]]) - 0.5
    x, y = np.clip(cells, 0, np.array([grid[1] - 1, grid[0] - 1])).T  # (point,) each
    across = np.maximum(1 - np.abs(x[:, None] - np.arange(grid[1])), 0)  # (point, x)
    down = np.maximum(1 - np.abs(y[:, None] - np.arange(grid[0])), 0)  # (point, y)
    return torch.from_numpy(np.nan_to_num(down[:, :, None] * across[:, None]).astype(np.float32))


def decode_points(label: torch.Tensor, size: tuple[int, int]) -> TrackedPoints:
    """Decode each point: the mean of the 3x3 cells around the maximum of its map, weighted by their values.

    Parameters
    ----------
    label
        (point, y, x), float, not negative.
    size
        (height, width) of the frame in pixels, for the coordinates.

    Returns
    -------
    TrackedPoints
        Between equal maxima, the one with the lowest (y, x) counts. The mass is the sum of 5x5 cells; labels further
        away have moved to other, similar pixels.
    """
    maps = label.double()
    height, width = maps.shape[1:]
    peak = maps.flatten(1).argmax(1)
    near = torch.arange(-_MASS_REACH, _MASS_REACH + 1, device=maps.device)
    rows = (peak // width)[:, None] + near  # (point, 5)
    columns = (peak % width)[:, None] + near
    padded = functional.pad(maps, (_MASS_REACH,) * 4)
    point = torch.arange(len(maps), device=maps.device)[:, None, None]
    around = padded[point, rows[:, :, None] + _MASS_REACH, columns[:, None] + _MASS_REACH]  # (point, 5, 5)
    mass = around.sum((1, 2))
    inner = slice(_MASS_REACH - _PLACE_REACH, _MASS_REACH + _PLACE_REACH + 1)
    nearest = around[:, inner, inner]
    x = (nearest.sum(1) * columns[:, inner]).sum(1) / nearest.sum((1, 2))
    y = (nearest.sum(2) * rows[:, inner]).sum(1) / nearest.sum((1, 2))
    places = torch.stack([(x + 0.5) / width * size[1], (y + 0.5) / height * size[0]], dim=1)
    return TrackedPoints(places=np.asarray(places.cpu().numpy()), mass=np.asarray(mass.cpu().numpy()))


@dataclass(frozen=True, kw_only=True)
class PointTarget(RowTarget):
    """Points: rows of x and y; see `RowTarget`."""

    noun: ClassVar[str] = "point"
    places: ClassVar[bool] = True

    def draw(self, rows: _Array, grid: tuple[int, int]) -> torch.Tensor:
        """Return the label map of a frame's rows; see `encode_points`."""
        return encode_points(rows, self.size, grid)

    def decode(self, frame: int, label: torch.Tensor, frame_size: tuple[int, int]) -> TrackedPoints:
        """Return a frame's points; see `decode_points`. Annotated points are returned unchanged, with a mass of 1."""
        found = decode_points(label, self.size)
        places, known = with_annotations(found.places, self.rows.get(frame))
        return TrackedPoints(places=places, mass=np.where(known, 1.0, found.mass))
