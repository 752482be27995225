import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ted.extract.backbones import load_backbone
from ted.extract.backbones.i2vgen_xl import I2VGenXL
from ted.extract.backbones.svd import StableVideoDiffusion
from ted.extract.encoders import PixelLatents
from ted.store.errors import WeightsError
from tests.extract.small_folders import SmallFolders, make_clip

CPU = torch.device("cpu")


def declare(folder: Path, declared: Any) -> None:
    (folder / "ted.json").write_text(declared if isinstance(declared, str) else json.dumps(declared))


@pytest.mark.parametrize("factor", [1, 2, 8])
@pytest.mark.parametrize("channels", [3, 4])
def test_latents_are_area_averages_with_luma(factor: int, channels: int) -> None:
    clip = make_clip(2, 64, 96)
    latents = PixelLatents(factor, channels, CPU).mode(clip).numpy()
    blocks = clip.double().numpy().reshape(2, 3, 64 // factor, factor, 96 // factor, factor).mean(axis=(3, 5))
    luma = 0.299 * blocks[:, 0] + 0.587 * blocks[:, 1] + 0.114 * blocks[:, 2]
    expected = blocks if channels == 3 else np.concatenate([blocks, luma[:, None]], axis=1)
    np.testing.assert_allclose(latents, expected, atol=1e-6)


def test_the_fourth_channel_can_be_colourfulness() -> None:
    """Colourfulness of grey, red, and a colour in between."""
    pixels = torch.zeros(1, 3, 8, 24)
    pixels[..., 8:16] = torch.tensor([1.0, -1.0, -1.0])[:, None, None]
    pixels[..., 16:] = torch.tensor([0.5, 0.25, -0.25])[:, None, None]
    latents = PixelLatents(8, 4, CPU, colourfulness=4.0).mode(pixels)
    np.testing.assert_allclose(latents[0, :3, 0, 2], [0.5, 0.25, -0.25])
    np.testing.assert_allclose(latents[0, 3, 0], [0.0, 8.0, 3.0])


def test_pixels_cannot_stand_in_for_any_number_of_channels() -> None:
    with pytest.raises(WeightsError, match="16 latent channels needs a VAE"):
        PixelLatents(8, 16, CPU)


def test_i2vgen_xl_without_encoders(small_folder: SmallFolders) -> None:
    folder = small_folder("i2vgen-xl", standins=True)
    backbone = load_backbone("i2vgen-xl", folder, device=CPU, dtype=torch.float32)
    assert isinstance(backbone, I2VGenXL)
    clip = make_clip(16, 64, 96)
    condition = backbone.condition(clip, clip[:1], lambda shape: torch.zeros(tuple(shape)))
    assert backbone.encode(clip).shape == (16, 4, 8, 12)
    torch.testing.assert_close(condition["image_latents"][:, :, 0], backbone.encode(clip[:1]))
    positions = (torch.arange(1, 16) / 15)[None, None, :, None, None]
    torch.testing.assert_close(condition["image_latents"][:, :, 1:], positions.expand(1, 4, -1, 8, 12))
    assert condition["image_embeddings"].shape == (1, 1, 32)
    assert backbone.text_states.shape == (1, 77, 32)
    assert not condition["image_embeddings"].any()
    assert not backbone.text_states.any()


def test_svd_without_encoders(small_folder: SmallFolders) -> None:
    folder = small_folder("svd", standins=True)
    backbone = load_backbone("svd", folder, device=CPU, dtype=torch.float32)
    assert isinstance(backbone, StableVideoDiffusion)
    clip = make_clip(14, 64, 96)
    condition = backbone.condition(clip, clip[:1], lambda shape: torch.zeros(tuple(shape)))
    torch.testing.assert_close(condition["image_latents"][:, 5], backbone.encode(clip[:1]))
    assert condition["image_embeddings"].shape == (1, 1, 32)


def test_pixels_as_latents(small_folder: SmallFolders, tmp_path: Path) -> None:
    folder = shutil.copytree(small_folder("sd21", standins=True), tmp_path / "copy")
    declare(folder, {"vae": "none", "text": "zeros"})
    backbone = load_backbone("sd21", folder, device=CPU, dtype=torch.float32)
    clip = make_clip(1, 64, 96)
    latents = backbone.encode(clip)
    assert torch.equal(latents[:, :3], clip)
    features = backbone.features(latents[None], 51, {}, ["up_blocks[2]"])["up_blocks[2]"]
    assert features.shape == (1, 1, 64, 64, 96)


def test_declarations_are_part_of_the_weights_identity(small_folder: SmallFolders, tmp_path: Path) -> None:
    folder = shutil.copytree(small_folder("sd21", standins=True), tmp_path / "copy")
    before = load_backbone("sd21", folder, device=CPU, dtype=torch.float32).weights_id
    declare(folder, {"vae": {"area_average": 4}, "text": "zeros"})
    assert load_backbone("sd21", folder, device=CPU, dtype=torch.float32).weights_id != before


def test_declared_clip_length(small_folder: SmallFolders, tmp_path: Path) -> None:
    folder = shutil.copytree(small_folder("i2vgen-xl", standins=True), tmp_path / "copy")
    declare(folder, {"vae": {"area_average": 8}, "text": "zeros", "image": "zeros", "clip_length": 4})
    backbone = load_backbone("i2vgen-xl", folder, device=CPU, dtype=torch.float32)
    assert backbone.clip_length == 4
    clip = make_clip(4, 64, 64)
    condition = backbone.condition(clip, clip[:1], lambda shape: torch.zeros(tuple(shape)))
    features = backbone.features(backbone.encode(clip)[None], 300, condition, ["mid_block"])["mid_block"]
    assert features.shape[:2] == (1, 4)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "must hold an object"),
        ({"vea": "none"}, "unknown declaration 'vea'.*did you mean 'vae'"),
        ({"image": "zeros"}, "unknown declaration 'image'; this backbone takes vae, text"),
        ({"clip_length": 4}, "unknown declaration 'clip_length'"),
        ({"vae": "pixels", "text": "zeros"}, '"vae" must be "none"'),
        ({"vae": {"area_average": 8, "x": 1}, "text": "zeros"}, '"vae" must be "none"'),
        ({"vae": {"area_average": 8, "colourfulness": 0}, "text": "zeros"}, "must be a positive number"),
        ({"vae": {"area_average": 8, "colourfulness": "x"}, "text": "zeros"}, "must be a positive number"),
        ({"vae": {"area_average": 3}, "text": "zeros"}, "must divide 32"),
        ({"vae": {"area_average": 0}, "text": "zeros"}, "whole number of at least 1"),
        ({"vae": {"area_average": True}, "text": "zeros"}, "whole number of at least 1"),
        ({"vae": "none", "text": "ones"}, '"text" must be "zeros"'),
        ({"vae": "none", "text": None}, '"text" must be "zeros"'),
        ({"vae": "none", "text": {"zeros": 0}}, "whole number of at least 1"),
        ({"vae": "none", "text": {"ones": 1}}, '"text" must be "zeros"'),
        ({"vae": "none"}, "no folder tokenizer in"),
        ({"text": "zeros"}, "no folder vae in"),
    ],
)
def test_bad_declarations(declared: Any, message: str, small_folder: SmallFolders, tmp_path: Path) -> None:
    folder = shutil.copytree(small_folder("sd21", standins=True), tmp_path / "copy")
    declare(folder, declared)
    with pytest.raises(WeightsError, match=message):
        load_backbone("sd21", folder, device=CPU, dtype=torch.float32)


@pytest.mark.parametrize(
    ("declared", "part"),
    [
        ({"vae": "none"}, "vae"),
        ({"text": "zeros"}, "text_encoder"),
        ({"image": "zeros"}, "image_encoder"),
    ],
)
def test_standin_for_a_part_that_is_there(declared: Any, part: str, small_folder: SmallFolders, tmp_path: Path) -> None:
    folder = shutil.copytree(small_folder("i2vgen-xl"), tmp_path / "copy")
    declare(folder, declared)
    with pytest.raises(WeightsError, match=f"declares a stand-in for {part}, but {part} is there too"):
        load_backbone("i2vgen-xl", folder, device=CPU, dtype=torch.float32)
