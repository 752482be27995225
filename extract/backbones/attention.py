"""Attention layers of a diffusers UNet, and taps of their queries and keys, heads along the channels."""

import re
from collections.abc import Iterator
from functools import partial

import torch
from diffusers.models.attention_processor import Attention
from torch import nn

from ..taps import Tap

#: Parts of a module's path that mark attention along the frames.
_TEMPORAL = ("transformer_in", "temp_attentions", "temporal_transformer_blocks")


#: Why a layer whose projections are fused cannot be read: hooks on them never fire.
FUSED = "its layer has fused projections: load the model without fuse_qkv_projections()"


def attention_modules(block: nn.Module, name: str) -> Iterator[tuple[str, Attention]]:
    """Yield the name and module of each self- and cross-attention layer in a block, in the order of the forward pass.

    A layer has the name of its module in diffusers, after the block's `name`, without ``transformer_blocks[0]`` if
    there is only one: ``up_blocks[3].attentions[0].attn1``.
    """
    for path, module in block.named_modules():
        if not isinstance(module, Attention):
            continue
        parts = path.split(".")
        if "transformer_blocks" in parts:
            at = parts.index("transformer_blocks")
            if len(list(block.get_submodule(".".join(parts[: at + 1])).children())) == 1:
                del parts[at : at + 2]
        yield name + re.sub(r"\.(\d+)", r"[\1]", "".join(f".{part}" for part in parts)), module


def is_temporal(layer: str) -> bool:
    """Tell whether the layer of this name attends along the frames."""
    return any(part in layer for part in _TEMPORAL)


def attention_taps(block: nn.Module, name: str, *, stride: int, shrink: int) -> dict[str, Tap]:
    """Return the taps of all self-attention layers in a block.

    Parameters
    ----------
    block
        A block of the network.
    name
        The block's name, such as ``"up_blocks[3]"``.
    stride
        Pixels of a frame per token of the block's attention.
    shrink
        Cells of the network's input per token.

    Returns
    -------
    dict of str to Tap
        Three taps for each layer: ``LAYER:qk``, ``LAYER:q`` and ``LAYER:k`` (see `attention_modules`).
    """
    taps: dict[str, Tap] = {}
    for layer, module in attention_modules(block, name):
        if module.is_cross_attention:
            continue
        to_map = partial(_tokens_to_map, shrink=shrink, temporal=is_temporal(layer))
        for role in ("qk", "q", "k"):
            taps[f"{layer}:{role}"] = Tap(
                module=module.to_k if role == "k" else module.to_q,
                keys=module.to_k if role == "qk" else None,
                stride=stride,
                heads=module.heads,
                to_map=to_map,
                problem=FUSED if module.fused_projections else "",
            )
    return taps


def _tokens_to_map(output: torch.Tensor, noisy: torch.Tensor, *, shrink: int, temporal: bool) -> torch.Tensor:
    """Turn tokens into maps, (clip * frame, channel, y, x).

    Spatial attention has tokens (clip * frame, y * x, channel), temporal attention (clip * y * x, frame, channel).
    """
    clips, frames = noisy.shape[:2]
    grid = tuple(-(-side // shrink) for side in noisy.shape[-2:])
    if temporal:
        return output.reshape(clips, *grid, frames, -1).permute(0, 3, 4, 1, 2).reshape(clips * frames, -1, *grid)
    return output.reshape(len(output), *grid, -1).permute(0, 3, 1, 2)
