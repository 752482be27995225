"""Interface of noisings."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ...store.errors import ConfigError
from .keyed_noise import NoiseKey

if TYPE_CHECKING:
    from ..backbones.base import Backbone

#: Function of a timestep and a draw's number that returns x_tau, (latent frame, channel, y, x), float32.
NoisyClip = Callable[[int, int], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class CleanClip:
    """A clip on the backbone's device, before noise.

    Attributes
    ----------
    latents
        x_0: (latent frame, channel, y, x), float32.
    condition
        The clip's conditioning, from `Backbone.condition`.
    noise
        Result of `Noising.draw` for the clip, (draw, latent frame, channel, y, x), float32; None without draws.
    """

    latents: torch.Tensor
    condition: Mapping[str, torch.Tensor]
    noise: torch.Tensor | None


@dataclass(frozen=True)
class Noising(abc.ABC):
    """A rule that computes the noisy inputs x_tau of a clip.

    Subclasses are frozen dataclasses. Their fields are the options that a user may set (``ddim-inversion:steps=100``);
    each has a default of type int, float, bool or str.

    Attributes
    ----------
    name
        Name in the registry.
    random
        Whether x_tau depends on random noise. Otherwise the seed and the number of draws are not part of a request.
    """

    name: ClassVar[str]
    random: ClassVar[bool] = False

    @property
    def identity(self) -> str:
        """The rule and its options as text, which is part of the request: equal text must mean equal values."""
        options = ",".join(f"{key}={value}" for key, value in dataclasses.asdict(self).items())
        return f"{self.name}:{options}" if options else self.name

    def timesteps(self, backbone: Backbone) -> Sequence[int]:
        """Return the supported timesteps, rising; by default all of the backbone's schedule."""
        return range(len(backbone.schedule))

    def alpha_bar(self, backbone: Backbone, timestep: int) -> float | None:
        """Return the clean signal's share of the power of x_tau (see `Schedule.alpha_bar`); None without noise."""
        return backbone.schedule.alpha_bar(timestep)

    def draw(self, key: NoiseKey, shape: Sequence[int], draws: int) -> torch.Tensor | None:
        """Draw the random noise of a clip, on the host in a preparing thread.

        Parameters
        ----------
        key
            Key of the clip's noise, with draw 0.
        shape
            (latent frame, channel, y, x).
        draws
            Number of draws.

        Returns
        -------
        torch.Tensor or None
            (draw, *shape), float32, on the CPU; by default None, for a noising without random noise.
        """
        return None

    @abc.abstractmethod
    def perturb(self, backbone: Backbone, clip: CleanClip, timesteps: Sequence[int]) -> NoisyClip:
        """Return a function that computes x_tau of a clip.

        It is called once for each clip, so that all timesteps can share one trajectory of network passes. x_tau must
        not depend on `timesteps`, since a resumed extraction passes fewer.

        Parameters
        ----------
        backbone
            The backbone; `Backbone.predict` runs its network.
        clip
            The clip.
        timesteps
            All tau for which the function may be called.
        """

    def check_timesteps(self, backbone: Backbone, timesteps: Sequence[int]) -> None:
        """Check that the noising supports these timesteps.

        Raises
        ------
        ConfigError
            If there is no timestep, or one is not supported; the message names the nearest ones.
        """
        grid = self.timesteps(backbone)
        off = [timestep for timestep in timesteps if timestep not in grid]
        if timesteps and not off:
            return
        what = f"timestep {off[0]}" if off else "no timestep"
        if not backbone.takes_noise:
            takes = "it takes 0 alone, for it knows no noise"
        elif grid == range(len(backbone.schedule)):
            takes = f"it takes 0 to {len(grid) - 1}"
        else:
            nearest = sorted(sorted(grid, key=lambda timestep: abs(timestep - off[0]))[:2]) if off else grid[:2]
            takes = (
                f"noising {self.identity!r} takes {len(grid)} of them, the nearest {' and '.join(map(str, nearest))}"
            )
        raise ConfigError(f"{what} for backbone {backbone.name!r}; {takes}")
