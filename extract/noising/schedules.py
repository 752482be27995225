"""A diffusion model's noise schedule, as training counts it."""

from dataclasses import dataclass

import torch

from ...store.errors import ConfigError

__all__ = ["NoiseSchedule"]


@dataclass(frozen=True, kw_only=True)
class NoiseSchedule:
    """How much of a clean sample is left at each timestep.

    Attributes
    ----------
    alphas_cumprod
        abar: (timestep,), float32 on the CPU, falling.
    """

    alphas_cumprod: torch.Tensor

    def alpha_bar(self, timestep: int) -> torch.Tensor:
        """Return abar at a timestep, without dimensions.

        Raises
        ------
        ConfigError
            For a timestep that training does not know.
        """
        steps = len(self.alphas_cumprod)
        if not 0 <= timestep < steps:
            raise ConfigError(f"timestep {timestep} is not one of the model's: 0 to {steps - 1}")
        return self.alphas_cumprod[timestep]

    def sigma(self, timestep: int) -> torch.Tensor:
        """Return the noise level sqrt((1 - abar) / abar) relative to a clean sample of unit scale."""
        abar = self.alpha_bar(timestep)
        return ((1 - abar) / abar) ** 0.5

    def perturb(self, clean: torch.Tensor, noise: torch.Tensor, timestep: int) -> torch.Tensor:
        """Return sqrt(abar) x_0 + sqrt(1 - abar) eps (Ho et al. 2020, equation 4), on the device of x_0."""
        abar = self.alpha_bar(timestep).to(clean.device)
        return abar**0.5 * clean + (1 - abar) ** 0.5 * noise.to(clean.device)
