"""Attention of a network's layers, recomputed from queries and keys so that gradients flow through it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch.nn import functional

from ..store.errors import ConfigError
from .backbones.attention import FUSED, attention_modules, is_temporal
from .backbones.base import Backbone
from .taps import read_taps


def attention_layers(backbone: Backbone, *, cross: bool, within: Sequence[str] = ()) -> dict[str, Attention]:
    """Return a backbone's spatial layers of self-attention or of cross-attention, in the order of the forward pass.

    Parameters
    ----------
    backbone
        The backbone.
    cross
        Whether to return cross-attention instead of self-attention.
    within
        Keep the layers whose names begin with one of these, such as ``"up_blocks[3]"``; all layers if empty.

    Returns
    -------
    dict of str to Attention
        Modules by the names that taps use, such as ``up_blocks[3].attentions[0].attn2``.

    Raises
    ------
    ConfigError
        When no layer is left, and for layers whose projections are fused.
    """
    found = {
        layer: module
        for name, block in backbone.attention_blocks.items()
        for layer, module in attention_modules(block, name)
        if module.is_cross_attention == cross and not is_temporal(layer)
    }
    kept = {name: layer for name, layer in found.items() if not within or name.startswith(tuple(within))}
    kind = "cross-attention" if cross else "self-attention"
    if not kept:
        asked = f" in {', '.join(within)}" if within else ""
        known = f"; it has: {', '.join(found)}" if found else ""
        raise ConfigError(f"backbone {backbone.name!r} has no {kind}{asked}{known}")
    for name, layer in kept.items():
        if layer.fused_projections:
            raise ConfigError(f"{kind} at {name} of backbone {backbone.name!r} cannot be read: {FUSED}")
    return kept


def read_attention(
    forward: Callable[[], Any], layers: Mapping[str, Attention], *, stop_early: bool = True
) -> dict[str, torch.Tensor]:
    """Run a forward pass and return the attention weights of some layers, softmax(q k^T scale).

    Gradients flow to the pass's inputs and parameters that require them, unless the caller disables them.

    Parameters
    ----------
    forward
        Function that runs the network once.
    layers
        Layers by name, from `attention_layers`.
    stop_early
        End the pass after the last of the layers.

    Returns
    -------
    dict of str to torch.Tensor
        By layer: (batch, head, query token, key token), at least float32, summing to 1 along the last axis.
    """
    projections = {f"{name}:{role}": getattr(layer, f"to_{role}") for name, layer in layers.items() for role in "qk"}
    outputs = read_taps(forward, projections, stop_early=stop_early)

    def heads(name: str, role: str) -> torch.Tensor:
        values = outputs[f"{name}:{role}"]
        values = values.to(torch.promote_types(values.dtype, torch.float32))
        # (batch, head, token, channel)
        return values.reshape(*values.shape[:2], layers[name].heads, -1).transpose(1, 2)

    return {name: (heads(name, "q") @ heads(name, "k").mT * layer.scale).softmax(-1) for name, layer in layers.items()}


def grid_of_tokens(tokens: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return the grid (y, x) of a layer's tokens in a network whose input has this size (y, x).

    Raises
    ------
    ConfigError
        When no halving of the size has this number of cells.
    """
    height, width = size
    while height * width > tokens and height * width > 1:
        height, width = -(-height // 2), -(-width // 2)  # networks round up
    if height * width != tokens:
        raise ConfigError(f"{tokens} tokens are not a grid of an input of {size[0]}x{size[1]} cells")
    return height, width


def as_maps(weights: Mapping[str, torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
    """Return the cross-attention map of each text token, averaged over heads and layers.

    Parameters
    ----------
    weights
        Cross-attention by layer, from `read_attention`: (batch, head, cell, text token).
    size
        Size (y, x) of the network's input, of which each layer's grid is a halving.

    Returns
    -------
    torch.Tensor
        (batch, text token, y, x) on the finest of the layers' grids, to which the others are resized bilinearly.
    """
    maps = []
    for layer in weights.values():
        grid = grid_of_tokens(layer.shape[2], size)
        maps.append(layer.mean(1).mT.reshape(len(layer), -1, *grid))
    finest = max((tuple(found.shape[-2:]) for found in maps), key=lambda grid: grid[0] * grid[1])
    resized = [functional.interpolate(found, finest, mode="bilinear", align_corners=False) for found in maps]
    return torch.stack(resized).mean(0)
