"""Recorded noise levels equal the schedules' formulas in double precision."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ted.extract.backbones import load_backbone
from ted.extract.plan import plan_video
from ted.extract.settings import ExtractionSettings
from tests.extract.conftest import make_plan, random_frames
from tests.extract.small_folders import SmallFolders

CPU = torch.device("cpu")
TIMESTEPS = (20, 51, 300, 600, 900)


def scaled_linear() -> NDArray[np.float64]:
    """Betas of Stable Diffusion: linear in their square roots from 0.00085 to 0.012 (Rombach et al. 2022)."""
    betas = np.linspace(math.sqrt(0.00085), math.sqrt(0.012), 1000) ** 2
    return np.asarray(np.cumprod(1 - betas))


def cosine_without_signal_at_the_end() -> NDArray[np.float64]:
    """Nichol and Dhariwal 2021, equation 17, betas at most 0.999; then Lin et al. 2024, algorithm 1."""
    at = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2
    betas = np.minimum(1 - at[1:] / at[:-1], 0.999)
    root = np.sqrt(np.cumprod(1 - betas))
    return np.asarray(((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2)


def karras() -> NDArray[np.float64]:
    """Stable Video Diffusion's x_0 + sigma eps, sigma^2 = (1 - abar) / abar: the clean share is 1 / (1 + sigma^2)."""
    sigma = np.sqrt((1 - scaled_linear()) / scaled_linear())
    return np.asarray(1 / (1 + sigma**2))


def linear() -> NDArray[np.float64]:
    """Betas of ADM: linear from 1e-4 to 0.02 (Ho et al. 2020)."""
    return np.asarray(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)))


SCHEDULES: dict[str, Callable[[], NDArray[np.float64]]] = {
    "sd21": scaled_linear,
    "i2vgen-xl": cosine_without_signal_at_the_end,
    "svd": karras,
    "adm": linear,
}


def recorded(small_folder: SmallFolders, name: str, timesteps: Sequence[int]) -> list[float | None]:
    """Return the noise level that a backbone's planned units record, for each timestep."""
    backbone = load_backbone(name, small_folder(name), device=CPU, dtype=torch.float32)
    tap = next(iter(backbone.taps))
    plan = plan_video(
        backbone,
        random_frames(2),
        dataset="d",
        video="v",
        timesteps=timesteps,
        taps=[tap],
        settings=ExtractionSettings(),
    )
    return [plan.specs[timestep, tap].alpha_bar for timestep in timesteps]


def decibels(alpha_bar: float) -> float:
    return 10 * math.log10(alpha_bar / (1 - alpha_bar))


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_levels_are_those_of_the_schedule(name: str, small_folder: SmallFolders) -> None:
    """The tolerance, 0.01 dB, is the error of diffusers' float32 product of a thousand factors."""
    found, expected = recorded(small_folder, name, TIMESTEPS), SCHEDULES[name]()
    levels = [decibels(level) for level in found if level is not None]
    np.testing.assert_allclose(levels, [decibels(expected[step]) for step in TIMESTEPS], rtol=0, atol=0.01)
    assert max(np.diff(levels)) < -1  # and the levels are far from each other


def test_pure_noise_has_no_clean_share(small_folder: SmallFolders) -> None:
    assert recorded(small_folder, "i2vgen-xl", [999]) == [0.0]


@pytest.mark.parametrize("name", ["sd21", "svd"])
def test_the_level_is_that_of_what_the_unet_is_given(name: str, small_folder: SmallFolders) -> None:
    """Regression on random latents gives the share of x_0 in x_tau's power in any parametrisation."""
    backbone = load_backbone(name, small_folder(name), device=CPU, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 1, 4, 60, 60, generator=generator)
    noisy = backbone.schedule.perturb(clean, noise, 300)
    basis = torch.stack([clean.flatten(), noise.flatten()], dim=1)
    signal, other = torch.linalg.lstsq(basis, noisy.flatten()[:, None]).solution.flatten().tolist()
    assert backbone.schedule.alpha_bar(300) == pytest.approx(signal**2 / (signal**2 + other**2), rel=1e-5)


@pytest.mark.parametrize("name", ["rgb", "position"])
def test_features_without_noise_have_no_level(name: str) -> None:
    backbone = load_backbone(name, None, device=CPU, dtype=torch.float32)
    plan = make_plan(backbone, random_frames(1), (64, 64), [0], ["stride8"])
    assert plan.specs[0, "stride8"].alpha_bar is None
