"""The published architectures at full size, on the meta device: shapes without weights or arithmetic."""

from typing import Any

import pytest
import torch
import transformers
from diffusers import I2VGenXLUNet, UNet2DConditionModel, UNetSpatioTemporalConditionModel

from ted.extract.backbones.adm_config import PUBLISHED, build_unet
from ted.extract.backbones.dino import Dino
from ted.extract.frames import processed_size
from ted.extract.taps import read_taps

LATENT = (60, 104)  # of a 480x832 frame


def _i2vgen_xl() -> tuple[torch.nn.Module, dict[str, Any], int]:
    inputs: dict[str, Any] = {
        "sample": torch.zeros(1, 4, 16, *LATENT),
        "image_latents": torch.zeros(1, 4, 16, *LATENT),
        "image_embeddings": torch.zeros(1, 1, 1024),
        "encoder_hidden_states": torch.zeros(1, 77, 1024),
        "fps": torch.zeros(1),
    }
    return I2VGenXLUNet(cross_attention_dim=1024), inputs, 16


def _svd() -> tuple[torch.nn.Module, dict[str, Any], int]:
    inputs: dict[str, Any] = {
        "sample": torch.zeros(1, 14, 8, *LATENT),
        "encoder_hidden_states": torch.zeros(1, 1, 1024),
        "added_time_ids": torch.zeros(1, 3),
    }
    heads = (5, 10, 20, 20)
    return UNetSpatioTemporalConditionModel(num_attention_heads=heads, num_frames=14), inputs, 14


def _sd21() -> tuple[torch.nn.Module, dict[str, Any], int]:
    inputs: dict[str, Any] = {"sample": torch.zeros(1, 4, *LATENT), "encoder_hidden_states": torch.zeros(1, 77, 1024)}
    unet = UNet2DConditionModel(
        cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True, sample_size=96
    )
    return unet, inputs, 1


def _adm() -> tuple[torch.nn.Module, dict[str, Any], int]:
    return build_unet(PUBLISHED), {"sample": torch.zeros(1, 3, 480, 832)}, 1


@pytest.mark.parametrize(("make", "channels"), [(_i2vgen_xl, 640), (_svd, 640), (_sd21, 640), (_adm, 512)])
def test_the_papers_taps_have_their_published_shape(make: Any, channels: int) -> None:
    with torch.device("meta"):
        unet, inputs, frames = make()
        unet.to("meta")  # parameters that were made from values, too
        timestep = torch.tensor(51.0)
        module = unet.get_submodule("up_blocks")[2]
        if make is _adm:  # output_blocks[7]: the second layer, of three, of this block
            module = module.get_submodule("attentions")[1]
        tap = read_taps(lambda: unet(timestep=timestep, **inputs), {"tap": module})["tap"]
    assert tuple(tap.shape) == (frames, channels, *LATENT)


@pytest.mark.parametrize(
    ("model", "patch", "channels"),
    [
        (lambda: transformers.Dinov2Model(transformers.Dinov2Config(image_size=518)), 14, 768),  # ViT-B/14
        (  # ViT-B/16
            lambda: transformers.DINOv3ViTModel(
                transformers.DINOv3ViTConfig(
                    hidden_size=768, intermediate_size=3072, num_attention_heads=12, num_register_tokens=4
                )
            ),
            16,
            768,
        ),
    ],
)
def test_dinos_maps_at_the_default_frame_size(model: Any, patch: int, channels: int) -> None:
    height, width = processed_size((480, 854), multiple=patch)
    with torch.device("meta"):
        backbone = Dino(
            name="dino",
            network=model().eval().to("meta"),
            device=torch.device("meta"),
            dtype=torch.float32,
            weights_id="",
            frame_multiple=patch,
            mean=torch.zeros(3, 1, 1),
            std=torch.ones(3, 1, 1),
        )
        found = backbone.features(
            backbone.encode(torch.zeros(2, 3, height, width))[:, None], 0, {}, list(backbone.taps)
        )
    assert list(found) == [*(f"layers[{i}]" for i in range(12)), "last_hidden_state"]
    assert {tuple(value.shape) for value in found.values()} == {(2, 1, channels, height // patch, width // patch)}
