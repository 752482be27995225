"""Base class of the latent diffusion UNets."""

from dataclasses import dataclass

import torch
from torch import nn

from ..encoders import FrameEncoder
from ..noising.schedules import NoiseSchedule
from ..taps import Tap
from .base import Backbone

__all__ = ["LatentBackbone"]


@dataclass(kw_only=True)
class LatentBackbone(Backbone):
    """A diffusers UNet on a VAE's latents.

    Attributes
    ----------
    frame_encoder
        The VAE, or its placeholder.
    schedule
        The forward process of the model's training.
    """

    frame_encoder: FrameEncoder
    schedule: NoiseSchedule

    @property
    def taps(self) -> dict[str, Tap]:
        """``down_blocks[i]``, ``mid_block`` and ``up_blocks[i]``, in the order of the forward pass."""
        stride = self.frame_encoder.stride
        taps: dict[str, Tap] = {}
        for i, block in enumerate(self.network.get_submodule("down_blocks").children()):
            stride *= 2 if _resamples(block, "downsamplers") else 1
            taps[f"down_blocks[{i}]"] = Tap(module=block, stride=stride)
        taps["mid_block"] = Tap(module=self.network.get_submodule("mid_block"), stride=stride)
        for i, block in enumerate(self.network.get_submodule("up_blocks").children()):
            stride //= 2 if _resamples(block, "upsamplers") else 1
            taps[f"up_blocks[{i}]"] = Tap(module=block, stride=stride)
        return taps

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode frames to latents, multiplied by the VAE's scaling factor; see `Backbone.encode`."""
        return self.frame_encoder.mode(pixels) * self.frame_encoder.scaling_factor


def _resamples(block: nn.Module, layers: str) -> bool:
    return getattr(block, layers, None) is not None
