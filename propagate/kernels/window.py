"""Search windows around a pixel."""

from typing import Literal

import torch

#: ``square``: |dy| and |dx| at most the radius. ``circle``: a Euclidean distance strictly below the radius, as in CRW.
WindowShape = Literal["square", "circle"]


def inside_window(dy: torch.Tensor, dx: torch.Tensor, radius: int, shape: WindowShape) -> torch.Tensor:
    """Return the mask of offsets (dy, dx), in cells, that lie in a window: bool, of the offsets' broadcast shape."""
    if shape == "circle":
        return dy * dy + dx * dx < radius * radius
    return (dy.abs() <= radius) & (dx.abs() <= radius)


def window_mask(
    grid: tuple[int, int], cell: tuple[int, int], radius: int, shape: WindowShape = "square"
) -> torch.Tensor:
    """Return the mask of a grid's cells that lie in the window of one cell: (y, x), bool."""
    dy, dx = torch.arange(grid[0]) - cell[0], torch.arange(grid[1]) - cell[1]
    return inside_window(dy[:, None], dx, radius, shape)
