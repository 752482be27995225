"""I2VGen-XL (Zhang et al., arXiv 2311.04145): a video backbone, conditioned on the clip's first frame."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, I2VGenXLUNet
from PIL import Image

from ..components import ModelFolder
from ..encoders import ImageEmbedder, empty_prompt_states, load_frame_encoder
from ..schedule import NoiseSchedule
from .base import Condition, Draw, Timestep
from .latent import LatentBackbone

__all__ = ["I2VGenXL", "centre_square", "load"]

NAME = "i2vgen-xl"

#: Frames of a clip in training.
CLIP_LENGTH = 16

#: Frames per second that the UNet is told: the pipeline's default.
FPS = 16

#: The pipeline reads the text encoder's last layer but one.
_CLIP_SKIP = 1


@dataclass(kw_only=True)
class I2VGenXL(LatentBackbone):
    """I2VGen-XL without guidance.

    Attributes
    ----------
    text_states
        Of the empty prompt: (1, token, channel).
    image_embedder
        CLIP, for the conditioning frame.
    """

    text_states: torch.Tensor
    image_embedder: ImageEmbedder

    def condition(self, pixels: torch.Tensor, draw: Draw) -> Condition:
        """Compute the image latents and the CLIP embedding of the clip's first frame; see `Backbone.condition`.

        Returns
        -------
        Condition
            ``image_latents`` (1, channel, frame, y, x): the first frame's latents, then planes that hold each
            frame's position in (0, 1]; ``image_embeddings`` (1, 1, channel).
        """
        first = pixels[:1]
        latents = self.encode(first).to(self.dtype)[:, :, None]  # (1, channel, 1, y, x)
        # In float32 first: in half precision the steps between them would be rounded, too.
        positions = torch.linspace(0, 1, len(pixels), dtype=torch.float32)[1:].to(latents)
        planes = positions[None, None, :, None, None].expand(*latents.shape[:2], -1, *latents.shape[3:])
        square = centre_square(first[0], self.image_embedder.size)
        return {
            "image_latents": torch.cat([latents, planes], dim=2),
            "image_embeddings": self.image_embedder.embed(square[None]),
        }

    def unet_arguments(self, noisy: torch.Tensor, timestep: Timestep, condition: Condition) -> dict[str, Any]:
        """Return the arguments as `I2VGenXLPipeline` passes them without guidance."""
        clips = len(noisy)
        return {
            "sample": noisy.transpose(1, 2).to(self.dtype),  # (clip, channel, frame, y, x)
            "timestep": torch.as_tensor(timestep, device=self.device),
            "fps": torch.full((clips,), FPS, device=self.device),
            "image_latents": condition["image_latents"],
            "image_embeddings": condition["image_embeddings"],
            "encoder_hidden_states": self.text_states.expand(clips, -1, -1),
            "return_dict": False,
        }


def centre_square(frame: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Cut the centre square out of a frame as `I2VGenXLPipeline` does for CLIP, when it works at the frame's size.

    The frame is enlarged by a box filter until its height covers its width, a square of the width is cut out of it
    and resized bilinearly. The sizes are rounded as there, in the same arithmetic.

    Parameters
    ----------
    frame
        (3, height, width), RGB in [-1, 1], multiples of 1/127.5 (pixels of 8 bits).
    size
        (height, width) of the result.

    Returns
    -------
    torch.Tensor
        (3, *size), float32, RGB in [0, 1].
    """
    pixels = ((frame.float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    side = image.width
    scale = min(1.0, image.height / side)
    image = image.resize((round(image.width // scale), round(image.height // scale)), Image.Resampling.BOX)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side)).resize(size[::-1], Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255


def load(weights: Path, *, device: torch.device, dtype: torch.dtype) -> I2VGenXL:
    """Load I2VGen-XL from a pipeline's folder.

    Raises
    ------
    WeightsError
        When a part is missing without a stand-in declared for it, damaged or of another model.
    """
    folder = ModelFolder(weights, backbone=NAME, declarable=("vae", "text", "image", "clip_length"))
    unet = folder.model("unet", I2VGenXLUNet, device=device, dtype=dtype)
    width = unet.config.cross_attention_dim
    scheduler = folder.scheduler(DDIMScheduler)
    frame_encoder = load_frame_encoder(
        folder, AutoencoderKL, channels=unet.config.in_channels, device=device, dtype=dtype
    )
    text_states = empty_prompt_states(folder, width=width, skip=_CLIP_SKIP, device=device, dtype=dtype)
    image_embedder = ImageEmbedder(folder, width=width, device=device, dtype=dtype)
    return I2VGenXL(
        name=NAME,
        unet=unet,
        device=device,
        dtype=dtype,
        weights_id=folder.weights_id(),
        timestep_count=len(scheduler.alphas_cumprod),
        clip_length=folder.standins.clip_length or CLIP_LENGTH,
        conditioning={"prompt": "", "image": "first frame of the clip", "fps": FPS},
        frame_encoder=frame_encoder,
        schedule=NoiseSchedule(alphas_cumprod=scheduler.alphas_cumprod),
        text_states=text_states,
        image_embedder=image_embedder,
    )
