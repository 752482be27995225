"""Options of backbones: which backbone takes them, and their effects on the request and on the UNet's inputs."""

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableVideoDiffusionPipeline
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.pipelines.deprecated.i2vgen_xl.pipeline_i2vgen_xl import I2VGenXLPipeline

from ted.extract.backbones import BACKBONES, check_options, load_backbone
from ted.extract.backbones.base import Backbone
from ted.extract.frames import to_pixels
from ted.extract.noising.keyed_noise import NoiseKey, draw_noise
from ted.extract.settings import BackboneOptions
from ted.store.errors import ConfigError
from tests.extract.conftest import ArrayFrames, features_of, load_clips, make_plan, random_frames
from tests.extract.small_folders import SmallFolders, make_clip
from tests.references.pipeline_arguments import as_image, assert_same_arguments, recorded_arguments

CPU = torch.device("cpu")
VIDEO = ["i2vgen-xl", "svd"]
TAP = "up_blocks[2]"
PIPELINES = {"i2vgen-xl": I2VGenXLPipeline, "svd": StableVideoDiffusionPipeline, "sd21": StableDiffusionPipeline}


def seeded(shape: Sequence[int]) -> torch.Tensor:
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def load(small_folder: SmallFolders) -> Callable[..., Backbone]:
    """Load a small backbone with options."""

    @functools.cache
    def load_with(name: str, *, standins: bool = False, clip_length: int | None = None, **options: Any) -> Backbone:
        folder = small_folder(name, standins=standins)
        backbone = load_backbone(name, folder, device=CPU, dtype=torch.float32, options=BackboneOptions(**options))
        backbone.clip_length = clip_length or backbone.clip_length
        return backbone

    return load_with


@pytest.fixture(scope="module")
def pipelines(small_folder: SmallFolders) -> Callable[[str], Any]:
    made: dict[str, Any] = {}

    def pipeline(name: str) -> Any:
        if name not in made:
            extra = {"safety_checker": None} if name == "sd21" else {}
            made[name] = PIPELINES[name].from_pretrained(small_folder(name), **extra)
            if name == "i2vgen-xl" and not hasattr(made[name].text_encoder, "text_model"):
                # transformers 5 moved the text model's layers up; this pipeline looks for them where they were.
                made[name].text_encoder.__dict__["text_model"] = made[name].text_encoder
        return made[name]

    return pipeline


def arguments_of(backbone: Backbone, clip: torch.Tensor, image: torch.Tensor | None, timestep: int) -> dict[str, Any]:
    """Return the UNet's arguments for a clip, with seeded noise."""
    latents = backbone.encode(clip)
    noisy = backbone.schedule.perturb(latents, seeded(latents.shape), timestep)
    return backbone.network_arguments(noisy[None], timestep, backbone.condition(clip, image, seeded))


# Which backbone takes an option


def test_options_that_no_backbone_takes_name_those_that_do() -> None:
    check_options(BackboneOptions(), ["adm"])
    check_options(BackboneOptions(prompt="x", fps=3, temporal=False), ["i2vgen-xl", "adm"])
    check_options(BackboneOptions(motion_bucket=3, prompt="x"), ["svd", "sd21"])
    with pytest.raises(ConfigError, match=r"adm, dinov2 have no option no-temporal; i2vgen-xl, svd, demo-video have"):
        check_options(BackboneOptions(temporal=False), ["adm", "dinov2", "adm"])
    with pytest.raises(ConfigError, match=r"i2vgen-xl has no option motion-bucket.*; svd has it"):
        check_options(BackboneOptions(fps=3, motion_bucket=0), ["i2vgen-xl"])
    with pytest.raises(ConfigError, match="unknown backbone"):
        check_options(BackboneOptions(fps=3), ["vdm"])


def test_declared_options_exist() -> None:
    assert {option for info in BACKBONES.values() for option in info.options} == set(
        BackboneOptions.__dataclass_fields__
    )


@pytest.mark.parametrize("name", BACKBONES)
def test_loaders_take_what_the_registry_says(name: str) -> None:
    info = BACKBONES[name]
    module, function = info.loader.split(":")
    parameters = inspect.signature(getattr(importlib.import_module(module), function)).parameters
    assert ("options" in parameters, "seed" in parameters) == (bool(info.options), info.random)


@pytest.mark.parametrize(
    "values", [{"condition_on": "last"}, {"fps": 0}, {"motion_bucket": -1}, {"noise_augmentation": float("nan")}]
)
def test_values_that_make_no_sense(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        BackboneOptions(**values)


# Request

PUBLISHED: Mapping[str, Mapping[str, Any]] = {  # as in the requests of existing caches
    "i2vgen-xl": {"prompt": "", "image": "first frame of the clip", "fps": 16},
    "svd": {"image": "first frame of the clip", "fps": 7, "motion_bucket_id": 127, "noise_augmentation": 0.02},
    "sd21": {"prompt": ""},
}
WRITTEN_OUT: Mapping[str, Mapping[str, Any]] = {
    "i2vgen-xl": {"prompt": "", "condition_on": "clip", "fps": 16},
    "svd": {"condition_on": "clip", "fps": 7, "motion_bucket": 127, "noise_augmentation": 0.02},
    "sd21": {"prompt": ""},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_defaults_keep_the_requests_that_exist(name: str, load: Callable[..., Backbone]) -> None:
    for options in ({}, WRITTEN_OUT[name], {"prompt": "not for it"} if name == "svd" else {}):
        assert load(name, standins=True, **options).conditioning == PUBLISHED[name] == BACKBONES[name].conditioning


@pytest.mark.parametrize(
    ("name", "options", "changes"),
    [
        ("i2vgen-xl", {"prompt": "balls"}, {"prompt": "balls"}),
        ("sd21", {"prompt": "balls"}, {"prompt": "balls"}),
        ("i2vgen-xl", {"condition_on": "video"}, {"image": "first frame of the video"}),
        ("svd", {"condition_on": "none"}, {"image": "none"}),
        ("svd", {"fps": 25}, {"fps": 25}),
        ("svd", {"motion_bucket": 0}, {"motion_bucket_id": 0}),
        ("svd", {"noise_augmentation": 0}, {"noise_augmentation": 0.0}),
        ("i2vgen-xl", {"temporal": False}, {"temporal_layers": "off"}),
        ("svd", {"temporal": False}, {"temporal_layers": "off"}),
    ],
)
def test_an_option_is_in_the_request(
    name: str, options: dict[str, Any], changes: dict[str, Any], load: Callable[..., Backbone]
) -> None:
    standins = "prompt" not in options
    assert load(name, standins=standins, **options).conditioning == {**PUBLISHED[name], **changes}


# Arguments of the UNet, against diffusers' pipelines with the same options


@pytest.mark.parametrize("prompt", ["", "two balls!"])
@pytest.mark.parametrize("name", ["i2vgen-xl", "sd21"])
def test_text_states_are_the_pipelines(
    name: str, prompt: str, load: Callable[..., Backbone], pipelines: Callable[[str], Any]
) -> None:
    pipeline = pipelines(name)
    pipeline._guidance_scale = 1.0  # as its own call does first
    with torch.no_grad():
        if name == "sd21":
            expected, _ = pipeline.encode_prompt(prompt, CPU, 1, False)
        else:
            expected, _ = pipeline.encode_prompt(prompt, CPU, 1, clip_skip=1)
    states: torch.Tensor = load(name, prompt=prompt).text_states  # type: ignore[attr-defined]
    torch.testing.assert_close(states, expected, rtol=1e-5, atol=1e-5)
    other: torch.Tensor = load(name, prompt="something else").text_states  # type: ignore[attr-defined]
    assert (other - states).norm() / states.norm() > 0.05


def test_prompts_that_would_be_cut_or_not_seen(load: Callable[..., Backbone]) -> None:
    assert load("sd21", prompt="a " * 75).conditioning["prompt"] == "a " * 75
    with pytest.raises(ConfigError, match="78 tokens"):
        load("sd21", prompt="a " * 76)
    with pytest.raises(ConfigError, match="no effect"):
        load("i2vgen-xl", standins=True, prompt="a")


def test_i2vgen_xls_arguments_are_the_pipelines_told_the_same(
    load: Callable[..., Backbone], pipelines: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load("i2vgen-xl", prompt="two balls", fps=9)
    clip, image = make_clip(16, 64, 96), make_clip(1, 64, 96, seed=7)  # another video's frame
    ours = arguments_of(backbone, clip, image, 501)
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda posterior: posterior.mode())
    theirs = recorded_arguments(
        pipelines("i2vgen-xl"),
        prompt="two balls",
        image=as_image(image[0]),
        height=64,
        width=96,
        target_fps=9,
        num_frames=16,
        num_inference_steps=2,  # the first step is at timestep 501
        guidance_scale=1.0,
        latents=ours["sample"],
    )
    assert_same_arguments(ours, theirs)
    assert ours["fps"].tolist() == [9]


@pytest.mark.parametrize("on", ["clip", "none"])
def test_svds_arguments_are_the_pipelines_told_the_same(
    on: str, load: Callable[..., Backbone], pipelines: Callable[[str], Any]
) -> None:
    backbone = load("svd", condition_on=on, fps=25, motion_bucket=11, noise_augmentation=0.5)
    clip = make_clip(14, 64, 96)
    ours = arguments_of(backbone, clip, clip[:1] if on == "clip" else None, 300)
    pipeline = pipelines("svd")
    sigma = float(pipeline.scheduler.__class__.from_config(pipeline.scheduler.config).sigmas[:-1].flip(0)[300])
    theirs = recorded_arguments(
        pipeline,
        image=as_image(clip[0]),
        height=64,
        width=96,
        fps=25,
        motion_bucket_id=11,
        noise_aug_strength=0.5,
        sigmas=[sigma, 0.0],
        min_guidance_scale=1.0 if on == "clip" else 2.0,
        max_guidance_scale=1.0 if on == "clip" else 2.0,
        generator=torch.Generator().manual_seed(3),
        latents=ours["sample"][:, :, :4],
    )
    if on == "none":  # guided, the pipeline calls the UNet without the image first, and with it second
        assert len(theirs["sample"]) == 2
        theirs = {
            name: value[:1] if name not in ("timestep", "return_dict") else value for name, value in theirs.items()
        }
        assert not ours["sample"][:, :, 4:].any()
        assert not ours["encoder_hidden_states"].any()
    assert_same_arguments(ours, theirs, tolerances={"sample": 1e-3})  # as in test_svd
    assert ours["added_time_ids"].tolist() == [[24.0, 11.0, 0.5]]


def test_i2vgen_xl_without_an_image_keeps_the_positions(load: Callable[..., Backbone]) -> None:
    clip = make_clip(16, 64, 96)
    plain, without = (load("i2vgen-xl").condition(clip, image, seeded) for image in (clip[:1], None))
    assert not without["image_embeddings"].any()
    assert not without["image_latents"][:, :, 0].any()
    assert plain["image_latents"][:, :, 0].any()
    assert torch.equal(without["image_latents"][:, :, 1:], plain["image_latents"][:, :, 1:])
    assert without["image_latents"].shape == plain["image_latents"].shape


# Conditioning frame: two clips of four frames, which begin at frames 0 and 2


def conditions(backbone: Backbone, source: ArrayFrames, skip: int = 0) -> list[dict[str, torch.Tensor]]:
    plan = make_plan(backbone, source, (64, 64), overlap=2)
    loaded = load_clips(backbone, source, plan, range(skip, len(plan.clips)))
    return [dict(clip.condition) for clip in loaded.values()]


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", VIDEO)
def test_clips_are_conditioned_on_the_frame_that_was_chosen(name: str, load: Callable[..., Backbone]) -> None:
    on_clip, on_video, on_none = (load(name, clip_length=4, condition_on=on) for on in ("clip", "video", "none"))
    source = random_frames(6)
    by_clip, by_video, by_none = (conditions(backbone, source) for backbone in (on_clip, on_video, on_none))
    assert not same(by_clip[0], by_clip[1])
    assert same(by_video[0], by_clip[0])
    assert same(by_video[1], by_clip[0])
    assert same(by_none[0], by_none[1])
    # An extraction that resumes at the second clip sees the same, and decodes the first frame for it.
    assert same(conditions(on_video, source, skip=1)[0], by_video[1])

    pixels = torch.from_numpy(np.stack([to_pixels(frame, (64, 64)) for frame in source.frames]))
    for condition, start in ((by_clip[1], 2), (by_video[1], 0)):

        def draw(shape: Sequence[int], start: int = start) -> torch.Tensor:
            return draw_noise(NoiseKey(seed=0, video="v", start=start, purpose="conditioning"), shape)

        with torch.inference_mode():
            assert same(condition, on_clip.condition(pixels[2:], pixels[start : start + 1], draw))


@pytest.mark.parametrize("name", VIDEO)
def test_only_the_conditioning_frame_reaches_the_condition(name: str, load: Callable[..., Backbone]) -> None:
    on_video, on_none = (load(name, clip_length=4, condition_on=on) for on in ("video", "none"))
    source, first, second = (random_frames(6) for _ in range(3))
    first.frames[0] = 255 - first.frames[0]
    second.frames[2] = 255 - second.frames[2]  # first frame of the second clip
    before = conditions(on_video, source)
    assert not any(same(*pair) for pair in zip(conditions(on_video, first), before, strict=True))
    assert all(same(*pair) for pair in zip(conditions(on_video, second), before, strict=True))
    before = conditions(on_none, source)
    assert all(same(*pair) for pair in zip(conditions(on_none, first), before, strict=True))


@pytest.mark.parametrize("name", VIDEO)
def test_without_conditioning_a_first_frame_matters_through_its_own_latents_alone(
    name: str, load: Callable[..., Backbone]
) -> None:
    """Without a conditioning frame and temporal layers, only its own noisy latents depend on the first frame."""
    results = {}
    for on in ("clip", "none"):
        backbone = load(name, clip_length=4, condition_on=on, temporal=False)
        source, other = random_frames(4), random_frames(4)
        other.frames[0] = 255 - other.frames[0]
        found = []
        for frames in (source, other):
            found.append(features_of(backbone, frames, (64, 64), [300], [TAP])[300, TAP])
        results[on] = (found[1] - found[0]).flatten(1).norm(dim=1) / found[0].flatten(1).norm(dim=1)
    assert results["none"][0] > 1e-2
    assert (results["none"][1:] < 1e-5).all()
    assert (results["clip"][1:] > 1e-3).all()
