"""Loss of a diffusion model: v-prediction (Salimans and Ho, 2022) at timesteps of a configured density."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ted.extract.attention_maps import attention_layers, grid_of_tokens, read_attention
from ted.extract.backbones.base import Condition
from ted.extract.backbones.latent import LatentBackbone

from .loop import Batch
from .scenes import Captioned, Scenes, loader

__all__ = ["Objective"]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Loss of each training step.

    Attributes
    ----------
    backbone
        Backbone of the extraction: it encodes, conditions, adds noise and calls the network with the same code.
    scenes
        Training data.
    batch
        Number of videos per step.
    timesteps
        Ranges (first, last, share) of timesteps: a range is drawn with probability `share`, a timestep uniformly in it.
    seed
        Seed of timesteps, noise and dropped conditions.
    condition
        Returns the condition of a clip (frame, 3, height, width) in [-1, 1], given a random generator.
    channel_weights
        Weight of each latent channel in the loss.
    bfloat16
        Use bfloat16 autocast.
    workers
        Number of rendering processes.
    text
        Encodes token ids (clip, token) to text states (clip, token, channel), if scenes have captions.
    grounding
        Weight of the binary cross-entropy between the masks of named objects and the cross-attention to their names,
        summed over tokens and averaged over heads, as in TokenCompose (Wang et al., 2024).
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
    text: Callable[[torch.Tensor], torch.Tensor] | None = None
    grounding: float = 0.0

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """Yield the losses of steps `first` to `last`, which is excluded."""
        for step, item in enumerate(
            loader(self.scenes, first=first, last=last, batch=self.batch, workers=self.workers), start=first
        ):
            yield self.losses(item, np.random.default_rng([self.seed, step]))

    def losses(self, clips: torch.Tensor | Captioned, rng: np.random.Generator) -> Batch:
        """Compute the losses of clips (clip, frame, 3, height, width), uint8, or of clips with captions."""
        backbone = self.backbone
        frames = clips if isinstance(clips, torch.Tensor) else clips.frames
        pixels = frames.to(backbone.device).float() / 127.5 - 1
        if backbone.clip_length == 1:  # an image model: every frame is a clip
            pixels = pixels.flatten(0, 1)[:, None]
        taus = [self._draw(rng) for _ in pixels]
        latents = torch.stack([backbone.encode(clip) for clip in pixels])
        noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32)).to(backbone.device)
        perturb = backbone.schedule.perturb
        noisy = torch.stack([perturb(x, eps, tau) for x, eps, tau in zip(latents, noise, taus, strict=True)])
        # v = sqrt(abar) eps - sqrt(1 - abar) x_0 is x_t with x_0 replaced by eps, and eps by -x_0.
        target = torch.stack([perturb(eps, -x, tau) for x, eps, tau in zip(latents, noise, taus, strict=True)])
        conditions = [self.condition(clip, rng) for clip in pixels]
        condition = {key: torch.cat([each[key] for each in conditions]) for key in conditions[0]}
        penalty: torch.Tensor | float = 0.0
        with torch.autocast(backbone.device.type, torch.bfloat16, enabled=self.bfloat16):
            if self.text is None or isinstance(clips, torch.Tensor):
                output = backbone.network(**backbone.network_arguments(noisy, taus, condition))[0]
            else:
                states = self.text(clips.ids.to(backbone.device))
                condition["text_states"] = states.repeat_interleave(len(pixels) // len(states), dim=0)
                output, penalty = self._grounded(noisy, taus, condition, clips)
        errors = backbone.unfold_output(output.float(), noisy) - target
        weights = errors.new_tensor(self.channel_weights)[:, None, None]  # (clip, frame, channel, y, x)
        losses = (weights * errors**2).flatten(1).mean(1)
        return Batch(losses=losses, timesteps=torch.tensor(taus), penalty=penalty)

    def _grounded(
        self, noisy: torch.Tensor, taus: Sequence[int], condition: Condition, clips: Captioned
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the network's output, and how far cross-attention to names is from the masks of their objects."""
        layers = attention_layers(self.backbone, cross=True)
        outputs: list[torch.Tensor] = []

        def forward() -> None:
            outputs.append(self.backbone.network(**self.backbone.network_arguments(noisy, taus, condition))[0])

        attention = read_attention(forward, layers, stop_early=False)
        masks = clips.masks.to(self.backbone.device).flatten(0, 1)  # (sample, name, y, x)
        members = functional.one_hot(clips.owners.to(masks.device), masks.shape[1] + 1)[..., 1:]  # (clip, token, name)
        members = members.repeat_interleave(len(masks) // len(members), dim=0).to(torch.float32)
        named = members.any(1).to(torch.float32)  # (sample, name)
        losses = []
        for weights in attention.values():
            grid = grid_of_tokens(weights.shape[2], (noisy.shape[-2], noisy.shape[-1]))
            of_names = (weights.mean(1) @ members).mT  # (sample, name, cell)
            truth = functional.adaptive_avg_pool2d(masks.float(), grid).flatten(2)
            apart = functional.binary_cross_entropy(of_names.clamp(1e-4, 1 - 1e-4), truth, reduction="none").mean(-1)
            losses.append((apart * named).sum() / named.sum().clamp_min(1))
        return outputs[0], self.grounding * torch.stack(losses).mean()

    def _draw(self, rng: np.random.Generator) -> int:
        shares = np.array([share for _, _, share in self.timesteps])
        first, last, _ = self.timesteps[rng.choice(len(shares), p=shares / shares.sum())]
        return int(rng.integers(first, last + 1))
