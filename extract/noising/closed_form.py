"""Noisings in closed form: random draws by the model's schedule, and none."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from .base import CleanClip, Noising, NoisyClip
from .keyed_noise import NOISE_SCHEME, NoiseKey, draw_noise

if TYPE_CHECKING:
    from ..backbones.base import Backbone

__all__ = ["NoNoise", "RandomDraws"]


@dataclass(frozen=True)
class RandomDraws(Noising):
    """The forward process of training: x_tau from x_0 and keyed Gaussian noise (DIFT, TED). The default."""

    name: ClassVar[str] = "random"
    random: ClassVar[bool] = True

    @property
    def identity(self) -> str:
        """Name of the rule by which noise is drawn."""
        return NOISE_SCHEME

    def draw(self, key: NoiseKey, shape: Sequence[int], draws: int) -> torch.Tensor:
        """Draw the noise of every draw, which all timesteps share."""
        return torch.stack([draw_noise(dataclasses.replace(key, draw=draw), shape) for draw in range(draws)])

    def perturb(self, backbone: Backbone, clip: CleanClip, timesteps: Sequence[int]) -> NoisyClip:
        """Apply the backbone's schedule to x_0 and a draw's noise, pass by pass."""
        noise = clip.noise
        assert noise is not None
        return lambda timestep, draw: backbone.schedule.perturb(clip.latents, noise[draw], timestep)


@dataclass(frozen=True)
class NoNoise(Noising):
    """x_tau = x_0 at every timestep: the network is told tau and shown a clean clip."""

    name: ClassVar[str] = "none"

    def alpha_bar(self, backbone: Backbone, timestep: int) -> None:
        """Return None: no noise is added."""

    def perturb(self, backbone: Backbone, clip: CleanClip, timesteps: Sequence[int]) -> NoisyClip:
        """Return x_0."""
        return lambda timestep, draw: clip.latents
