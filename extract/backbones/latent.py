"""What the latent diffusion backbones share."""

from dataclasses import dataclass

import torch
from torch import nn

from ..encoders import FrameEncoder
from ..noising.schedules import NoiseSchedule
from .base import Backbone

__all__ = ["LatentBackbone"]


@dataclass(kw_only=True)
class LatentBackbone(Backbone):
    """A backbone whose UNet works on a VAE's latents.

    Attributes
    ----------
    frame_encoder
        The VAE, or what stands in for it.
    schedule
        The noise schedule of the model's training.
    """

    frame_encoder: FrameEncoder
    schedule: NoiseSchedule

    @property
    def taps(self) -> dict[str, nn.Module]:
        """``down_blocks[i]``, ``mid_block`` and ``up_blocks[i]``, in the order of the forward pass."""
        down, up = self.network.get_submodule("down_blocks"), self.network.get_submodule("up_blocks")
        return {
            **{f"down_blocks[{i}]": block for i, block in enumerate(down.children())},
            "mid_block": self.network.get_submodule("mid_block"),
            **{f"up_blocks[{i}]": block for i, block in enumerate(up.children())},
        }

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode frames to latents, multiplied by the VAE's scaling factor; see `Backbone.encode`."""
        return self.frame_encoder.mode(pixels) * self.frame_encoder.scaling_factor

    def perturb(self, latents: torch.Tensor, noise: torch.Tensor, timestep: int) -> torch.Tensor:
        """Return sqrt(abar) x_0 + sqrt(1 - abar) eps."""
        return self.schedule.perturb(latents, noise, timestep)
