"""A noising of another package: a path of network passes, written apart from the built-in inversion."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from ted.extract.backbones.base import Backbone
from ted.extract.noising.base import CleanClip, Noising, NoisyClip
from ted.extract.noising.schedules import NoiseSchedule


@dataclass(frozen=True)
class Inversion(Noising):
    """x_tau on the deterministic path from x_0, by steps of the network."""

    name: ClassVar[str] = "inversion"

    steps: int = 50

    def timesteps(self, backbone: Backbone) -> Sequence[int]:
        count = len(backbone.schedule)
        return range(1, count, count // self.steps)

    def perturb(self, backbone: Backbone, clip: CleanClip, timesteps: Sequence[int]) -> NoisyClip:
        schedule = backbone.schedule
        assert isinstance(schedule, NoiseSchedule)
        x, before = clip.latents[None], schedule.abar(0)
        path: dict[int, torch.Tensor] = {}
        for level in self.timesteps(backbone):
            if level > max(timesteps):
                break
            output = backbone.predict(x, level, clip.condition)
            if backbone.prediction == "v_prediction":
                clean = before**0.5 * x - (1 - before) ** 0.5 * output
                noise = before**0.5 * output + (1 - before) ** 0.5 * x
            else:
                clean, noise = (x - (1 - before) ** 0.5 * output) / before**0.5, output
            before = schedule.abar(level)
            x = before**0.5 * clean + (1 - before) ** 0.5 * noise
            path[level] = x[0]
        return lambda timestep, _draw: path[timestep]
