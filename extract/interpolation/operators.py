"""Operators of DINTR-style interpolation: between the latents of two frames in T steps, as pure functions.

Step k of T runs from T (the previous frame's latents z^t, or noise) down to 0 (the next frame's z^(t+1)). A network
predicts a quantity at each step: it is fine-tuned to predict the operator's `target` at z_k, and the roll-out uses its
predictions to come from z_T to z_0. The four operators of interpolation share z_k = (k/T) z^t + (1 - k/T) z^(t+1), and
have the names of the variants (a) to (d) of Heitz et al. (2023, alpha-deblending) and of DINTR's equations 2a to 2d.
"""

import abc
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch

from ...store.errors import ConfigError
from ..noising.schedules import Schedule


class Pair(NamedTuple):
    """Latents of two consecutive frames, of equal shapes (any)."""

    previous: torch.Tensor  # z^t
    following: torch.Tensor  # z^(t+1)


@dataclass(frozen=True, kw_only=True)
class Operator(abc.ABC):
    """A way from z^t to z^(t+1) in steps.

    Attributes
    ----------
    name
        Name on the command line.
    noisy
        Whether z_k depends on noise.
    steps
        T, at least 1.
    """

    name: ClassVar[str]
    noisy: ClassVar[bool] = False

    steps: int

    def sample(self, step: int, pair: Pair, noise: torch.Tensor) -> torch.Tensor:
        """Return z_k, the network's input: (k/T) z^t + (1 - k/T) z^(t+1)."""
        share = step / self.steps
        return share * pair.previous + (1 - share) * pair.following

    def read(self, step: int, latents: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Return the predicted quantity from the network's output at z_k; by default the output."""
        return output

    def target(self, pair: Pair) -> torch.Tensor:
        """Return the quantity that the network learns to predict at every step; by default z^(t+1)."""
        return pair.following

    @abc.abstractmethod
    def advance(self, step: int, latents: torch.Tensor, predicted: torch.Tensor, pair: Pair) -> torch.Tensor:
        """Return z_(k-1) from z_k and the prediction at z_k."""


@dataclass(frozen=True, kw_only=True)
class Offset(Operator):
    """Equation 2d: predict z^(t+1) - z^t; z_(k-1) = z_k + phi / T."""

    name = "offset"

    def target(self, pair: Pair) -> torch.Tensor:
        """Return z^(t+1) - z^t."""
        return pair.following - pair.previous

    def advance(self, step: int, latents: torch.Tensor, predicted: torch.Tensor, pair: Pair) -> torch.Tensor:
        """Return z_k + phi / T."""
        return latents + predicted / self.steps


@dataclass(frozen=True, kw_only=True)
class Blend(Operator):
    """Equation 2a: predict z^(t+1); z_(k-1) = a z^t + (1 - a) phi with a = (k-1)/T and the true z^t."""

    name = "blend"

    def advance(self, step: int, latents: torch.Tensor, predicted: torch.Tensor, pair: Pair) -> torch.Tensor:
        """Return a z^t + (1 - a) phi."""
        return self.sample(step - 1, Pair(pair.previous, predicted), predicted)


@dataclass(frozen=True, kw_only=True)
class ToNext(Operator):
    """Equation 2b: predict z^(t+1); z_(k-1) = phi + (a_(k-1)/a_k) (z_k - phi) with a_k = k/T."""

    name = "to-next"

    def advance(self, step: int, latents: torch.Tensor, predicted: torch.Tensor, pair: Pair) -> torch.Tensor:
        """Return phi + (a_(k-1)/a_k) (z_k - phi)."""
        return predicted + (step - 1) / step * (latents - predicted)


@dataclass(frozen=True, kw_only=True)
class FromPrevious(Operator):
    """Equation 2c: predict z^t; z_(k-1) = phi + ((1 - a_(k-1))/(1 - a_k)) (z_k - phi) with a_k = k/T.

    At k = T both the factor's denominator and z_k - z^t are 0: the first step takes the true z_(T-1) instead.
    """

    name = "from-previous"

    def target(self, pair: Pair) -> torch.Tensor:
        """Return z^t."""
        return pair.previous

    def advance(self, step: int, latents: torch.Tensor, predicted: torch.Tensor, pair: Pair) -> torch.Tensor:
        """Return phi + ((1 - a_(k-1))/(1 - a_k)) (z_k - phi)."""
        if step == self.steps:
            return self.sample(step - 1, pair, predicted)
        return predicted + (self.steps - step + 1) / (self.steps - step) * (latents - predicted)


@dataclass(frozen=True, kw_only=True)
class Reconstruction(Operator):
    """The variant without interpolation: predict z^(t+1) from noise, by DDIM's deterministic steps.

    z_k = sqrt(abar_k) z^(t+1) + sqrt(1 - abar_k) eps. The clean latents follow from the network's own prediction of the
    noise or of v; they are the data prediction whose error is the loss of each step.

    Attributes
    ----------
    alpha_bars
        abar_k for k = 0 ... T, falling from 1.
    prediction
        The network's prediction, as in `Backbone`.
    """

    name = "reconstruction"
    noisy = True

    alpha_bars: tuple[float, ...]
    prediction: Literal["epsilon", "v_prediction"]

    def sample(self, step: int, pair: Pair, noise: torch.Tensor) -> torch.Tensor:
        """Return sqrt(abar_k) z^(t+1) + sqrt(1 - abar_k) eps."""
        abar = self.alpha_bars[step]
        return math.sqrt(abar) * pair.following + math.sqrt(1 - abar) * noise

    def read(self, step: int, latents: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Return z^(t+1) as the network predicts it at z_k."""
        abar = self.alpha_bars[step]
        if self.prediction == "v_prediction":
            return math.sqrt(abar) * latents - math.sqrt(1 - abar) * output
        return (latents - math.sqrt(1 - abar) * output) / math.sqrt(abar)

    def advance(self, step: int, latents: torch.Tensor, predicted: torch.Tensor, pair: Pair) -> torch.Tensor:
        """Return z_(k-1): the clean latents with the noise that they leave in z_k (Song et al. 2021, equation 12)."""
        abar, lower = self.alpha_bars[step], self.alpha_bars[step - 1]
        noise = (latents - math.sqrt(abar) * predicted) / math.sqrt(1 - abar)
        return math.sqrt(lower) * predicted + math.sqrt(1 - lower) * noise


#: The operators by name.
OPERATORS: Mapping[str, type[Operator]] = {
    operator.name: operator for operator in (Offset, Blend, ToNext, FromPrevious, Reconstruction)
}


def timestep_of(step: int, steps: int, top: int) -> int:
    """Return the network's timestep at step k of T: (k/T) (top + 1) - 1, rounded, at least 0."""
    return max(0, round(step / steps * (top + 1)) - 1)


def make_operator(
    name: str, steps: int, schedule: Schedule, prediction: Literal["epsilon", "v_prediction"], top: int
) -> Operator:
    """Return the operator of a name; `top` is the timestep of step T, for `Reconstruction`.

    Raises
    ------
    ConfigError
        For an unknown name.
    """
    if name not in OPERATORS:
        raise ConfigError(f"unknown operator {name!r}; there are: {', '.join(OPERATORS)}")
    extra: dict[str, Any] = {}
    if name == Reconstruction.name:
        levels = (schedule.alpha_bar(timestep_of(step, steps, top)) for step in range(1, steps + 1))
        extra = {"alpha_bars": (1.0, *levels), "prediction": prediction}
    return OPERATORS[name](steps=steps, **extra)


def roll_out(
    operator: Operator,
    predict: Callable[[int, torch.Tensor], torch.Tensor],
    pair: Pair,
    noise: torch.Tensor,
) -> tuple[torch.Tensor, list[float]]:
    """Go from z_T to z_0 by the network's predictions.

    The state is kept in float64, so that T steps add no rounding.

    Parameters
    ----------
    operator
        The operator.
    predict
        Function of k and z_k (float64) that returns the network's output.
    pair, noise
        z^t and z^(t+1), and the noise of `Reconstruction`'s start, of equal shapes.

    Returns
    -------
    latents : torch.Tensor
        z_0, float64.
    errors : list of float
        Mean squared error of z_(k-1) against z^(t+1) after each step, T numbers.
    """
    pair = Pair(pair.previous.double(), pair.following.double())
    latents = operator.sample(operator.steps, pair, noise.double())
    errors = []
    for step in range(operator.steps, 0, -1):
        predicted = operator.read(step, latents, predict(step, latents).double())
        latents = operator.advance(step, latents, predicted, pair)
        errors.append(float((latents - pair.following).square().mean()))
    return latents, errors
