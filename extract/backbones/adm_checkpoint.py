"""Read guided-diffusion checkpoints safely, and convert them to the diffusers UNet."""

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ...store.errors import WeightsError
from .adm_config import AdmConfig

_RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_ATTENTION = {"norm": "group_norm", "proj_out": "to_out.0"}
_OUTSIDE = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}

#: Maximum number of differences that an error lists.
_LISTED = 4


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A checkpoint's tensor, and the names of the UNet's parameters that it contains (three for q, k and v)."""

    name: str
    shape: tuple[int, ...]
    targets: tuple[str, ...]


def block_names(config: AdmConfig) -> dict[str, str]:
    """Return the diffusers names of all residual and attention blocks, by their guided-diffusion names.

    guided-diffusion numbers its layers consecutively (`input_blocks.0` is the first convolution). An entry is a
    residual block with its attention and, on the way up, the up-sampling block at the end of a level; a down-sampling
    block has an entry of its own. Both libraries list blocks in the order of the forward pass.
    """
    names: dict[str, str] = {}
    levels = len(config.channel_mult)
    entry = 1
    for level in range(levels):
        for layer in range(config.num_res_blocks):
            names[f"input_blocks.{entry}.0"] = f"down_blocks.{level}.resnets.{layer}"
            if config.attention[level]:
                names[f"input_blocks.{entry}.1"] = f"down_blocks.{level}.attentions.{layer}"
            entry += 1
        if level < levels - 1:
            names[f"input_blocks.{entry}.0"] = f"down_blocks.{level}.downsamplers.0"
            entry += 1
    names["middle_block.0"] = "mid_block.resnets.0"
    names["middle_block.1"] = "mid_block.attentions.0"
    names["middle_block.2"] = "mid_block.resnets.1"
    entry = 0
    for up in range(levels):
        for layer in range(config.num_res_blocks + 1):
            members = [f"up_blocks.{up}.resnets.{layer}"]
            if config.attention[levels - 1 - up]:
                members.append(f"up_blocks.{up}.attentions.{layer}")
            if layer == config.num_res_blocks and up < levels - 1:
                members.append(f"up_blocks.{up}.upsamplers.0")
            names.update({f"output_blocks.{entry}.{i}": member for i, member in enumerate(members)})
            entry += 1
    return names


def checkpoint_shapes(config: AdmConfig, parameters: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all tensors of a guided-diffusion checkpoint, by name.

    `parameters` is the diffusers UNet's state dict; only names and shapes are used, so it may be on the meta device.
    """
    return {source.name: source.shape for source in _sources(config, parameters)}


def convert(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    config: AdmConfig,
    parameters: Mapping[str, torch.Tensor],
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> dict[str, torch.Tensor]:
    """Turn a checkpoint's tensors into a state dict of the diffusers UNet (see `checkpoint_shapes`).

    The result shares no memory with `tensors`; `path` is for messages. Raises WeightsError unless the checkpoint holds
    exactly the tensors of this architecture, of any floating-point type and in the right shapes.
    """
    sources = list(_sources(config, parameters))
    expected = {source.name: source.shape for source in sources}
    problems = [f"lacks {name}" for name in expected if name not in tensors]
    problems += [f"has {name}, which this architecture does not" for name in tensors if name not in expected]
    for name in expected.keys() & tensors.keys():
        tensor, shape = tensors[name], expected[name]
        if tuple(tensor.shape) != shape:
            problems.append(f"{name} has the shape {tuple(tensor.shape)}, not {shape}")
        elif not tensor.is_floating_point():
            problems.append(f"{name} is of type {tensor.dtype}, not floating point")
    if problems:
        more = f"; and {len(problems) - _LISTED} more differences" if len(problems) > _LISTED else ""
        raise WeightsError(
            f"{path}: not a checkpoint of the expected guided-diffusion UNet: {'; '.join(problems[:_LISTED])}{more}. "
            "Expected is the published 256x256 unconditional model, or what a config.json beside the file describes"
        )
    state: dict[str, torch.Tensor] = {}
    for source in sources:
        parts = _split(tensors[source.name], len(source.targets), config.num_head_channels)
        for target, part in zip(source.targets, parts, strict=True):
            state[target] = part.reshape(parameters[target].shape).to(device=device, dtype=dtype, copy=True)
    return state


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """Read named tensors from a file of `torch.save`, without running code in the file.

    The tensors are on the CPU, memory-mapped if the format allows: use them before the file changes. Raises
    WeightsError for a file that is unreadable, damaged, of another format, or holds anything but named tensors.
    """
    try:
        with path.open("rb") as file:
            is_archive = file.read(4) == b"PK\x03\x04"  # format since torch 1.6, the only one that can be mapped
        # With weights_only, the unpickler accepts only tensors and plain containers.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except OSError as error:
        raise WeightsError(f"{path}: cannot read the checkpoint: {error}") from error
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):  # torch's message about a name that the pickle would import
            raise WeightsError(
                f"{path}: refused, because it holds more than tensors and reading it could run code; "
                "take the file from https://github.com/openai/guided-diffusion"
            ) from error
        raise _not_a_checkpoint(path) from error
    except Exception as error:  # a damaged file can raise any error
        raise _not_a_checkpoint(path) from error
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{path}: not a checkpoint of named tensors, but {type(content).__name__}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise WeightsError(f"{path}: not a checkpoint of named tensors: {name!r} is {type(value).__name__}")
    return dict(content)


def _not_a_checkpoint(path: Path) -> WeightsError:
    return WeightsError(f"{path}: not a PyTorch checkpoint, or cut short or damaged; download it again")


def _sources(config: AdmConfig, parameters: Mapping[str, torch.Tensor]) -> Iterator[_Source]:
    """Yield a checkpoint's tensors, in the order of the blocks."""
    for original, ours in _OUTSIDE.items():
        yield from _plain(original, ours, parameters)
    for original, ours in block_names(config).items():
        is_attention = ".attentions." in ours
        for their_leaf, our_leaf in (_ATTENTION if is_attention else _RESIDUAL).items():
            # A block that keeps its width has no convolution on its skip connection.
            if f"{ours}.{our_leaf}.weight" in parameters:
                yield from _plain(f"{original}.{their_leaf}", f"{ours}.{our_leaf}", parameters)
        if is_attention:
            for kind in ("weight", "bias"):
                targets = tuple(f"{ours}.to_{part}.{kind}" for part in "qkv")
                channels, *rest = parameters[targets[0]].shape
                shape = (3 * channels, *rest, *([1] if kind == "weight" else []))
                yield _Source(name=f"{original}.qkv.{kind}", shape=shape, targets=targets)


def _plain(original: str, ours: str, parameters: Mapping[str, torch.Tensor]) -> Iterator[_Source]:
    for kind in ("weight", "bias"):
        target = f"{ours}.{kind}"
        shape = tuple(parameters[target].shape)
        if original.endswith(".proj_out") and kind == "weight":
            shape = (*shape, 1)  # guided-diffusion uses convolutions of kernel size 1 as linear layers in attention
        yield _Source(name=f"{original}.{kind}", shape=shape, targets=(target,))


def _split(tensor: torch.Tensor, parts: int, head_channels: int) -> list[torch.Tensor]:
    """Split a qkv projection, with rows in the order (head, part, channel of the head), into its parts q, k and v."""
    if parts == 1:
        return [tensor]
    by_head = tensor.reshape(-1, parts, head_channels, *tensor.shape[1:])  # (head, 3, head channel, ...)
    return [by_head[:, part].flatten(0, 1) for part in range(parts)]
