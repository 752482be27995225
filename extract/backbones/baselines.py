"""Controls without learning, to compare a network's features with: colours and positions.

Each value v in [0, 1] becomes (cos(v pi / 2), sin(v pi / 2)). So the cosine similarity of two cells is the mean over
their values of cos((v - w) pi / 2): 1 for equal values, and quadratic in a small difference. These features can be
fused with those of any network.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..taps import Tap
from .base import Backbone, Condition, Timestep

#: Strides of the grids, in pixels.
_STRIDES = (4, 8, 16)


class _Grids(nn.Module):
    """Average values over squares and turn them into angles; one submodule for each stride."""

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
        """Turn values (frame, value, height, width) in [0, 1] into (frame, 2 * value, grid y, grid x)."""
        angles = functional.avg_pool2d(values, self._stride) * (math.pi / 2)
        return torch.cat([angles.cos(), angles.sin()], dim=1)


@dataclass(kw_only=True)
class Baseline(Backbone):
    """Colours or positions of a frame's pixels, averaged on a grid."""

    positions: bool  # True for positions (x and y, divided by the longer side), False for colours (R, G and B)

    @property
    def taps(self) -> dict[str, Tap]:
        """``stride4``, ``stride8`` and ``stride16``: pixels per cell, along each axis."""
        children = dict(self.network.named_children())
        return {f"stride{stride}": Tap(module=children[f"stride{stride}"], stride=stride) for stride in _STRIDES}

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return colours or positions in [0, 1]: (frame, value, height, width); see `Backbone.encode`."""
        if not self.positions:
            return (pixels.to(self.device, torch.float32) + 1) / 2
        height, width = pixels.shape[-2:]
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        return (torch.stack([x, y]) / max(height, width)).to(self.device).expand(len(pixels), -1, -1, -1)

    def network_arguments(self, noisy: torch.Tensor, timestep: Timestep, condition: Condition) -> dict[str, Any]:
        """Return the encoded frames of all clips as one batch."""
        return {"values": noisy.flatten(0, 1)}


def load_rgb(_weights: Path | None, *, device: torch.device, dtype: torch.dtype) -> Baseline:
    """Create the colour baseline, which has no weights and always runs in float32."""
    return _make("rgb", device, positions=False)


def load_position(_weights: Path | None, *, device: torch.device, dtype: torch.dtype) -> Baseline:
    """Create the position baseline, which has no weights and always runs in float32."""
    return _make("position", device, positions=True)


def _make(name: str, device: torch.device, *, positions: bool) -> Baseline:
    return Baseline(
        name=name,
        network=_Grids().to(device).eval(),
        device=device,
        dtype=torch.float32,
        weights_id="none",
        frame_multiple=max(_STRIDES),
        positions=positions,
    )
