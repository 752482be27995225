"""Keypoints, such as the joints of a person: Gaussian label maps on the feature grid, decoded to coordinates.

Encoding and decoding follow CRW's evaluation on JHMDB (Jabri et al., NeurIPS 2020), with frames of 320x320 pixels and a
grid of 40x40; other grids are scaled alike. Cells lie at multiples of the stride, so cell (0, 0) is pixel (0, 0).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from .base import RowTarget, with_annotations

#: Both coordinates of a joint that was not found.
ABSENT = -1.0

_SIGMA = 0.5  # standard deviation of the Gaussian, in cells
_REACH = 3 * _SIGMA
_TOP = 3  # number of cells whose mean gives the coordinates

_Array = npt.NDArray[np.float64]


def encode_keypoints(points: _Array, size: tuple[int, int], grid: tuple[int, int]) -> torch.Tensor:
    """Draw a label map for each joint.

    The map is an unnormalised Gaussian (sigma 0.5 cells) in a block of at most 4x4 cells. Its maximum, 1, is at the
    cell nearest to the joint. CRW truncates coordinates towards zero, so it may be one cell further inside for joints
    less than 1.5 cells from the left or upper edge.

    Parameters
    ----------
    points
        (joint, 2), x and y in pixels from 0, possibly outside the frame; NaN for a joint that is not annotated.
    size
        (height, width) of the frame in pixels, for the coordinates.
    grid
        (y, x) of the features.

    Returns
    -------
    torch.Tensor
        (1 + joint, y, x), float32, in [0, 1]. Channel 0 is the background: 1 where every other channel is 0. The map is
        zero for a joint that is not annotated or whose block lies outside the grid.
    """
    maps = np.zeros((len(points), *grid))
    for channel, (x, y) in zip(maps, points * np.array([grid[1] / size[1], grid[0] / size[0]]), strict=True):
        if np.isfinite(x) and np.isfinite(y):
            rows, down = _block(y, grid[0])
            columns, across = _block(x, grid[1])
            channel[rows, columns] = np.exp(-(down[:, None] ** 2 + across**2) / (2 * _SIGMA**2))
    background = (maps.sum(0) == 0)[None]
    return torch.from_numpy(np.concatenate([background, maps]).astype(np.float32))


def decode_keypoints(label: torch.Tensor, size: tuple[int, int]) -> _Array:
    """Decode the coordinates of each joint: the mean of the three largest cells of its map, weighted by their values.

    Parameters
    ----------
    label
        (1 + joint, y, x), float, not negative; channel 0, the background, is not used.
    size
        (height, width) of the frame in pixels, for the coordinates.

    Returns
    -------
    numpy.ndarray
        (joint, 2), x and y in pixels from 0; `ABSENT` for a joint whose map is zero. Between equal cells, the one with
        the lower (y, x) counts.
    """
    maps = label[1:].flatten(1).double()  # (joint, cell)
    values, cells = maps.sort(dim=1, descending=True, stable=True)
    values, cells = values[:, :_TOP], cells[:, :_TOP]
    total = values.sum(1, keepdim=True)
    weights = values / total.masked_fill(total == 0, 1)
    height, width = label.shape[1:]
    x, y = ((weights * place).sum(1) for place in (cells % width, cells // width))
    points = torch.stack([x / width * size[1], y / height * size[0]], dim=1)
    return np.asarray(points.masked_fill(total == 0, ABSENT).cpu().numpy())


@dataclass(frozen=True, kw_only=True)
class KeypointTarget(RowTarget):
    """Keypoints of one person or thing: rows of x and y from 0; see `RowTarget`."""

    noun: ClassVar[str] = "point"
    places: ClassVar[bool] = True
    first_channel: ClassVar[int] = 1

    def draw(self, rows: _Array, grid: tuple[int, int]) -> torch.Tensor:
        """Return the label map of a frame's rows; see `encode_keypoints`."""
        return encode_keypoints(rows, self.size, grid)

    def decode(self, frame: int, label: torch.Tensor, frame_size: tuple[int, int]) -> _Array:
        """Return a frame's joints, (joint, 2), in pixels; see `decode_keypoints`. Annotated ones are unchanged."""
        return with_annotations(decode_keypoints(label, self.size), self.rows.get(frame))[0]


def _block(centre: float, cells: int) -> tuple[slice, _Array]:
    """Return the cells along one axis that a Gaussian covers, and their distances from its middle.

    `int` truncates towards zero, as CRW's evaluation does.
    """
    start, stop = int(centre - _REACH), int(centre + _REACH + 1)
    inside = slice(max(start, 0), max(min(stop, cells), 0))
    return inside, np.arange(cells, dtype=np.float64)[inside] - start - (6 * _SIGMA + 1) // 2
