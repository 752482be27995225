"""Noisings in closed form: random draws by the model's schedule, and no noise."""

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


@dataclass(frozen=True)
class RandomDraws(Noising):
    """The forward process of training: x_tau from x_0 and keyed Gaussian noise (DIFT, TED). The default."""

    name: ClassVar[str] = "random"
    random: ClassVar[bool] = True

    @property
    def identity(self) -> str:
        """Name of the rule that draws noise; a derived noising adds it to its own name and options."""
        return NOISE_SCHEME if type(self) is RandomDraws else f"{super().identity} {NOISE_SCHEME}"

    def draw(self, key: NoiseKey, shape: Sequence[int], draws: int) -> torch.Tensor:
        """Draw noise for every draw; all timesteps share it."""
        return torch.stack([draw_noise(dataclasses.replace(key, draw=draw), shape) for draw in range(draws)])

    def perturb(self, backbone: Backbone, clip: CleanClip, timesteps: Sequence[int]) -> NoisyClip:
        """Return a function that applies the backbone's schedule to x_0 and a draw's noise."""
        noise = clip.noise
        assert noise is not None
        return lambda timestep, draw: backbone.schedule.perturb(clip.latents, noise[draw], timestep)


@dataclass(frozen=True)
class NoNoise(Noising):
    """No noise: x_tau = x_0 at every timestep, although the network gets tau."""

    name: ClassVar[str] = "none"

    def alpha_bar(self, backbone: Backbone, timestep: int) -> None:
        """Return None, since no noise is added."""

    def perturb(self, backbone: Backbone, clip: CleanClip, timesteps: Sequence[int]) -> NoisyClip:
        """Return a function that returns x_0."""
        return lambda timestep, draw: clip.latents
