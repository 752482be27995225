from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from ted.extract.backbones.stable_diffusion import load
from tests.extract.small_folders import SmallFolders, make_clip
from tests.references.pipeline_arguments import assert_same_arguments, recorded_arguments

CPU = torch.device("cpu")
NAME = "sd21"


def no_noise(shape: Any) -> torch.Tensor:
    raise AssertionError("there is no conditioning to add noise to")


@pytest.fixture(scope="module")
def pipeline(small_folder: SmallFolders) -> Any:
    return StableDiffusionPipeline.from_pretrained(small_folder(NAME), safety_checker=None)


def test_arguments_are_the_pipelines(pipeline: Any, small_folder: SmallFolders) -> None:
    backbone = load(small_folder(NAME), device=CPU, dtype=torch.float32)
    frames = make_clip(3, 64, 96)
    latents = backbone.encode(frames)
    noisy = backbone.schedule.perturb(
        latents, torch.randn(latents.shape, generator=torch.Generator().manual_seed(0)), 501
    )
    condition = backbone.condition(frames[:1], None, no_noise)
    assert condition == {}
    ours = backbone.network_arguments(noisy[:, None], 501, condition)  # three clips of one frame
    theirs = recorded_arguments(
        pipeline,
        prompt=[""] * 3,
        height=64,
        width=96,
        num_inference_steps=2,  # the first step is at timestep 501
        guidance_scale=1.0,
        latents=noisy,
    )
    assert_same_arguments(ours, theirs)
    assert int(ours["timestep"]) == 501


def test_latents_are_the_vaes_mode_times_its_factor(pipeline: Any, small_folder: SmallFolders) -> None:
    frames = make_clip(2, 64, 96)
    with torch.no_grad():
        expected = pipeline.vae.encode(frames).latent_dist.mode() * 0.18215
    backbone = load(small_folder(NAME), device=CPU, dtype=torch.float32)
    torch.testing.assert_close(backbone.encode(frames), expected, rtol=1e-5, atol=1e-5)


def test_noise_is_the_schedulers(small_folder: SmallFolders) -> None:
    folder = small_folder(NAME)
    backbone = load(folder, device=CPU, dtype=torch.float32)
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
    clean, noise = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for timestep in (0, 51, 300, 999):
        expected = scheduler.add_noise(clean, noise, torch.tensor([timestep]))
        torch.testing.assert_close(backbone.schedule.perturb(clean, noise, timestep), expected, rtol=1e-6, atol=1e-6)
    for timestep, abar in {300: 0.591, 600: 0.161, 900: 0.014}.items():
        assert float(backbone.schedule.alpha_bar(timestep)) == pytest.approx(abar, abs=5e-4)
