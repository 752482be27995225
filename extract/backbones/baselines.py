"""Features that nothing was learned for: colours, and positions. Controls, to be held beside a network's features.

Both lay values out as angles, (cos, sin) of each, so that the cosine of two places is the mean of the cosines of their
values' differences: 1 where they are equal, and falling with the square of a small difference. TED's weighted fusion
then fuses them with anything, as it fuses two networks' features.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .base import Backbone, Condition, Timestep

__all__ = ["Baseline", "load_position", "load_rgb"]

#: Strides of the grids that can be read.
_STRIDES = (4, 8, 16)


class _Grids(nn.Module):
    """Averages values over squares, and lays them out as angles: a child for each stride."""

    def __init__(self) -> None:
        super().__init__()
        for stride in _STRIDES:
            self.add_module(f"stride{stride}", _Angles(stride))

    def forward(self, values: torch.Tensor) -> None:
        for child in self.children():
            child(values)


class _Angles(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self._stride = stride

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return (frame, 2 * value, grid y, grid x) of values (frame, value, height, width) in [0, 1]."""
        angles = functional.avg_pool2d(values, self._stride) * (math.pi / 2)
        return torch.cat([angles.cos(), angles.sin()], dim=1)


@dataclass(kw_only=True)
class Baseline(Backbone):
    """A frame's own values on a grid, without a network.

    Attributes
    ----------
    positions
        Whether the values are the positions, x and y over the longer side, instead of the colours, R, G and B.
    """

    positions: bool

    @property
    def taps(self) -> dict[str, nn.Module]:
        """``stride4``, ``stride8`` and ``stride16``: pixels that make a cell, along each axis."""
        return dict(self.network.named_children())

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return colours or positions in [0, 1]: (frame, value, height, width); see `Backbone.encode`."""
        if not self.positions:
            return (pixels.to(self.device, torch.float32) + 1) / 2
        height, width = pixels.shape[-2:]
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        return (torch.stack([x, y]) / max(height, width)).to(self.device).expand(len(pixels), -1, -1, -1)

    def perturb(self, latents: torch.Tensor, noise: torch.Tensor, timestep: int) -> torch.Tensor:
        """Return the values as they are: there is no noise."""
        return latents

    def network_arguments(self, noisy: torch.Tensor, timestep: Timestep, condition: Condition) -> dict[str, Any]:
        """Return the values of all clips as one batch."""
        return {"values": noisy.flatten(0, 1)}


def load_rgb(_weights: Path | None, *, device: torch.device, dtype: torch.dtype) -> Baseline:
    """Make the colours; there is nothing to load, and they are computed in float32 whatever is asked for."""
    return _make("rgb", device, positions=False)


def load_position(_weights: Path | None, *, device: torch.device, dtype: torch.dtype) -> Baseline:
    """Make the positions; see `load_rgb`."""
    return _make("position", device, positions=True)


def _make(name: str, device: torch.device, *, positions: bool) -> Baseline:
    return Baseline(
        name=name,
        network=_Grids().to(device).eval(),
        device=device,
        dtype=torch.float32,
        weights_id="none",
        frame_multiple=max(_STRIDES),
        timestep_count=1,
        takes_noise=False,
        positions=positions,
    )
