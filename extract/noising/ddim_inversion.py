"""DDIM inversion (Song et al. 2021): x_tau on the deterministic path of the network from the clean clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ...store.errors import ConfigError
from .base import CleanClip, Noising, NoisyClip
from .schedules import EdmSchedule, NoiseSchedule

if TYPE_CHECKING:
    from ..backbones.base import Backbone


@dataclass(frozen=True)
class DdimInversion(Noising):
    """x_tau by DDIM steps from x_0, without guidance; the prompt is the backbone's.

    With the levels 1, 1 + r, 1 + 2 r, ... (r = training steps // `steps`), each step goes from level s to t = s + r::

        x_t = sqrt(abar_t) x_0(x_s) + sqrt(1 - abar_t) eps(x_s)

    The first step starts at abar_0, as in Stable Diffusion's configuration. x_0 and eps come from one network pass that
    gets level t, as in diffusers' `DDIMInverseScheduler`. One path per clip serves all levels.
    """

    name: ClassVar[str] = "ddim-inversion"

    steps: int = 50

    def timesteps(self, backbone: Backbone) -> Sequence[int]:
        """Return the levels of the path; raise ConfigError for steps or a backbone that it cannot have."""
        schedule = backbone.schedule
        if not isinstance(schedule, NoiseSchedule) or isinstance(schedule, EdmSchedule):
            raise ConfigError(
                f"noising {self.name!r} needs a variance-preserving schedule, which backbone {backbone.name!r} lacks"
            )
        if not 1 <= self.steps <= len(schedule):
            raise ConfigError(f"noising {self.name!r} takes 1 to {len(schedule)} steps, not {self.steps}")
        return range(1, len(schedule), len(schedule) // self.steps)[: self.steps]

    def perturb(self, backbone: Backbone, clip: CleanClip, timesteps: Sequence[int]) -> NoisyClip:
        """Follow the path as far as the largest timestep; return a function that looks up its levels."""
        schedule = backbone.schedule
        assert isinstance(schedule, NoiseSchedule)
        x, abar = clip.latents[None], schedule.abar(0)
        path: dict[int, torch.Tensor] = {}
        for level in self.timesteps(backbone):
            if level > max(timesteps):
                break
            output = backbone.predict(x, level, clip.condition)
            signal, spread = abar**0.5, (1 - abar) ** 0.5
            if backbone.prediction == "v_prediction":
                clean, noise = signal * x - spread * output, signal * output + spread * x
            else:
                clean, noise = (x - spread * output) / signal, output
            abar = schedule.abar(level)
            x = abar**0.5 * clean + (1 - abar) ** 0.5 * noise
            if level in timesteps:
                path[level] = x[0]
        return lambda timestep, _draw: path[timestep]
