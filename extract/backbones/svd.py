"""Stable Video Diffusion (Blattmann et al., arXiv 2311.15127): a video backbone, conditioned on a frame."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler, UNetSpatioTemporalConditionModel
from torch.nn import functional

from ...store.errors import WeightsError
from ..encoders import ImageEmbedder, load_frame_encoder
from ..model_folder import ModelFolder
from ..noising.schedules import EdmSchedule
from ..settings import CONDITIONING_FRAMES, DEFAULT_OPTIONS, BackboneOptions
from .base import NO_ARTIFACTS, Artifacts, Condition, Draw, Timestep
from .latent import LatentBackbone
from .temporal_layers import skip_temporal_layers

NAME = "svd"

#: The pipeline's defaults. The UNet's input is frames per second minus one, as in training.
FPS = 7
MOTION_BUCKET = 127
NOISE_AUGMENTATION = 0.02

#: (height, width) of CLIP's input in the pipeline.
_CLIP_SIZE = (224, 224)


@dataclass(kw_only=True)
class StableVideoDiffusion(LatentBackbone):
    """Stable Video Diffusion without guidance, in the EDM parametrisation (Karras et al. 2022)."""

    schedule: EdmSchedule  # the forward process x_0 + sigma eps

    image_embedder: ImageEmbedder  # CLIP, for the conditioning frame
    #: Inputs of the UNet: frames per second (it gets this minus one), the amount of motion, and the standard deviation
    #: of the noise on the conditioning frame's pixels.
    fps: int = FPS
    motion_bucket: int = MOTION_BUCKET
    noise_augmentation: float = NOISE_AUGMENTATION

    def condition(
        self, pixels: torch.Tensor, image: torch.Tensor | None, draw: Draw, artifacts: Artifacts = NO_ARTIFACTS
    ) -> Condition:
        """Compute the image latents and the CLIP embedding of the conditioning frame; see `Backbone.condition`.

        Returns
        -------
        Condition
            ``image_latents`` (1, frame, channel, y, x): the unscaled latents of the conditioning frame with noise on
            its pixels, repeated for every frame; ``image_embeddings`` (1, 1, channel) of that frame without noise.
            Zeros without a conditioning frame.
        """
        if image is None:
            latents = torch.zeros_like(self.frame_encoder.mode(pixels[:1]))
            embeddings = self.image_embedder.embed(None)
        else:
            image = image.float().cpu()
            latents = self.frame_encoder.mode(image + self.noise_augmentation * draw(image.shape))
            embeddings = self.image_embedder.embed((resize_for_clip(image, _CLIP_SIZE) + 1) / 2)
        return {
            "image_latents": latents.to(self.dtype)[:, None].repeat(1, len(pixels), 1, 1, 1),
            "image_embeddings": embeddings,
        }

    def network_arguments(self, noisy: torch.Tensor, timestep: Timestep, condition: Condition) -> dict[str, Any]:
        """Return the arguments as `StableVideoDiffusionPipeline` passes them without guidance."""
        if isinstance(timestep, int):
            sigma = self.schedule.sigma(timestep)
        else:
            sigma = torch.stack([self.schedule.sigma(step) for step in timestep])  # (clip,)
        sigma = sigma.to(noisy.device)
        scaled = (noisy / (sigma.reshape(-1, 1, 1, 1, 1) ** 2 + 1) ** 0.5).to(self.dtype)
        told = [[self.fps - 1, self.motion_bucket, self.noise_augmentation]]
        return {
            "sample": torch.cat([scaled, condition["image_latents"]], dim=2),
            "timestep": 0.25 * sigma.log(),
            "encoder_hidden_states": condition["image_embeddings"],
            "added_time_ids": torch.tensor(told, dtype=self.dtype, device=self.device).repeat(len(noisy), 1),
            "return_dict": False,
        }

    def unfold_output(self, output: torch.Tensor, noisy: torch.Tensor) -> torch.Tensor:
        """Return the output unchanged, since its axes are those of x_tau."""
        return output


def resize_for_clip(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize an image (1, 3, height, width), float32, for CLIP as `StableVideoDiffusionPipeline` does.

    That is a Gaussian blur, then bicubic interpolation with aligned corners. `size` is (height, width).
    """
    blurred = _blur(_blur(image, -1, size[1]), -2, size[0])
    return functional.interpolate(blurred, size=size, mode="bicubic", align_corners=True)


def _blur(image: torch.Tensor, axis: int, target: int) -> torch.Tensor:
    """Blur along one axis (-1 or -2) before that axis is resized to `target` pixels."""
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


def load(
    weights: Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    options: BackboneOptions = DEFAULT_OPTIONS,
    seed: int | None = None,
) -> StableVideoDiffusion:
    """Load Stable Video Diffusion from a pipeline's folder; with a seed, its UNet has random weights.

    The number of frames in a clip, 14 or 25, comes from the UNet's configuration. Raises WeightsError when a part is
    missing and not declared as a placeholder, damaged or of another model.
    """
    folder = ModelFolder(weights, backbone=NAME, declarable=("vae", "image"), seed=seed)
    unet = folder.network("unet", UNetSpatioTemporalConditionModel, device=device, dtype=dtype)
    if not options.temporal:
        skip_temporal_layers(unet)
    channels = unet.config.in_channels // 2  # noisy latents beside the conditioning frame's
    width = unet.config.cross_attention_dim
    if not isinstance(width, int):
        raise WeightsError(f"the UNet takes embeddings of several widths ({width}); one image embedding cannot fit")
    scheduler = folder.scheduler(EulerDiscreteScheduler)
    frame_encoder = load_frame_encoder(
        folder, AutoencoderKLTemporalDecoder, channels=channels, upcast=True, device=device, dtype=dtype
    )
    image_embedder = ImageEmbedder(folder, width=width, device=device, dtype=dtype)
    condition_on = options.condition_on or "clip"
    fps = options.fps or FPS
    motion_bucket = MOTION_BUCKET if options.motion_bucket is None else options.motion_bucket
    noise_augmentation = NOISE_AUGMENTATION if options.noise_augmentation is None else options.noise_augmentation
    return StableVideoDiffusion(
        name=NAME,
        network=unet,
        device=device,
        dtype=dtype,
        weights_id=folder.weights_id(),
        prediction=scheduler.config.prediction_type,
        clip_length=unet.config.num_frames,
        condition_on=condition_on,
        conditioning={
            "image": CONDITIONING_FRAMES[condition_on],
            "fps": fps,
            "motion_bucket_id": motion_bucket,
            "noise_augmentation": float(noise_augmentation),
            **options.request,
        },
        frame_encoder=frame_encoder,
        schedule=EdmSchedule(alphas_cumprod=scheduler.alphas_cumprod),
        image_embedder=image_embedder,
        fps=fps,
        motion_bucket=motion_bucket,
        noise_augmentation=noise_augmentation,
    )
