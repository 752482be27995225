"""What one pixel resembles: its similarity with every pixel of a frame, as propagation computes it."""

from collections.abc import Sequence

import torch

from .fusion import Fusion
from .kernels.cosine.pairs import pair_cosines

__all__ = ["similarity_map", "window_cells"]


@torch.no_grad()
def similarity_map(query: Sequence[torch.Tensor], frame: Sequence[torch.Tensor], fusion: Fusion) -> torch.Tensor:
    """Return the similarity of a pixel's fused feature with those of a frame's pixels (TED, Eq. 4).

    Each value has the bits that propagation compares.

    Parameters
    ----------
    query
        The pixel's features, one tensor (channel,) a part, L2-normalised float32 (`unit_vectors`).
    frame
        The frame's, (y, x, channel) each, as `FeatureReader.frames` yields them.
    fusion
        How the parts are weighed.

    Returns
    -------
    torch.Tensor
        (y, x), float32; in [-1, 1] if renormalised.
    """
    height, width = frame[0].shape[:2]
    everywhere = torch.arange(height * width, device=frame[0].device)[None]
    cosines = [
        pair_cosines(pixel[None], keys.flatten(0, 1), everywhere) for pixel, keys in zip(query, frame, strict=True)
    ]
    return fusion.similarity(torch.stack(cosines)).view(height, width)


def window_cells(grid: tuple[int, int], cell: tuple[int, int], radius: int) -> torch.Tensor:
    """Return which cells of a grid are in a cell's window: (y, x), bool; |dy| and |dx| are at most the radius."""
    y = (torch.arange(grid[0]) - cell[0]).abs() <= radius
    x = (torch.arange(grid[1]) - cell[1]).abs() <= radius
    return y[:, None] & x
