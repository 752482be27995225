"""DINOv2 and DINOv3 against transformers' own forward pass with the same folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BitImageProcessor, Dinov2Model, DINOv3ViTModel

from ted.extract.backbones import load_backbone
from ted.extract.backbones.base import Backbone
from ted.extract.frames import FrameSize, to_pixels
from ted.extract.plan import plan_video
from ted.extract.settings import ExtractionSettings
from ted.extract.worker import extract_video
from ted.store import Unit, open_cache
from ted.store.errors import ConfigError, WeightsError
from tests.extract.conftest import random_frames
from tests.extract.small_folders import SmallFolders, make_clip

CPU = torch.device("cpu")
CLASSES = {"dinov2": Dinov2Model, "dinov3": DINOv3ViTModel}
PATCH = {"dinov2": 14, "dinov3": 16}
TAPS = ["layers[0]", "layers[1]", "layers[2]", "last_hidden_state"]


@pytest.fixture(scope="module")
def load(small_folder: SmallFolders) -> Callable[..., Backbone]:
    return lambda name, dtype=torch.float32: load_backbone(name, small_folder(name), device=CPU, dtype=dtype)


def maps(tokens: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Lay out patch tokens of (frame, token, channel), the last ones, one by one as (frame, channel, y, x)."""
    others = tokens.shape[1] - rows * columns
    result = torch.empty(len(tokens), tokens.shape[2], rows, columns)
    for y in range(rows):
        for x in range(columns):
            result[:, :, y, x] = tokens[:, others + y * columns + x]
    return result


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("grid", [(3, 7), (7, 3), (5, 5), (14, 14)])  # DINOv2 has 5 x 5 positions of its own
def test_features_are_the_librarys(
    name: str, grid: tuple[int, int], load: Callable[..., Backbone], small_folder: SmallFolders
) -> None:
    backbone = load(name)
    assert list(backbone.taps) == TAPS
    assert (backbone.clip_length, backbone.frame_multiple, len(backbone.schedule)) == (1, PATCH[name], 1)
    frames = make_clip(2, grid[0] * PATCH[name], grid[1] * PATCH[name])

    # The library's processor on the images as they are on disk, and its model called plainly.
    processor = BitImageProcessor.from_pretrained(small_folder(name), do_resize=False, do_center_crop=False)
    images = ((frames + 1) * 127.5).round().to(torch.uint8)
    pixels = processor(list(images), return_tensors="pt")["pixel_values"]
    model: Any = CLASSES[name].from_pretrained(small_folder(name)).eval()
    with torch.no_grad():
        outputs = model(pixels, output_hidden_states=True)
    assert outputs.last_hidden_state.shape[1] == grid[0] * grid[1] + 1 + (4 if name == "dinov3" else 0)
    expected = {f"layers[{i}]": maps(outputs.hidden_states[i + 1], *grid) for i in range(3)}
    expected["last_hidden_state"] = maps(outputs.last_hidden_state, *grid)

    clean = backbone.encode(frames)
    torch.testing.assert_close(clean, pixels, rtol=0, atol=1e-5)
    found = backbone.features(clean[:, None], 0, {}, TAPS)
    for tap, value in expected.items():
        torch.testing.assert_close(found[tap][:, 0], value, rtol=1e-4, atol=1e-4)
        alone = backbone.features(clean[:, None], 0, {}, [tap])[tap]
        assert torch.equal(alone, found[tap])
        assert value.std() > 0.1
    again = backbone.features(clean[:, None], 0, {}, TAPS, stop_early=False)
    assert all(torch.equal(again[tap], found[tap]) for tap in TAPS)


@pytest.mark.parametrize("name", CLASSES)
def test_the_pass_stops_after_the_tap(name: str, load: Callable[..., Backbone]) -> None:
    backbone = load(name)
    side = 2 * PATCH[name]

    def refuse(*_args: object) -> None:
        raise AssertionError("a block after the tap ran")

    handle = backbone.taps["layers[2]"].module.register_forward_pre_hook(refuse)
    try:
        backbone.features(torch.zeros(1, 1, 3, side, side), 0, {}, ["layers[1]"])
        with pytest.raises(AssertionError, match="ran"):
            backbone.features(torch.zeros(1, 1, 3, side, side), 0, {}, ["last_hidden_state"])
    finally:
        handle.remove()


@pytest.mark.parametrize("name", CLASSES)
def test_half_precision_agrees_with_single(name: str, load: Callable[..., Backbone]) -> None:
    clip = make_clip(1, 4 * PATCH[name], 6 * PATCH[name])
    one, half = (
        backbone.features(backbone.encode(clip)[None], 0, {}, TAPS[-1:])[TAPS[-1]]
        for backbone in (load(name), load(name, torch.bfloat16))
    )
    assert half.dtype == torch.float32
    assert 0 < (half - one).norm() / one.norm() < 0.1


@pytest.mark.parametrize("name", CLASSES)
def test_extraction_without_noise(name: str, load: Callable[..., Backbone], tmp_path: Path) -> None:
    """DINO ignores draws, seed and overlap: a run that sets them for another backbone gives the same unit."""
    backbone, source = load(name), random_frames(3, size=(60, 90))
    size = FrameSize(short_side=4 * PATCH[name])
    plain = ExtractionSettings(frame_size=size)
    other = ExtractionSettings(frame_size=size, ensemble=4, seed=9, overlap=1, overlap_rule="mean")
    plans = [
        plan_video(backbone, source, dataset="d", video="v", timesteps=[0], taps=TAPS, settings=settings)
        for settings in (plain, other)
    ]
    assert plans[0].specs == plans[1].specs
    request = plans[0].specs[0, TAPS[0]].request
    assert (request.noise, request.ensemble, request.seed, request.clip_overlap) == ("none", 1, 0, 0)
    assert request.conditioning == {}

    cache = open_cache(tmp_path / "cache", create=True)
    extract_video(cache, backbone, source, plans[1])
    height, width = plans[0].request.frame_size
    assert (height, width) == (4 * PATCH[name], 6 * PATCH[name])
    for (_, tap), spec in plans[0].specs.items():
        found = Unit(spec.folder(cache.root)).features.compute().astype(np.float32)
        assert found.shape == (3, 4, 6, 32)
        for frame in range(3):
            clean = backbone.encode(torch.from_numpy(to_pixels(source.frames[frame], (height, width)))[None])
            expected = backbone.features(clean[None], 0, {}, [tap])[tap][0, 0].permute(1, 2, 0).numpy()
            np.testing.assert_allclose(found[frame], expected, rtol=2e-3, atol=2e-3)  # float16


@pytest.mark.parametrize("name", CLASSES)
def test_the_default_frame_size_is_one_that_it_takes(name: str, load: Callable[..., Backbone]) -> None:
    plan = plan_video(
        load(name),
        random_frames(1, size=(480, 854)),
        dataset="d",
        video="v",
        timesteps=[0],
        taps=TAPS[-1:],
        settings=ExtractionSettings(),
    )
    assert plan.request.frame_size == {"dinov2": (476, 840), "dinov3": (480, 848)}[name]


def test_other_timesteps(load: Callable[..., Backbone]) -> None:
    with pytest.raises(ConfigError, match=r"timestep 51 for backbone 'dinov2'; it takes 0 alone"):
        plan_video(
            load("dinov2"),
            random_frames(1),
            dataset="d",
            video="v",
            timesteps=[0, 51],
            taps=TAPS,
            settings=ExtractionSettings(),
        )


def test_wrong_folders(small_folder: SmallFolders, tmp_path: Path) -> None:
    def load_from(folder: Path, name: str = "dinov2") -> Backbone:
        return load_backbone(name, folder, device=CPU, dtype=torch.float32)

    with pytest.raises(WeightsError, match="of type dinov3_vit; backbone 'dinov2' needs one of type dinov2"):
        load_from(small_folder("dinov3"))
    with pytest.raises(WeightsError, match=r"no config\.json, no model\.safetensors, .*dinov2-base \(346 MB"):
        load_from(small_folder("sd21"))
    with pytest.raises(WeightsError, match="does not exist"):
        load_from(tmp_path / "nowhere", "dinov3")
    for file, message in (
        ("model.safetensors", r"no model\.safetensors in"),
        ("preprocessor_config.json", r"no preprocessor_config\.json"),
    ):
        folder = shutil.copytree(small_folder("dinov2"), tmp_path / file)
        (folder / file).unlink()
        with pytest.raises(WeightsError, match=message):
            load_from(folder)
    settings = folder / "preprocessor_config.json"
    settings.write_text(json.dumps({"image_mean": [0, 0, 0]}))
    with pytest.raises(WeightsError, match=r"image_std in preprocessor_config\.json"):
        load_from(folder)


def test_weights_id_covers_weights_and_colours(small_folder: SmallFolders, tmp_path: Path) -> None:
    folder = shutil.copytree(small_folder("dinov2"), tmp_path / "copy")
    ids = [load_backbone("dinov2", folder, device=CPU, dtype=torch.float32).weights_id]
    assert ids[0] == load_backbone("dinov2", small_folder("dinov2"), device=CPU, dtype=torch.float32).weights_id
    for file in ("preprocessor_config.json", "config.json"):
        (folder / file).write_text((folder / file).read_text() + "\n")
        ids.append(load_backbone("dinov2", folder, device=CPU, dtype=torch.float32).weights_id)
    assert len(set(ids)) == 3
