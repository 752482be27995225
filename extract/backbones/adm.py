"""ADM: the pixel-space UNet of guided-diffusion, an image backbone (Dhariwal and Nichol, arXiv 2105.05233)."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...store.errors import WeightsError
from ..model_folder import quiet_libraries
from ..random_weights import draw_parameters
from ..taps import Tap
from ..weights import digest_files, random_id
from . import backbone_info
from .adm_checkpoint import block_names, convert, read_checkpoint
from .adm_config import PUBLISHED, AdmConfig, build_schedule, build_unet, read_config
from .attention import attention_taps
from .base import Backbone, Condition, Timestep


@dataclass(kw_only=True)
class AdmBackbone(Backbone):
    """ADM, which sees one frame at a time, in pixels and without conditioning."""

    config: AdmConfig  # the architecture

    @property
    def taps(self) -> dict[str, Tap]:
        """The taps in the order of the forward pass.

        ``down_blocks[i]``, ``mid_block`` and ``up_blocks[i]`` are diffusers' blocks. ``output_blocks[i]`` are those of
        guided-diffusion, whose numbers DIFT and TED use: a residual block, the level's attention if any, and the
        up-sampling block at the end of a level.
        """
        levels = len(self.config.channel_mult)
        coarsest = self.config.frame_multiple

        def tap(module: str, stride: int) -> Tap:
            return Tap(module=self.network.get_submodule(module), stride=stride)

        taps = {f"down_blocks[{i}]": tap(f"down_blocks.{i}", min(2 << i, coarsest)) for i in range(levels)}
        taps["mid_block"] = tap("mid_block", coarsest)
        per_level = self.config.num_res_blocks + 1
        last_member: dict[int, str] = {}  # the block whose output is that of output_blocks[i]
        for original, ours in block_names(self.config).items():
            kind, entry, *_ = original.split(".")
            if kind == "output_blocks":
                last_member[int(entry)] = ours
        for i, name in last_member.items():
            up, ends_level = i // per_level, (i + 1) % per_level == 0
            stride = max(coarsest >> (up + ends_level), 1)
            taps[f"output_blocks[{i}]"] = tap(name, stride)
            if ends_level:
                taps[f"up_blocks[{up}]"] = tap(f"up_blocks.{up}", stride)
        return taps

    @property
    def attention_taps(self) -> dict[str, Tap]:
        """Queries and keys of the attention of diffusers' blocks, such as ``up_blocks[1].attentions[0]:q``."""
        levels = len(self.config.channel_mult)
        down = [1 << i for i in range(levels)]
        strides = [*down, self.config.frame_multiple, *reversed(down)]
        return {
            tap: found
            for (name, block), stride in zip(self.attention_blocks.items(), strides, strict=True)
            for tap, found in attention_taps(block, name, stride=stride, shrink=stride).items()
        }

    @property
    def attention_blocks(self) -> dict[str, nn.Module]:
        """The blocks of diffusers; see `Backbone.attention_blocks`."""
        levels = range(len(self.config.channel_mult))
        names = [*(f"down_blocks[{i}]" for i in levels), "mid_block", *(f"up_blocks[{i}]" for i in levels)]
        return {name: self.network.get_submodule(name.replace("[", ".").rstrip("]")) for name in names}

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the frames themselves, (frame, 3, height, width) in [-1, 1], float32, on `device`."""
        return pixels.to(self.device, torch.float32)

    def network_arguments(self, noisy: torch.Tensor, timestep: Timestep, condition: Condition) -> dict[str, Any]:
        """Return the frames of all clips as one batch, and their timestep."""
        return {
            "sample": noisy.flatten(0, 1).to(self.device, self.dtype),
            "timestep": self.on_device(timestep),
            "return_dict": False,
        }


def load(weights: Path | None, *, device: torch.device, dtype: torch.dtype, seed: int | None = None) -> AdmBackbone:
    """Load a guided-diffusion checkpoint (a `.pt` file, or a folder with one); with a seed, draw random weights.

    A `config.json` beside the file describes its architecture (see `AdmConfig`); without it, the architecture is that
    of the published unconditional 256x256 model. With a seed, only `config.json` is read, and None means the published
    architecture. The checkpoint may have another precision than `dtype`. Raises WeightsError when the weights are
    absent, damaged, of another architecture, or hold anything but tensors.
    """
    if seed is None:
        unet, config, identity = _trained(weights, device, dtype)
    else:
        unet, config, identity = _random(weights, seed, device, dtype)
    return AdmBackbone(
        name="adm",
        network=unet.eval().requires_grad_(False),
        device=device,
        dtype=dtype,
        weights_id=identity,
        frame_multiple=config.frame_multiple,
        config=config,
        schedule=build_schedule(config),
    )


def _trained(weights: Path | None, device: torch.device, dtype: torch.dtype) -> tuple[nn.Module, AdmConfig, str]:
    file = _find_checkpoint(weights)
    config = _config_beside(file.parent)
    with torch.device("meta"):
        unet = build_unet(config)
    state = convert(file, read_checkpoint(file), config, unet.state_dict(), device=device, dtype=dtype)
    unet.load_state_dict(state, strict=True, assign=True)
    return unet, config, _identity(digest_files({"checkpoint": file}), config)


def _random(
    weights: Path | None, seed: int, device: torch.device, dtype: torch.dtype
) -> tuple[nn.Module, AdmConfig, str]:
    config = PUBLISHED if weights is None else _config_beside(weights if weights.is_dir() else weights.parent)
    with torch.random.fork_rng(devices=[]):  # diffusers draws initial weights
        unet = build_unet(config)
    draw_parameters(unet, torch.Generator().manual_seed(seed))
    with quiet_libraries():
        unet.to(device=device, dtype=dtype)
    return unet, config, random_id(seed, _identity("random", config))


def _config_beside(folder: Path) -> AdmConfig:
    description = folder / "config.json"
    return read_config(description) if description.exists() else PUBLISHED


def _find_checkpoint(weights: Path | None) -> Path:
    if weights is not None and weights.is_file():
        return weights
    if weights is None or not weights.is_dir():
        raise backbone_info("adm").error(f"{weights}: no such file or folder of ADM weights")
    found = sorted(path for path in weights.glob("*.pt") if path.is_file())
    if not found:
        raise backbone_info("adm").error(f"{weights}: no .pt file in this folder of ADM weights")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise WeightsError(f"{weights}: more than one .pt file ({names}); give the path of one of them")
    return found[0]


def _identity(checkpoint: str, config: AdmConfig) -> str:
    """Return a hash of the checkpoint and its architecture, without the name of the file."""
    return f"sha256:{hashlib.sha256(f'{checkpoint} {config.identity}'.encode()).hexdigest()}"
