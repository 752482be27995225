"""Averages of attention over the steps of a roll-out, and their sparse form."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers.models.attention_processor import Attention
from torch.nn import functional

from ..attention_maps import as_maps, grid_of_tokens, read_attention


class AttentionMeans:
    """Means of self- and cross-attention over heads, layers and passes of a network.

    Parameters
    ----------
    self_layers, cross_layers
        Layers by name, from `attention_layers`; there may be none of cross-attention.
    tokens
        Positions of each target's tokens in the text states; without any, its cross-attention is zero.
    size
        Size (y, x) of the network's input.
    """

    def __init__(
        self,
        self_layers: Mapping[str, Attention],
        cross_layers: Mapping[str, Attention],
        tokens: Sequence[Sequence[int]],
        size: tuple[int, int],
    ) -> None:
        self._self, self._cross = self_layers, cross_layers
        self._tokens, self._size = tokens, size
        self._sums: dict[tuple[int, int], torch.Tensor] = {}  # by grid: (cell, cell), summed over layers and passes
        self._maps: torch.Tensor | None = None  # (target, y, x), summed over passes
        self._passes = 0

    def read(self, forward: Callable[[], Any]) -> None:
        """Run one forward pass, and add its attention."""
        layers = {**self._self, **self._cross}
        weights = read_attention(forward, layers, stop_early=False)
        for name in self._self:
            found = weights[name][0].mean(0)
            grid = grid_of_tokens(len(found), self._size)
            self._sums[grid] = self._sums[grid] + found if grid in self._sums else found
        if self._cross:
            maps = as_maps({name: weights[name] for name in self._cross}, self._size)[0]
            absent = torch.zeros_like(maps[0])
            targets = torch.stack([maps[list(at)].mean(0) if at else absent for at in self._tokens])
            self._maps = targets if self._maps is None else self._maps + targets
        self._passes += 1

    def self_attention(self, grid: tuple[int, int]) -> torch.Tensor:
        """Return the mean self-attention on a grid, (cell, source cell), float32; rows sum to 1."""
        total = sum(resize_attention(found, own, grid) for own, found in self._sums.items())
        assert isinstance(total, torch.Tensor)
        return total / (self._passes * len(self._self))

    def cross_attention(self, grid: tuple[int, int]) -> torch.Tensor:
        """Return the mean cross-attention to each target's tokens on a grid, (target, cell); zeros without layers."""
        if self._maps is None:
            return torch.zeros(max(1, len(self._tokens)), grid[0] * grid[1])
        maps = self._maps / self._passes
        return functional.interpolate(maps[None], grid, mode="bilinear", align_corners=False)[0].flatten(1)


def resize_attention(weights: torch.Tensor, own: tuple[int, int], grid: tuple[int, int]) -> torch.Tensor:
    """Resize self-attention (cell, source cell) from its own grid (y, x) to a finer one.

    A fine cell's row is interpolated bilinearly from the rows of the coarse cells. A coarse source's weight is shared
    among fine cells in proportion to their bilinear weights for it, so that rows keep their sums.
    """
    if own == grid:
        return weights
    cells = torch.eye(own[0] * own[1], device=weights.device).reshape(1, -1, *own)
    to_fine = functional.interpolate(cells, grid, mode="bilinear", align_corners=False)[0].flatten(1)  # (own, fine)
    spread = to_fine / to_fine.sum(1, keepdim=True)
    return to_fine.T @ weights @ spread


def largest_sources(weights: torch.Tensor, slots: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return the largest weights of each row of (cell, source cell), and their sources, rising.

    Returns
    -------
    sources : numpy.ndarray
        (cell, slot), int32; -1 in empty slots, which come last.
    weights : numpy.ndarray
        (cell, slot), float32, as they are; 0 in empty slots.
    """
    values, sources = weights.float().topk(slots, dim=1)
    none = values <= 0
    sources = sources.masked_fill(none, weights.shape[1])
    order = sources.argsort(dim=1, stable=True)
    sources, values, none = (found.gather(1, order) for found in (sources, values, none))
    sources = sources.masked_fill(none, -1)
    return sources.int().cpu().numpy(), values.masked_fill(none, 0).cpu().numpy()
