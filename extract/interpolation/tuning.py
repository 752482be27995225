"""Online fine-tuning of a network on one pair of frames after another."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import torch
from diffusers.models.attention_processor import Attention
from torch import nn
from torch.nn import functional

from ...store.errors import ConfigError, Hint, TedError
from ..backbones.base import Backbone, Condition
from ..noising.keyed_noise import NoiseKey, draw_noise, keyed_generator
from .operators import Operator, Pair

#: Which weights are fine-tuned: the queries' projections of attention, all of attention, or the whole network.
Tuned = Literal["attention-queries", "attention", "all"]

#: Values of weights by the name of the parameter.
Weights = Mapping[str, torch.Tensor]


class DivergedError(TedError):
    """Fine-tuning whose loss is not finite."""


def tuned_parameters(network: nn.Module, tuned: Tuned) -> dict[str, nn.Parameter]:
    """Return the parameters that are fine-tuned, by name.

    Raises
    ------
    ConfigError
        When the network has none of them.
    """
    if tuned == "all":
        return dict(network.named_parameters())
    layers = {name: module for name, module in network.named_modules() if isinstance(module, Attention)}
    parts = {
        f"{name}.{part}": parameter
        for name, layer in layers.items()
        for part, parameter in layer.named_parameters()
        if tuned == "attention" or part.startswith("to_q.")
    }
    if not parts:
        raise ConfigError(f"the network has no {tuned.replace('-', ' ')} to fine-tune: tune all of it")
    return parts


@contextlib.contextmanager
def tunable(network: nn.Module, tuned: Tuned) -> Iterator[dict[str, nn.Parameter]]:
    """Let gradients flow to the chosen parameters in this block; afterwards the network is as before."""
    parameters = tuned_parameters(network, tuned)
    before, checkpointed = copy_weights(parameters), checkpoints_gradients(network)
    wanted = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    network.requires_grad_(False)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    try:
        yield parameters
    finally:
        if checkpoints_gradients(network) and not checkpointed:
            network.disable_gradient_checkpointing()  # type: ignore[operator]
        set_weights(parameters, before)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(wanted[name])
            parameter.grad = None


def checkpoints_gradients(network: nn.Module) -> bool:
    """Tell whether a network of diffusers recomputes activations in the backward pass, or cannot do so."""
    able = getattr(network, "_supports_gradient_checkpointing", False)
    return bool(network.is_gradient_checkpointing) if able else True


def copy_weights(parameters: Mapping[str, nn.Parameter]) -> dict[str, torch.Tensor]:
    """Return a copy of the values, on the CPU."""
    return {name: parameter.detach().to("cpu", copy=True) for name, parameter in parameters.items()}


@torch.no_grad()
def set_weights(parameters: Mapping[str, nn.Parameter], values: Weights) -> None:
    """Set the values of parameters."""
    for name, parameter in parameters.items():
        parameter.copy_(values[name])


def predict(backbone: Backbone, latents: torch.Tensor, timestep: int, condition: Condition) -> torch.Tensor:
    """Return the network's output for latents (channel, y, x) of a frame; gradients flow. float32, of equal shape."""
    noisy = latents[None, None].float()
    output = backbone.network(**backbone.network_arguments(noisy, timestep, condition))[0].float()
    return backbone.unfold_output(output, noisy)[0, 0]


def tune_pair(
    backbone: Backbone,
    parameters: Mapping[str, nn.Parameter],
    operator: Operator,
    pair: Pair,
    condition: Condition,
    *,
    key: NoiseKey,
    timesteps: Mapping[int, int],
    pair_steps: int,
    rate: float,
    progress: Callable[[int], None] = lambda steps: None,
) -> list[float]:
    """Fine-tune a network on a pair of frames: Adam on the mean squared error of the operator's prediction.

    Each step draws k uniformly from 1 ... T and, for an operator that needs it, noise, from the key; so equal keys give
    equal losses on one machine.

    Parameters
    ----------
    backbone
        The backbone, whose network is changed.
    parameters
        The parameters to tune, from `tunable`.
    operator
        The operator.
    pair
        z^t and z^(t+1), (channel, y, x), float32, on the backbone's device.
    condition
        The network's conditioning.
    key
        Key of the draws; its draw and purpose are replaced.
    timesteps
        The network's timestep by k.
    pair_steps, rate
        Number of steps, and Adam's learning rate.
    progress
        Called with the number of steps just done.

    Returns
    -------
    list of float
        Loss of each step, before its update.

    Raises
    ------
    DivergedError
        When a loss is not finite.
    """
    optimizer = torch.optim.Adam(list(parameters.values()), lr=rate)
    chosen = keyed_generator(_of(key, 0, "interpolation-steps")).integers(1, operator.steps + 1, size=pair_steps)
    target = operator.target(pair)
    losses = []
    for number, step in enumerate(chosen.tolist()):
        noise = draw_for(operator, key, number + 1, pair.previous)
        latents = operator.sample(step, pair, noise)
        predicted = operator.read(step, latents, predict(backbone, latents, timesteps[step], condition))
        loss = functional.mse_loss(predicted, target)
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise DivergedError(
                f"the loss is {losses[-1]} at step {number + 1} of {pair_steps} with a learning rate of {rate:g}",
                hint=Hint("tune-gently"),
            )
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        progress(1)
    optimizer.zero_grad(set_to_none=True)
    return losses


def draw_for(operator: Operator, key: NoiseKey, number: int, like: torch.Tensor) -> torch.Tensor:
    """Return the noise of a fine-tuning step, counted from 1, or of the roll-out, 0; zeros if the operator has none."""
    if not operator.noisy:
        return torch.zeros_like(like)
    return draw_noise(_of(key, number, "interpolation"), like.shape).to(like.device)


def _of(key: NoiseKey, draw: int, purpose: str) -> NoiseKey:
    return NoiseKey(seed=key.seed, video=key.video, start=key.start, draw=draw, purpose=purpose)
