from collections.abc import Sequence
from typing import Any

import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableVideoDiffusionPipeline
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import _resize_with_antialiasing

from ted.extract.backbones.svd import load, resize_for_clip
from tests.extract.small_folders import SmallFolders, make_clip
from tests.references.pipeline_arguments import as_image, assert_same_arguments, recorded_arguments

CPU = torch.device("cpu")
NAME = "svd"


def seeded(shape: Sequence[int]) -> torch.Tensor:
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def pipeline(small_folder: SmallFolders) -> Any:
    return StableVideoDiffusionPipeline.from_pretrained(small_folder(NAME))


@pytest.mark.parametrize(("size", "timestep"), [((64, 64), 300), ((64, 96), 900), ((96, 64), 51)])
def test_arguments_are_the_pipelines(
    size: tuple[int, int],
    timestep: int,
    pipeline: Any,
    small_folder: SmallFolders,
) -> None:
    backbone = load(small_folder(NAME), device=CPU, dtype=torch.float32)
    assert backbone.clip_length == pipeline.unet.config.num_frames == 14
    clip = make_clip(14, *size)
    latents = backbone.encode(clip)
    noisy = backbone.schedule.perturb(latents, seeded(latents.shape), timestep)
    ours = backbone.network_arguments(noisy[None], timestep, backbone.condition(clip, clip[:1], seeded))

    sigma = float(pipeline.scheduler.__class__.from_config(pipeline.scheduler.config).sigmas[:-1].flip(0)[timestep])
    theirs = recorded_arguments(
        pipeline,
        image=as_image(clip[0]),
        height=size[0],
        width=size[1],
        sigmas=[sigma, 0.0],
        max_guidance_scale=1.0,
        generator=torch.Generator().manual_seed(3),
        latents=noisy[None] / (sigma**2 + 1) ** 0.5,  # which the pipeline multiplies again
    )
    # The pipeline's image is the same to the last bit, but lies in memory channels last: the VAE's convolutions round
    # differently, which its random weights enlarge to some 1e-4 of the latents' range.
    assert_same_arguments(ours, theirs, tolerances={"sample": 1e-3})
    torch.testing.assert_close(ours["sample"][:, :, :4], theirs["sample"][:, :, :4], rtol=1e-5, atol=1e-5)
    assert ours["added_time_ids"].tolist() == [[6.0, 127.0, pytest.approx(0.02)]]


@pytest.mark.parametrize("size", [(480, 832), (64, 64), (832, 480), (225, 448), (680, 900)])
def test_image_for_clip_is_the_pipelines(size: tuple[int, int]) -> None:
    frame = make_clip(1, *size)
    expected = _resize_with_antialiasing(frame, (224, 224))
    torch.testing.assert_close(resize_for_clip(frame, (224, 224)), expected, rtol=1e-5, atol=1e-5)


def test_noise_is_the_schedulers(small_folder: SmallFolders) -> None:
    folder = small_folder(NAME)
    backbone = load(folder, device=CPU, dtype=torch.float32)
    scheduler = EulerDiscreteScheduler.from_pretrained(folder / "scheduler")
    clean, noise = torch.randn(2, 14, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for timestep in (0, 51, 300, 600, 999):
        position = scheduler.timesteps[999 - timestep]  # it counts from noise to data
        expected = scheduler.add_noise(clean[None], noise[None], position[None])[0]
        torch.testing.assert_close(backbone.schedule.perturb(clean, noise, timestep), expected, rtol=1e-5, atol=1e-5)
        arguments = backbone.network_arguments(
            clean[None],
            timestep,
            {"image_latents": torch.zeros(1, 14, 4, 8, 8), "image_embeddings": torch.zeros(1, 1, 32)},
        )
        assert float(arguments["timestep"]) == pytest.approx(float(position), rel=1e-5)
    assert float(backbone.schedule.sigma(999)) == pytest.approx(14.6, abs=0.05)


def test_conditioning_noise_is_small_and_reaches_the_image_latents_alone(small_folder: SmallFolders) -> None:
    backbone = load(small_folder(NAME), device=CPU, dtype=torch.float32)
    clip = make_clip(14, 64, 64)
    one = backbone.condition(clip, clip[:1], seeded)
    other = backbone.condition(clip, clip[:1], lambda shape: -seeded(shape))
    assert torch.equal(one["image_embeddings"], other["image_embeddings"])
    change = (one["image_latents"] - other["image_latents"]).norm() / one["image_latents"].norm()
    assert 1e-3 < change < 0.5
    assert torch.equal(one["image_latents"][:, :1].expand(-1, 14, -1, -1, -1), one["image_latents"])
