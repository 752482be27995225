"""Stable Video Diffusion (Blattmann et al., arXiv 2311.15127): a video backbone, conditioned on the first frame."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler, UNetSpatioTemporalConditionModel
from torch.nn import functional

from ...store.errors import WeightsError
from ..components import ModelFolder
from ..encoders import ImageEmbedder, load_frame_encoder
from ..schedule import NoiseSchedule
from .base import Condition, Draw, Timestep
from .latent import LatentBackbone

__all__ = ["StableVideoDiffusion", "load", "resize_for_clip"]

NAME = "svd"

#: The pipeline's defaults. The UNet was trained on frames per second less one, and is told so.
FPS = 7
MOTION_BUCKET = 127
NOISE_AUGMENTATION = 0.02

#: CLIP's image size, which the pipeline fixes.
_CLIP_SIZE = (224, 224)


@dataclass(kw_only=True)
class StableVideoDiffusion(LatentBackbone):
    """Stable Video Diffusion without guidance, in the EDM parametrisation (Karras et al. 2022).

    Attributes
    ----------
    image_embedder
        CLIP, for the conditioning frame.
    """

    image_embedder: ImageEmbedder

    def perturb(self, latents: torch.Tensor, noise: torch.Tensor, timestep: int) -> torch.Tensor:
        """Return x_0 + sigma eps, sigma from the betas of the model's training schedule."""
        return latents + self.schedule.sigma(timestep).to(latents.device) * noise.to(latents.device)

    def condition(self, pixels: torch.Tensor, draw: Draw) -> Condition:
        """Compute the image latents and the CLIP embedding of the clip's first frame; see `Backbone.condition`.

        Returns
        -------
        Condition
            ``image_latents`` (1, frame, channel, y, x): the latents of the first frame with a little noise on its
            pixels, not multiplied by the scaling factor, the same for every frame; ``image_embeddings``
            (1, 1, channel), of the frame without that noise.
        """
        first = pixels[:1].float().cpu()
        noisy = first + NOISE_AUGMENTATION * draw(first.shape)
        latents = self.frame_encoder.mode(noisy).to(self.dtype)
        resized = resize_for_clip(first, _CLIP_SIZE)
        return {
            "image_latents": latents[:, None].repeat(1, len(pixels), 1, 1, 1),
            "image_embeddings": self.image_embedder.embed((resized + 1) / 2),
        }

    def unet_arguments(self, noisy: torch.Tensor, timestep: Timestep, condition: Condition) -> dict[str, Any]:
        """Return the arguments as `StableVideoDiffusionPipeline` passes them without guidance."""
        if isinstance(timestep, int):
            sigma = self.schedule.sigma(timestep)
        else:
            sigma = torch.stack([self.schedule.sigma(step) for step in timestep])  # (clip,)
        sigma = sigma.to(noisy.device)
        scaled = (noisy / (sigma.reshape(-1, 1, 1, 1, 1) ** 2 + 1) ** 0.5).to(self.dtype)
        told = torch.tensor([[FPS - 1, MOTION_BUCKET, NOISE_AUGMENTATION]], dtype=self.dtype, device=self.device)
        return {
            "sample": torch.cat([scaled, condition["image_latents"]], dim=2),
            "timestep": 0.25 * sigma.log(),
            "encoder_hidden_states": condition["image_embeddings"],
            "added_time_ids": told.repeat(len(noisy), 1),
            "return_dict": False,
        }


def resize_for_clip(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize as `StableVideoDiffusionPipeline` does for CLIP: a Gaussian blur, then bicubic with aligned corners.

    Parameters
    ----------
    image
        (1, 3, height, width), float32.
    size
        (height, width) of the result.

    Returns
    -------
    torch.Tensor
        (1, 3, *size), float32.
    """
    blurred = _blur(_blur(image, -1, size[1]), -2, size[0])
    return functional.interpolate(blurred, size=size, mode="bicubic", align_corners=True)


def _blur(image: torch.Tensor, axis: int, target: int) -> torch.Tensor:
    """Blur along one axis (-1 or -2) for a reduction of that axis to `target` pixels."""
    sigma = max((image.shape[axis] / target - 1) / 2, 0.001)
    taps = max(int(4 * sigma), 3) | 1  # odd
    offsets = torch.arange(taps, dtype=torch.float32) - taps // 2
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = weights / weights.sum()
    along_x = axis == -1
    shape = (1, 1, 1, taps) if along_x else (1, 1, taps, 1)
    pad = taps // 2
    padded = functional.pad(image, (pad, pad, 0, 0) if along_x else (0, 0, pad, pad), mode="reflect")
    channels = image.shape[1]
    return functional.conv2d(padded, kernel.reshape(shape).repeat(channels, 1, 1, 1), groups=channels)


def load(weights: Path, *, device: torch.device, dtype: torch.dtype) -> StableVideoDiffusion:
    """Load Stable Video Diffusion (14 or 25 frames, as its configuration says) from a pipeline's folder.

    Raises
    ------
    WeightsError
        When a part is missing without a stand-in declared for it, damaged or of another model.
    """
    folder = ModelFolder(weights, backbone=NAME, declarable=("vae", "image"))
    unet = folder.model("unet", UNetSpatioTemporalConditionModel, device=device, dtype=dtype)
    channels = unet.config.in_channels // 2  # noisy latents beside the conditioning frame's
    width = unet.config.cross_attention_dim
    if not isinstance(width, int):
        raise WeightsError(f"the UNet takes embeddings of several widths ({width}); one image embedding cannot fit")
    scheduler = folder.scheduler(EulerDiscreteScheduler)
    frame_encoder = load_frame_encoder(
        folder, AutoencoderKLTemporalDecoder, channels=channels, upcast=True, device=device, dtype=dtype
    )
    image_embedder = ImageEmbedder(folder, width=width, device=device, dtype=dtype)
    return StableVideoDiffusion(
        name=NAME,
        unet=unet,
        device=device,
        dtype=dtype,
        weights_id=folder.weights_id(),
        timestep_count=len(scheduler.alphas_cumprod),
        clip_length=unet.config.num_frames,
        conditioning={
            "image": "first frame of the clip",
            "fps": FPS,
            "motion_bucket_id": MOTION_BUCKET,
            "noise_augmentation": NOISE_AUGMENTATION,
        },
        frame_encoder=frame_encoder,
        schedule=NoiseSchedule(alphas_cumprod=scheduler.alphas_cumprod),
        image_embedder=image_embedder,
    )
