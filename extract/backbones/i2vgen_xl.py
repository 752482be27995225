"""I2VGen-XL (Zhang et al., arXiv 2311.04145): a video backbone, conditioned on a frame and a prompt."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, I2VGenXLUNet
from PIL import Image

from ..encoders import ImageEmbedder, TextEncoder, clip_text, load_frame_encoder
from ..model_folder import ModelFolder
from ..noising.schedules import NoiseSchedule
from ..settings import CONDITIONING_FRAMES, DEFAULT_OPTIONS, BackboneOptions
from .base import NO_ARTIFACTS, Artifacts, Condition, Draw, Timestep
from .latent import TextBackbone
from .temporal_layers import skip_temporal_layers

NAME = "i2vgen-xl"

#: Number of frames in a training clip.
CLIP_LENGTH = 16

#: Default of the UNet's input `fps`, as in the pipeline.
FPS = 16

#: Number of skipped layers: the pipeline reads the text encoder's second last layer.
_CLIP_SKIP = 1


@dataclass(kw_only=True)
class I2VGenXL(TextBackbone):
    """I2VGen-XL without guidance."""

    image_embedder: ImageEmbedder  # CLIP, for the conditioning frame
    fps: int = FPS  # frames per second, an input of the UNet

    def condition(
        self, pixels: torch.Tensor, image: torch.Tensor | None, draw: Draw, artifacts: Artifacts = NO_ARTIFACTS
    ) -> Condition:
        """Compute the image latents and the CLIP embedding of the conditioning frame; see `Backbone.condition`.

        Returns
        -------
        Condition
            ``image_latents`` (1, channel, frame, y, x): latents of the conditioning frame, then for each frame after
            the first a constant plane with its position in (0, 1]; ``image_embeddings`` (1, 1, channel). Without a
            conditioning frame, its latents and embedding are zeros; the planes stay, since they have no content.
        """
        latents = self.encode(pixels[:1] if image is None else image).to(self.dtype)
        latents = latents[:, :, None]  # (1, channel, 1, y, x)
        if image is None:
            latents = torch.zeros_like(latents)
        # Compute in float32 first, since half precision would also round the steps.
        positions = torch.linspace(0, 1, len(pixels), dtype=torch.float32)[1:].to(latents)
        planes = positions[None, None, :, None, None].expand(*latents.shape[:2], -1, *latents.shape[3:])
        square = None if image is None else centre_square(image[0], self.image_embedder.size)[None]
        return {
            "image_latents": torch.cat([latents, planes], dim=2),
            "image_embeddings": self.image_embedder.embed(square),
        }

    def network_arguments(self, noisy: torch.Tensor, timestep: Timestep, condition: Condition) -> dict[str, Any]:
        """Return the arguments as `I2VGenXLPipeline` passes them without guidance."""
        clips = len(noisy)
        return {
            "sample": noisy.transpose(1, 2).to(self.dtype),  # (clip, channel, frame, y, x)
            "timestep": self.on_device(timestep),
            "fps": torch.full((clips,), self.fps, device=self.device),
            "image_latents": condition["image_latents"],
            "image_embeddings": condition["image_embeddings"],
            "encoder_hidden_states": self.text_states_of(condition, clips),
            "return_dict": False,
        }


def centre_square(frame: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Crop the centre square of a frame for CLIP as `I2VGenXLPipeline` does at the frame's size.

    A box filter enlarges the frame until its height covers its width; a square of that width is cropped and resized
    bilinearly. Sizes are rounded with the same arithmetic as in the pipeline. The frame is (3, height, width), RGB in
    [-1, 1], multiples of 1/127.5 (pixels of 8 bits); the result (3, *size), float32, RGB in [0, 1].
    """
    pixels = ((frame.float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    side = image.width
    scale = min(1.0, image.height / side)
    image = image.resize((round(image.width // scale), round(image.height // scale)), Image.Resampling.BOX)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side)).resize(size[::-1], Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255


def load(
    weights: Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    options: BackboneOptions = DEFAULT_OPTIONS,
    seed: int | None = None,
    name: str = NAME,
) -> I2VGenXL:
    """Load I2VGen-XL from a pipeline's folder; with a seed, its UNet has random weights.

    `name` is the backbone's name in the registry, since other models of this architecture exist. Raises WeightsError
    when a part is missing and not declared as a placeholder, damaged or of another model, and ConfigError for a prompt
    that cannot be encoded.
    """
    folder = ModelFolder(weights, backbone=name, declarable=("vae", "text", "image", "clip_length"), seed=seed)
    unet = folder.network("unet", I2VGenXLUNet, device=device, dtype=dtype)
    if not options.temporal:
        skip_temporal_layers(unet)
    width = unet.config.cross_attention_dim
    scheduler = folder.scheduler(DDIMScheduler)
    frame_encoder = load_frame_encoder(
        folder, AutoencoderKL, channels=unet.config.in_channels, device=device, dtype=dtype
    )
    prompt, fps = options.prompt or "", options.fps or FPS
    condition_on = options.condition_on or "clip"
    text = TextEncoder(folder, clip_text(_CLIP_SKIP), width=width, device=device, dtype=dtype)
    text_states = text.encode(prompt)
    text.release()
    image_embedder = ImageEmbedder(folder, width=width, device=device, dtype=dtype)
    return I2VGenXL(
        name=name,
        network=unet,
        device=device,
        dtype=dtype,
        weights_id=folder.weights_id(),
        prediction=scheduler.config.prediction_type,
        clip_length=folder.placeholders.clip_length or CLIP_LENGTH,
        condition_on=condition_on,
        conditioning={
            "prompt": prompt,
            "image": CONDITIONING_FRAMES[condition_on],
            "fps": fps,
            **options.request,
        },
        frame_encoder=frame_encoder,
        schedule=NoiseSchedule(alphas_cumprod=scheduler.alphas_cumprod),
        text=text,
        text_states=text_states,
        image_embedder=image_embedder,
        fps=fps,
    )
