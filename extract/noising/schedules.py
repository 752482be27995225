"""Noise schedules: the closed form of x_tau from a clean sample and noise, as in a model's training."""

import abc
from dataclasses import dataclass

import torch

from ...store.errors import ConfigError


class Schedule(abc.ABC):
    """A model's forward process, x_tau = c x_0 + n eps, at the timesteps tau of its training."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return the number of timesteps; tau is in [0, len)."""

    @abc.abstractmethod
    def perturb(self, clean: torch.Tensor, noise: torch.Tensor, timestep: int) -> torch.Tensor:
        """Return x_tau, linear in x_0 and in noise of the same shape (any), on the device of x_0.

        Raises
        ------
        ConfigError
            For a timestep outside the schedule.
        """

    def alpha_bar(self, timestep: int) -> float:
        """Return the clean signal's share of the power of x_tau, c^2 / (c^2 + n^2), for unit variance of x_0 and eps.

        It is comparable across parametrisations: abar for sqrt(abar) x_0 + sqrt(1 - abar) eps, and 1 / (1 + sigma^2)
        for x_0 + sigma eps. The signal-to-noise ratio is alpha_bar / (1 - alpha_bar).

        Returns
        -------
        float
            In [0, 1]; 0 is pure noise.
        """
        one, zero = torch.ones(1), torch.zeros(1)
        signal = float(self.perturb(one, zero, timestep)) ** 2
        noise = float(self.perturb(zero, one, timestep)) ** 2
        return signal / (signal + noise)


@dataclass(frozen=True, kw_only=True)
class NoiseSchedule(Schedule):
    """The variance-preserving process of DDPM (Ho et al. 2020).

    Attributes
    ----------
    alphas_cumprod
        abar, (timestep,), on the CPU, falling.
    """

    alphas_cumprod: torch.Tensor

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    def abar(self, timestep: int) -> torch.Tensor:
        """Return abar at a timestep, a scalar tensor; raise ConfigError outside the schedule."""
        if not 0 <= timestep < len(self):
            raise ConfigError(f"timestep {timestep} is none of the model's: it takes 0 to {len(self) - 1}")
        return self.alphas_cumprod[timestep]

    def perturb(self, clean: torch.Tensor, noise: torch.Tensor, timestep: int) -> torch.Tensor:
        """Return sqrt(abar) x_0 + sqrt(1 - abar) eps (Ho et al. 2020, equation 4)."""
        abar = self.abar(timestep).to(clean.device)
        return abar**0.5 * clean + (1 - abar) ** 0.5 * noise.to(clean.device)


@dataclass(frozen=True, kw_only=True)
class EdmSchedule(NoiseSchedule):
    """The variance-exploding process of EDM (Karras et al. 2022), with sigmas from DDPM's abar."""

    def sigma(self, timestep: int) -> torch.Tensor:
        """Return the noise level sqrt((1 - abar) / abar), a scalar tensor."""
        abar = self.abar(timestep)
        return ((1 - abar) / abar) ** 0.5

    def perturb(self, clean: torch.Tensor, noise: torch.Tensor, timestep: int) -> torch.Tensor:
        """Return x_0 + sigma eps."""
        return clean + self.sigma(timestep).to(clean.device) * noise.to(clean.device)


class Noiseless(Schedule):
    """The schedule of a model without noise: only timestep 0, with x_tau = x_0."""

    def __len__(self) -> int:
        return 1

    def perturb(self, clean: torch.Tensor, noise: torch.Tensor, timestep: int) -> torch.Tensor:
        """Return x_0."""
        return clean


#: The schedule of every model without noise.
NOISELESS = Noiseless()
