"""The contract of a noising."""

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

__all__ = ["CleanClip", "Noising", "NoisyClip"]

#: Gives x_tau, (latent frame, channel, y, x), float32, for a timestep and the number of a draw.
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
        What `Noising.draw` gave for the clip, (draw, latent frame, channel, y, x), float32; None without draws.
    """

    latents: torch.Tensor
    condition: Mapping[str, torch.Tensor]
    noise: torch.Tensor | None


@dataclass(frozen=True)
class Noising(abc.ABC):
    """A rule that gives the noisy inputs x_tau of a clip.

    Subclasses are frozen dataclasses; their fields, all with defaults of type int, float, bool or str, are the options
    that a user may set (``ddim-inversion:steps=100``).

    Attributes
    ----------
    name
        Name in the registry.
    random
        Whether x_tau depends on drawn noise: only then the seed and the number of draws are part of a request.
    """

    name: ClassVar[str]
    random: ClassVar[bool] = False

    @property
    def identity(self) -> str:
        """The rule and its options as text: part of the request of the features, so equal text means equal values."""
        options = ",".join(f"{key}={value}" for key, value in dataclasses.asdict(self).items())
        return f"{self.name}:{options}" if options else self.name

    def timesteps(self, backbone: Backbone) -> Sequence[int]:
        """Return the timesteps that the noising can serve, rising; by default all of the backbone's schedule."""
        return range(len(backbone.schedule))

    def alpha_bar(self, backbone: Backbone, timestep: int) -> float | None:
        """Return the clean share of the power of x_tau (see `Schedule.alpha_bar`); None where no noise is added."""
        return backbone.schedule.alpha_bar(timestep)

    def draw(self, key: NoiseKey, shape: Sequence[int], draws: int) -> torch.Tensor | None:
        """Draw what the noising needs for a clip; runs on the host, in the threads that read frames.

        Parameters
        ----------
        key
            Identifies the clip; draw 0.
        shape
            (latent frame, channel, y, x).
        draws
            Number of draws.

        Returns
        -------
        torch.Tensor or None
            (draw, *shape), float32, on the CPU; None, as here, when nothing is drawn.
        """
        return None

    @abc.abstractmethod
    def perturb(self, backbone: Backbone, clip: CleanClip, timesteps: Sequence[int]) -> NoisyClip:
        """Return what gives x_tau of a clip.

        It is called once for each clip, so that a trajectory of network passes can serve all timesteps. The result
        must not depend on which of the timesteps are asked for: an interrupted extraction asks for fewer.

        Parameters
        ----------
        backbone
            The backbone; `Backbone.predict` runs its network.
        clip
            The clip.
        timesteps
            All tau that may be asked for.
        """

    def check_timesteps(self, backbone: Backbone, timesteps: Sequence[int]) -> None:
        """Check that the noising serves these timesteps.

        Raises
        ------
        ConfigError
            For no timestep, and for one off the grid; the message names the nearest ones.
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
