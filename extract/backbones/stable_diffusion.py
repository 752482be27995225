"""Stable Diffusion 2.1 (Rombach et al. 2022): an image backbone, with an empty prompt."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from ..components import ModelFolder
from ..encoders import empty_prompt_states, load_frame_encoder
from ..schedule import NoiseSchedule
from .base import Condition, Draw, Timestep
from .latent import LatentBackbone

__all__ = ["StableDiffusion", "load"]

NAME = "sd21"


@dataclass(kw_only=True)
class StableDiffusion(LatentBackbone):
    """Stable Diffusion, one frame at a time.

    Attributes
    ----------
    text_states
        Of the empty prompt: (1, token, channel).
    """

    text_states: torch.Tensor

    def condition(self, pixels: torch.Tensor, draw: Draw) -> Condition:
        """Return nothing: the prompt is the same for all frames."""
        return {}

    def unet_arguments(self, noisy: torch.Tensor, timestep: Timestep, condition: Condition) -> dict[str, Any]:
        """Return the arguments as `StableDiffusionPipeline` passes them without guidance."""
        return {
            "sample": noisy.flatten(0, 1).to(self.dtype),
            "timestep": torch.as_tensor(timestep, device=self.device),
            "encoder_hidden_states": self.text_states.expand(noisy.shape[0] * noisy.shape[1], -1, -1),
            "return_dict": False,
        }


def load(weights: Path, *, device: torch.device, dtype: torch.dtype) -> StableDiffusion:
    """Load Stable Diffusion 2.1 from a pipeline's folder.

    Raises
    ------
    WeightsError
        When a part is missing without a stand-in declared for it, damaged or of another model.
    """
    folder = ModelFolder(weights, backbone=NAME, declarable=("vae", "text"))
    unet = folder.model("unet", UNet2DConditionModel, device=device, dtype=dtype)
    scheduler = folder.scheduler(DDIMScheduler)
    frame_encoder = load_frame_encoder(
        folder, AutoencoderKL, channels=unet.config.in_channels, device=device, dtype=dtype
    )
    text_states = empty_prompt_states(folder, width=unet.config.cross_attention_dim, device=device, dtype=dtype)
    return StableDiffusion(
        name=NAME,
        unet=unet,
        device=device,
        dtype=dtype,
        weights_id=folder.weights_id(),
        timestep_count=len(scheduler.alphas_cumprod),
        conditioning={"prompt": ""},
        frame_encoder=frame_encoder,
        schedule=NoiseSchedule(alphas_cumprod=scheduler.alphas_cumprod),
        text_states=text_states,
    )
