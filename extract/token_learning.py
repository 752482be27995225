"""Mask-specific textual inversion: a text token per object, learned from one frame (DRIFT-style).

The recipe is that of zvos: the token's cross-attention map is matched to the mask by binary cross-entropy.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional

from ..store.errors import ConfigError, Hint, TedError
from .attention_maps import as_maps, attention_layers, read_attention
from .backbones.base import Backbone
from .backbones.latent import TextBackbone, with_tokens
from .noising.keyed_noise import NoiseKey, draw_noise

#: Value of all channels of a token at the start of learning.
_START = 1e-4

_KEY = NoiseKey(seed=0, video="", start=0)


@dataclass(frozen=True, kw_only=True)
class LearnedTokens:
    """Tokens of a frame's objects.

    Attributes
    ----------
    tokens
        (object, channel), float32, on the CPU.
    losses
        Loss of each object before each step, averaged over noise draws: (step, object), float32, on the CPU.
    maps
        Cross-attention map of each token after the last step, averaged over further noise draws: (object, y, x),
        float32, on the CPU, on the finest of the layers' grids.
    """

    tokens: torch.Tensor
    losses: torch.Tensor
    maps: torch.Tensor


def default_layers(backbone: Backbone) -> tuple[str, ...]:
    """Return the name of the last block with cross-attention, the finest: ``up_blocks[3]`` of Stable Diffusion 2.1.

    Raises
    ------
    ConfigError
        When the backbone has no cross-attention.
    """
    return (list(attention_layers(backbone, cross=True))[-1].partition(".")[0],)


def token_maps(
    backbone: Backbone,
    noisy: torch.Tensor,
    tokens: torch.Tensor,
    *,
    states: torch.Tensor,
    layers: Sequence[str],
    timestep: int,
) -> torch.Tensor:
    """Return the cross-attention map of each token, averaged over heads and layers; gradients flow to the tokens.

    Parameters
    ----------
    backbone
        The backbone.
    noisy
        x_tau of the frame: (1, channel, y, x).
    tokens
        (object, channel).
    states
        Text states of the empty prompt, (1, token, channel).
    layers
        Beginnings of the names of the layers.
    timestep
        tau.

    Returns
    -------
    torch.Tensor
        (object, y, x) on the finest of the layers' grids.
    """
    arguments = backbone.network_arguments(noisy[None], timestep, {"text_states": with_tokens(states, tokens)})
    weights = read_attention(
        lambda: backbone.network(**arguments), attention_layers(backbone, cross=True, within=layers)
    )
    return as_maps(weights, (noisy.shape[-2], noisy.shape[-1]))[0, 1 : 1 + len(tokens)]


def map_losses(maps: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the binary cross-entropy between each map (object, y, x) and its mask, averaged over the map's cells.

    Masks (object, y, x) in [0, 1] have any size; they are averaged over the cells.
    """
    cells = functional.adaptive_avg_pool2d(targets.to(maps), (maps.shape[-2], maps.shape[-1]))
    least = torch.finfo(maps.dtype).tiny  # a map may reach 0 or 1, and the library's loss refuses what exceeds 1
    return -(cells * maps.clamp(min=least).log() + (1 - cells) * (1 - maps).clamp(min=least).log()).mean((1, 2))


def learn_tokens(
    backbone: Backbone,
    latents: torch.Tensor,
    targets: torch.Tensor,
    *,
    layers: Sequence[str] = (),
    timestep: int = 100,
    draws: int = 4,
    steps: int = 100,
    rate: float = 0.01,
    start: torch.Tensor | None = None,
    key: NoiseKey = _KEY,
    progress: Callable[[int], None] = lambda done: None,
) -> LearnedTokens:
    """Learn a token for each object of a frame by AdamW; the network is not changed.

    All objects are learned in one conditioning: the text states of the empty prompt with the tokens of `with_tokens`.

    Parameters
    ----------
    backbone
        An image backbone with text.
    latents
        x_0 of the frame: (1, channel, y, x).
    targets
        Masks (object, y, x) in [0, 1], of any size.
    layers
        Beginnings of the names of the cross-attention layers whose mean map is matched; `default_layers` if empty.
    timestep
        Noise level tau at which the network runs.
    draws
        Number of noise draws in a step; every step has draws of its own.
    steps, rate
        Number of steps and learning rate.
    start
        Tokens to start from, (object, channel); by default all channels are 1e-4.
    key
        Key of the noise; its draw and purpose are ignored. Equal keys give equal tokens on one machine.
    progress
        Function that is called after each step with the number 1.

    Raises
    ------
    ConfigError
        For a backbone of clips, without cross-attention or without text, for layers that it does not have, for an
        object without a pixel, and for more objects than text states.
    TedError
        When the loss or its gradient is not finite.
    """
    if backbone.clip_length != 1:
        raise ConfigError(f"backbone {backbone.name!r} sees clips: tokens are learned with image backbones")
    within = layers or default_layers(backbone)
    if not isinstance(backbone, TextBackbone):
        raise ConfigError(f"backbone {backbone.name!r} takes no text, so it has no place for tokens")
    absent = [str(number) for number, target in enumerate(targets) if not target.any()]
    if absent or not len(targets):
        raise ConfigError(f"no pixel of target {', '.join(absent)} to learn from" if absent else "no target to learn")
    # Gradients need tensors that were not made in inference mode, which the encoders use.
    with torch.inference_mode(False), torch.enable_grad(), _checkpoints(backbone.network):
        states, clean = backbone.null_states.clone(), latents.clone()
        kind = torch.promote_types(backbone.dtype, torch.float32)
        shape = len(targets), states.shape[2]
        tokens = (torch.full(shape, _START) if start is None else start.clone()).to(backbone.device, kind)
        with_tokens(states, tokens)  # checks them
        tokens.requires_grad_()
        optimizer = torch.optim.AdamW([tokens], lr=rate)

        def maps_of(draw: int) -> torch.Tensor:
            noise = draw_noise(replace(key, draw=draw, purpose="token"), clean.shape).to(clean)
            noisy = backbone.schedule.perturb(clean, noise, timestep)
            return token_maps(backbone, noisy, tokens, states=states, layers=within, timestep=timestep)

        curve = []
        for step in range(steps):
            losses = torch.zeros(len(targets))
            gradient = torch.zeros_like(tokens)
            for draw in range(step * draws, (step + 1) * draws):
                found = map_losses(maps_of(draw), targets)
                gradient += torch.autograd.grad(found.sum() / draws, tokens)[0]
                losses += found.detach().float().cpu() / draws
            if not (losses.isfinite().all() and gradient.isfinite().all()):
                raise TedError(
                    f"tokens cannot be learned: in step {step + 1} the loss or its gradient is not finite",
                    hint=Hint("raise-precision"),
                )
            curve.append(losses)
            tokens.grad = gradient
            optimizer.step()
            progress(1)
        with torch.no_grad():
            maps = torch.stack([maps_of(steps * draws + draw).float() for draw in range(draws)]).mean(0).cpu()
    return LearnedTokens(tokens=tokens.detach().float().cpu(), losses=torch.stack(curve), maps=maps)


@contextmanager
def _checkpoints(network: nn.Module) -> Iterator[None]:
    """Recompute activations in the backward pass, where the network can, which saves most of its memory."""
    able = getattr(network, "_supports_gradient_checkpointing", False) and not network.is_gradient_checkpointing
    if able:
        network.enable_gradient_checkpointing()  # type: ignore[operator]
    try:
        yield
    finally:
        if able:
            network.disable_gradient_checkpointing()  # type: ignore[operator]
