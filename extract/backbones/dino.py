"""DINOv2 and DINOv3 (arXiv 2304.07193, 2508.10104): image backbones without noise."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Dinov2Model, DINOv3ViTModel

from ...store.errors import WeightsError
from ..encoders import colour_statistics
from ..model_folder import ModelFolder
from ..taps import Tap
from .base import Backbone, Condition, Timestep


@dataclass(kw_only=True)
class Dino(Backbone):
    """A vision transformer, one frame at a time, without noise."""

    mean: torch.Tensor  # mean and standard deviation of the training's colours in [0, 1]: (3, 1, 1), on `device`
    std: torch.Tensor

    @property
    def taps(self) -> dict[str, Tap]:
        """``layers[i]``, the output of each block, and ``last_hidden_state``, the last output after the final norm."""
        blocks = next(
            module
            for name, module in self.network.named_modules()
            if isinstance(module, nn.ModuleList) and name.split(".")[-1] == "layer"
        )
        final = self.network.get_submodule("layernorm" if hasattr(self.network, "layernorm") else "norm")
        modules = {f"layers[{i}]": block for i, block in enumerate(blocks)} | {"last_hidden_state": final}
        stride = self.frame_multiple
        return {name: Tap(module=module, stride=stride, to_map=self._patches) for name, module in modules.items()}

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalise the frames' colours with `mean` and `std`; see `Backbone.encode`."""
        return ((pixels.to(self.device, torch.float32) + 1) / 2 - self.mean) / self.std

    def network_arguments(self, noisy: torch.Tensor, timestep: Timestep, condition: Condition) -> dict[str, Any]:
        """Return the frames of all clips as one batch."""
        return {"pixel_values": noisy.flatten(0, 1).to(self.device, self.dtype)}

    def _patches(self, output: torch.Tensor, noisy: torch.Tensor) -> torch.Tensor:
        """Drop the class and register tokens, which come first; return the patches as maps (frame, channel, y, x)."""
        rows, columns = (side // self.frame_multiple for side in noisy.shape[-2:])
        patches = output[:, -rows * columns :]
        return patches.transpose(1, 2).reshape(len(output), -1, rows, columns)


def load_dinov2(weights: Path, *, device: torch.device, dtype: torch.dtype, seed: int | None = None) -> Dino:
    """Load DINOv2 from a folder of the transformers library, or with random weights from a seed."""
    return _load("dinov2", Dinov2Model, weights, seed, device, dtype)


def load_dinov3(weights: Path, *, device: torch.device, dtype: torch.dtype, seed: int | None = None) -> Dino:
    """Load a DINOv3 vision transformer; see `load_dinov2`."""
    return _load("dinov3", DINOv3ViTModel, weights, seed, device, dtype)


def _load(name: str, cls: Any, weights: Path, seed: int | None, device: torch.device, dtype: torch.dtype) -> Dino:
    folder = ModelFolder(weights, backbone=name, seed=seed)
    kind, needed = folder.config("").get("model_type"), cls.config_class.model_type
    if kind != needed:
        raise WeightsError(f"{weights} holds a model of type {kind}; backbone {name!r} needs one of type {needed}")
    model = folder.network("", cls, device=device, dtype=dtype)
    # Eager attention is deterministic on every device.
    model.set_attn_implementation("sdpa")
    mean, std = colour_statistics(folder.config("", "preprocessor_config.json"))
    return Dino(
        name=name,
        network=model,
        device=device,
        dtype=dtype,
        weights_id=folder.weights_id(),
        frame_multiple=model.config.patch_size,
        mean=mean.to(device),
        std=std.to(device),
    )
