"""Stable Diffusion 2.1 (Rombach et al. 2022): an image backbone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from ...store import TOKEN
from ..encoders import TextEncoder, clip_text, load_frame_encoder
from ..model_folder import ModelFolder
from ..noising.schedules import NoiseSchedule
from ..settings import DEFAULT_OPTIONS, BackboneOptions
from .base import NO_ARTIFACTS, Artifacts, Condition, Draw, Timestep
from .latent import TextBackbone, with_tokens

NAME = "sd21"


@dataclass(kw_only=True)
class StableDiffusion(TextBackbone):
    """Stable Diffusion, one frame at a time, without guidance; conditioned on a prompt or on a video's tokens."""

    def condition(
        self, pixels: torch.Tensor, image: torch.Tensor | None, draw: Draw, artifacts: Artifacts = NO_ARTIFACTS
    ) -> Condition:
        """Return the text states with the video's tokens, if the backbone takes them; see `Backbone.condition`."""
        if not self.artifacts:
            return {}
        return {"text_states": with_tokens(self.text_states, artifacts[TOKEN.name]["tokens"])}

    def network_arguments(self, noisy: torch.Tensor, timestep: Timestep, condition: Condition) -> dict[str, Any]:
        """Return the arguments as `StableDiffusionPipeline` passes them without guidance."""
        return {
            "sample": noisy.flatten(0, 1).to(self.dtype),
            "timestep": self.on_device(timestep),
            "encoder_hidden_states": self.text_states_of(condition, *noisy.shape[:2]),
            "return_dict": False,
        }


def load(
    weights: Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    options: BackboneOptions = DEFAULT_OPTIONS,
    seed: int | None = None,
    name: str = NAME,
) -> StableDiffusion:
    """Load Stable Diffusion 2.1 from a pipeline's folder; with a seed, its UNet has random weights.

    `name` is the backbone's name in the registry, since other models of this architecture exist. Raises WeightsError
    when a part is missing and not declared as a placeholder, damaged or of another model, and ConfigError for a prompt
    that cannot be encoded.
    """
    folder = ModelFolder(weights, backbone=name, declarable=("vae", "text"), seed=seed)
    unet = folder.network("unet", UNet2DConditionModel, device=device, dtype=dtype)
    scheduler = folder.scheduler(DDIMScheduler)
    frame_encoder = load_frame_encoder(
        folder, AutoencoderKL, channels=unet.config.in_channels, device=device, dtype=dtype
    )
    prompt = options.prompt or ""
    text = TextEncoder(folder, clip_text(), width=unet.config.cross_attention_dim, device=device, dtype=dtype)
    text_states = text.encode(prompt)
    text.release()
    return StableDiffusion(
        name=name,
        network=unet,
        device=device,
        dtype=dtype,
        weights_id=folder.weights_id(),
        prediction=scheduler.config.prediction_type,
        artifacts=(TOKEN.name,) if options.tokens else (),
        conditioning={"prompt": prompt},
        frame_encoder=frame_encoder,
        schedule=NoiseSchedule(alphas_cumprod=scheduler.alphas_cumprod),
        text=text,
        text_states=text_states,
    )
