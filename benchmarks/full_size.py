"""Published architectures at full size with random weights, to measure their cost without a download."""

import math
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLTemporalDecoder,
    DDIMScheduler,
    EulerDiscreteScheduler,
    I2VGenXLUNet,
    UNet2DConditionModel,
    UNetSpatioTemporalConditionModel,
)
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ted.extract.backbones.adm import AdmBackbone
from ted.extract.backbones.adm_config import PUBLISHED, build_schedule, build_unet
from ted.extract.backbones.base import Backbone
from ted.extract.backbones.i2vgen_xl import I2VGenXL
from ted.extract.backbones.stable_diffusion import StableDiffusion
from ted.extract.backbones.svd import StableVideoDiffusion
from ted.extract.encoders import ImageEmbedder, VaeLatents
from ted.extract.model_folder import quiet_libraries
from ted.extract.noising.schedules import NoiseSchedule

#: Configuration of the published VAEs.
_VAE = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
_BLOCKS = {"down_block_types": ("DownEncoderBlock2D",) * 4}

#: Tap and timestep of each backbone in benchmarks.
TAPS = {"i2vgen-xl": "up_blocks[2]", "svd": "up_blocks[2]", "sd21": "up_blocks[2]", "adm": "output_blocks[7]"}
TIMESTEPS = {"i2vgen-xl": 300, "svd": 300, "sd21": 51, "adm": 51}


def _random(module: nn.Module, device: torch.device, dtype: torch.dtype) -> Any:
    """Move a module from the meta device to `device`, and draw its weights there."""
    module = module.to_empty(device=device)
    generator = torch.Generator(device=device).manual_seed(0)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, device=device)
            if parameter.ndim >= 2:
                parameter.copy_(noise / math.sqrt(noise[0].numel()))
            else:
                parameter.copy_(0.1 * noise + (1.0 if name.endswith("weight") else 0.0))
        for name, buffer in module.named_buffers():
            if name.endswith("position_ids"):
                buffer.copy_(torch.arange(buffer.numel(), device=device).reshape(buffer.shape))
    with quiet_libraries():
        return module.to(dtype).eval().requires_grad_(False)


class _Vision(ImageEmbedder):
    """CLIP ViT-H with random weights."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        config = CLIPVisionConfig(
            hidden_size=1280,
            intermediate_size=5120,
            num_hidden_layers=32,
            num_attention_heads=16,
            patch_size=14,
            projection_dim=1024,
        )
        with torch.device("meta"):
            encoder = CLIPVisionModelWithProjection(config)
        self._encoder = _random(encoder, device, dtype)
        self._zeros = torch.zeros(1, 1, 1024, device=device, dtype=dtype)
        self._mean = torch.full((3, 1, 1), 0.45)
        self._std = torch.full((3, 1, 1), 0.27)


def full_size(name: str, device: torch.device, dtype: torch.dtype) -> Backbone:
    """Build a published backbone with random weights."""
    common: dict[str, Any] = {"name": name, "device": device, "dtype": dtype, "weights_id": "random"}
    if name == "adm":
        with torch.device("meta"):
            unet: nn.Module = build_unet(PUBLISHED)
        return AdmBackbone(
            **common, network=_random(unet, device, dtype), config=PUBLISHED, schedule=build_schedule(PUBLISHED)
        )
    with torch.device("meta"):
        if name == "i2vgen-xl":
            unet = I2VGenXLUNet(cross_attention_dim=1024)
        elif name == "svd":
            unet = UNetSpatioTemporalConditionModel(num_attention_heads=(5, 10, 20, 20), num_frames=14)
        else:
            unet = UNet2DConditionModel(
                cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True
            )
        vae = (
            AutoencoderKLTemporalDecoder(**_BLOCKS, **_VAE)
            if name == "svd"
            else AutoencoderKL(**_BLOCKS, up_block_types=("UpDecoderBlock2D",) * 4, **_VAE)
        )
    scheduler = EulerDiscreteScheduler if name == "svd" else DDIMScheduler
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    abar = scheduler(**betas).alphas_cumprod
    common |= {
        "network": _random(unet, device, dtype),
        "frame_encoder": VaeLatents(_random(vae, device, dtype)),
        "schedule": NoiseSchedule(alphas_cumprod=abar),
    }
    text = torch.randn(1, 77, 1024, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    if name == "sd21":
        return StableDiffusion(**common, text_states=text)
    common |= {"image_embedder": _Vision(device, dtype), "condition_on": "clip"}
    if name == "svd":
        return StableVideoDiffusion(**common, clip_length=14)
    return I2VGenXL(**common, clip_length=16, text_states=text)
