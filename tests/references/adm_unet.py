"""The UNet of guided-diffusion, written plainly: straight from a checkpoint's tensors, by the original's names."""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

Tensors = Mapping[str, torch.Tensor]


def adm_forward(
    tensors: Tensors, config: Mapping[str, Any], x: torch.Tensor, t: int
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Run the network in float64; return its output, and the outputs of `output_blocks`."""
    tensors = {name: value.double() for name, value in tensors.items()}
    emb = _time(tensors, config["num_channels"], t).expand(x.shape[0], -1)
    x = F.conv2d(x.double(), tensors["input_blocks.0.0.weight"], tensors["input_blocks.0.0.bias"], padding=1)
    skips = [x]
    levels, layers = len(config["channel_mult"]), config["num_res_blocks"]
    entry = 1
    for level in range(levels):
        for i in range(layers + (level < levels - 1)):
            x = _entry(tensors, f"input_blocks.{entry}", x, emb, config, resize="down" if i == layers else None)
            skips.append(x)
            entry += 1
    x = _residual(tensors, "middle_block.0", x, emb)
    x = _attention(tensors, "middle_block.1", x, config["num_head_channels"])
    x = _residual(tensors, "middle_block.2", x, emb)
    outputs = []
    for entry in range(levels * (layers + 1)):
        x = torch.cat([x, skips.pop()], dim=1)
        ends_level = entry % (layers + 1) == layers and entry < levels * (layers + 1) - 1
        x = _entry(tensors, f"output_blocks.{entry}", x, emb, config, then_up=ends_level)
        outputs.append(x)
    assert not skips
    x = F.silu(_norm(tensors, "out.0", x))
    return F.conv2d(x, tensors["out.2.weight"], tensors["out.2.bias"], padding=1), outputs


def _time(tensors: Tensors, channels: int, t: int) -> torch.Tensor:
    half = channels // 2
    angles = [t * math.exp(-math.log(10000) * i / half) for i in range(half)]
    wave = torch.tensor([[math.cos(a) for a in angles] + [math.sin(a) for a in angles]], dtype=torch.float64)
    hidden = F.silu(F.linear(wave, tensors["time_embed.0.weight"], tensors["time_embed.0.bias"]))
    return F.linear(hidden, tensors["time_embed.2.weight"], tensors["time_embed.2.bias"])


def _entry(
    tensors: Tensors,
    name: str,
    x: torch.Tensor,
    emb: torch.Tensor,
    config: Mapping[str, Any],
    *,
    resize: str | None = None,
    then_up: bool = False,
) -> torch.Tensor:
    """A residual block, the attention that the checkpoint has for it, and perhaps an up-sampling block."""
    x = _residual(tensors, f"{name}.0", x, emb, resize=resize)
    member = 1
    if f"{name}.{member}.qkv.weight" in tensors:
        x = _attention(tensors, f"{name}.{member}", x, config["num_head_channels"])
        member += 1
    return _residual(tensors, f"{name}.{member}", x, emb, resize="up") if then_up else x


def _residual(
    tensors: Tensors, name: str, x: torch.Tensor, emb: torch.Tensor, resize: str | None = None
) -> torch.Tensor:
    h = _resize(F.silu(_norm(tensors, f"{name}.in_layers.0", x)), resize)
    x = _resize(x, resize)
    h = F.conv2d(h, tensors[f"{name}.in_layers.2.weight"], tensors[f"{name}.in_layers.2.bias"], padding=1)
    modulation = F.linear(F.silu(emb), tensors[f"{name}.emb_layers.1.weight"], tensors[f"{name}.emb_layers.1.bias"])
    scale, shift = modulation[:, :, None, None].chunk(2, dim=1)
    h = F.silu(_norm(tensors, f"{name}.out_layers.0", h) * (1 + scale) + shift)
    h = F.conv2d(h, tensors[f"{name}.out_layers.3.weight"], tensors[f"{name}.out_layers.3.bias"], padding=1)
    skip = f"{name}.skip_connection"
    return h + (F.conv2d(x, tensors[f"{skip}.weight"], tensors[f"{skip}.bias"]) if f"{skip}.weight" in tensors else x)


def _resize(x: torch.Tensor, resize: str | None) -> torch.Tensor:
    if resize == "up":
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return F.avg_pool2d(x, 2) if resize == "down" else x


def _attention(tensors: Tensors, name: str, x: torch.Tensor, head_channels: int) -> torch.Tensor:
    batch, channels, height, width = x.shape
    tokens = _norm(tensors, f"{name}.norm", x).reshape(batch, channels, -1)
    qkv = F.conv1d(tokens, tensors[f"{name}.qkv.weight"], tensors[f"{name}.qkv.bias"])
    heads = []
    for head in range(channels // head_channels):
        q, k, v = qkv[:, 3 * head_channels * head : 3 * head_channels * (head + 1)].split(head_channels, dim=1)
        weights = torch.softmax(q.transpose(1, 2) @ k / math.sqrt(head_channels), dim=-1)  # (batch, query, key)
        heads.append(v @ weights.transpose(1, 2))
    h = F.conv1d(torch.cat(heads, dim=1), tensors[f"{name}.proj_out.weight"], tensors[f"{name}.proj_out.bias"])
    return x + h.reshape(batch, channels, height, width)


def _norm(tensors: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.group_norm(x, 32, tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps=1e-5)
