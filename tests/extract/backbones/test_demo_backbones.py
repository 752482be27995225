"""The bundled small models."""

from pathlib import Path

import pytest
import torch

import ted.extract
from ted.extract.attention_maps import as_maps, attention_layers, read_attention
from ted.extract.backbones import load_backbone
from ted.extract.backbones.stable_diffusion import StableDiffusion
from ted.extract.settings import BackboneOptions
from ted.pipeline.synthetic.captions import caption
from ted.pipeline.synthetic.rendering import render
from ted.pipeline.synthetic.scene import SceneSpec
from ted.store.errors import WeightsError
from tests.extract.small_folders import make_clip

CPU = torch.device("cpu")
BUNDLED = Path(ted.extract.__path__[0]) / "bundled"
NAMES = ("demo-video", "demo-image", "demo-text")


@pytest.mark.parametrize("name", NAMES)
def test_they_need_no_path_and_depend_on_clip_noise_and_timestep(name: str) -> None:
    backbone = load_backbone(name, None, device=CPU, dtype=torch.float32)
    assert backbone.name == name
    assert backbone.clip_length == (16 if name == "demo-video" else 1)
    clip = make_clip(backbone.clip_length, 256, 256)
    condition = backbone.condition(clip, clip[:1], lambda shape: torch.zeros(tuple(shape)))
    latents = backbone.encode(clip)[None]
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    found = [
        backbone.features(backbone.schedule.perturb(latents, noise, tau), tau, condition, ["up_blocks[1]"])[
            "up_blocks[1]"
        ]
        for tau in (100, 800)
    ]
    channels, grid = {"demo-video": (64, 16), "demo-image": (64, 64), "demo-text": (32, 64)}[name]
    assert found[0].shape == (1, backbone.clip_length, channels, grid, grid)
    assert all(one.isfinite().all() for one in found)
    assert (found[0] - found[1]).norm() > 0.1 * found[0].norm()


def test_together_they_are_small_and_hold_nothing_that_could_run() -> None:
    files = [path for path in BUNDLED.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors", ".md", ".txt"}
    assert sum(path.stat().st_size for path in files) <= 16e6


@pytest.mark.parametrize("name", NAMES)
def test_the_model_card_names_these_weights(name: str) -> None:
    card = (BUNDLED / name / "README.md").read_text(encoding="utf-8")
    assert load_backbone(name, None, device=CPU, dtype=torch.float32).weights_id in card


def test_words_find_their_objects() -> None:
    """Cross-attention to each object's colour is larger on the object than on the other one and on the background."""
    spec = SceneSpec(size=(128, 128), frames=1, radius=(14.0, 18.0), identical=False, hue_step=120.0, seed=5)
    clip = render(spec)
    text = caption(clip.names, spec.ground)
    options = BackboneOptions(prompt=text)
    backbone = load_backbone("demo-text", None, device=CPU, dtype=torch.float32, options=options)
    latents = backbone.encode(torch.from_numpy(clip.frames).permute(0, 3, 1, 2) / 127.5 - 1)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    noisy = backbone.schedule.perturb(latents, noise, 121)[None]
    arguments = backbone.network_arguments(noisy, 121, {})
    layers = attention_layers(backbone, cross=True)
    with torch.no_grad():
        maps = as_maps(read_attention(lambda: backbone.network(**arguments), layers), (32, 32))[0]
    covered = [
        torch.from_numpy(clip.masks[0] == number).reshape(32, 4, 32, 4).float().mean((1, 3)) > 0.9
        for number in range(3)
    ]
    assert isinstance(backbone, StableDiffusion)
    for number, name in enumerate(clip.names, start=1):
        (position,) = backbone.text.positions(text, name.split()[0])
        on, *off = (float(maps[position][covered[other]].mean()) for other in (number, 0, 3 - number))
        assert on > 3 * max(off)


def test_controls_of_the_video_model() -> None:
    trained = load_backbone("demo-video", None, device=CPU, dtype=torch.float32)
    untrained = load_backbone("demo-video", f"random:1:{BUNDLED / 'demo-video'}", device=CPU, dtype=torch.float32)
    assert untrained.weights_id.startswith("random:1:")
    still = load_backbone("demo-video", None, device=CPU, dtype=torch.float32, options=BackboneOptions(temporal=False))
    clip = make_clip(16, 64, 64)
    condition = trained.condition(clip, clip[:1], lambda shape: torch.zeros(tuple(shape)))
    latents = trained.encode(clip)[None]
    changed = latents.clone()
    changed[:, 9] += 0.5
    for backbone, sees_others in ((trained, True), (untrained, True), (still, False)):
        first, second = (
            backbone.features(one, 500, condition, ["up_blocks[1]"])["up_blocks[1]"][0, 3] for one in (latents, changed)
        )
        assert (not torch.allclose(first, second, atol=1e-5)) == sees_others


def test_an_installation_without_them_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"The weights of demo-video are part of this package"):
        load_backbone("demo-video", tmp_path, device=CPU, dtype=torch.float32)
