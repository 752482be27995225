"""The loss of a diffusion model: v-prediction (Salimans and Ho, 2022) at timesteps drawn by a configured density."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ted.extract.backbones.base import Condition
from ted.extract.backbones.latent import LatentBackbone

from .loop import Batch
from .scenes import Scenes, loader

__all__ = ["Objective"]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Gives the losses of steps, by their numbers.

    Attributes
    ----------
    backbone
        The very backbone that extracts features: it encodes, conditions, adds noise and calls the UNet here as there.
    scenes
        What to learn from.
    batch
        Videos in a step.
    timesteps
        Ranges (first, last, share): a timestep is drawn from a range with the probability `share`, evenly inside.
    seed
        Of timesteps, noise and dropped conditions.
    condition
        Gives the condition of one clip (frame, 3, height, width) in [-1, 1].
    channel_weights
        Weights of the latents' channels in the loss.
    bfloat16
        Whether the network computes in bfloat16 where that is safe (autocast).
    workers
        Processes that render.
    """

    backbone: LatentBackbone
    scenes: Scenes
    batch: int
    timesteps: Sequence[tuple[int, int, float]]
    seed: int
    condition: Callable[[torch.Tensor, np.random.Generator], Condition]
    channel_weights: Sequence[float]
    bfloat16: bool
    workers: int = 0

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """Give the losses of steps `first` to `last`, the latter not included."""
        for step, frames in enumerate(
            loader(self.scenes, first=first, last=last, batch=self.batch, workers=self.workers), start=first
        ):
            yield self.losses(frames, np.random.default_rng([self.seed, step]))

    def losses(self, frames: torch.Tensor, rng: np.random.Generator) -> Batch:
        """Compute the losses of clips (clip, frame, 3, height, width), uint8."""
        backbone = self.backbone
        pixels = frames.to(backbone.device).float() / 127.5 - 1
        if backbone.clip_length == 1:  # an image model: every frame is a clip
            pixels = pixels.flatten(0, 1)[:, None]
        taus = [self._draw(rng) for _ in pixels]
        latents = torch.stack([backbone.encode(clip) for clip in pixels])
        noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32)).to(backbone.device)
        noisy = torch.stack(
            [backbone.schedule.perturb(x, eps, tau) for x, eps, tau in zip(latents, noise, taus, strict=True)]
        )
        # v = sqrt(abar) eps - sqrt(1 - abar) x_0 is x_t with eps in the place of x_0 and -x_0 in the place of eps.
        target = torch.stack(
            [backbone.schedule.perturb(eps, -x, tau) for x, eps, tau in zip(latents, noise, taus, strict=True)]
        )
        conditions = [self.condition(clip, rng) for clip in pixels]
        condition = {key: torch.cat([each[key] for each in conditions]) for key in conditions[0]}
        with torch.autocast(backbone.device.type, torch.bfloat16, enabled=self.bfloat16):
            output = backbone.network(**backbone.network_arguments(noisy, taus, condition))[0].float()
        errors = backbone.unfold_output(output, noisy) - target
        weights = errors.new_tensor(self.channel_weights)[:, None, None]  # (clip, frame, channel, y, x)
        losses = (weights * errors**2).flatten(1).mean(1)
        return Batch(losses=losses, timesteps=torch.tensor(taus))

    def _draw(self, rng: np.random.Generator) -> int:
        shares = np.array([share for _, _, share in self.timesteps])
        first, last, _ = self.timesteps[rng.choice(len(shares), p=shares / shares.sum())]
        return int(rng.integers(first, last + 1))
