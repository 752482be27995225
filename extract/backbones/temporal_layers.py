"""Remove the temporal layers of a video UNet, which then processes every frame separately (TED's ablation)."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.resnet import SpatioTemporalResBlock, TemporalConvLayer
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel, TransformerTemporalModel
from diffusers.models.unets.unet_i2vgen_xl import I2VGenXLTransformerTemporalEncoder
from torch import nn


class _Identity(nn.Module):
    """Return the first argument."""

    def forward(self, hidden_states: torch.Tensor, *_args: Any, **_kwargs: Any) -> torch.Tensor:
        return hidden_states


class _IdentityInTuple(nn.Module):
    """Return the first argument in a tuple."""

    def forward(self, hidden_states: torch.Tensor, *_args: Any, **_kwargs: Any) -> tuple[torch.Tensor]:
        return (hidden_states,)


class _SpatialBranch(nn.Module):
    """Return the spatial branch, unblended."""

    def forward(self, x_spatial: torch.Tensor, **_kwargs: Any) -> torch.Tensor:
        return x_spatial


#: I2VGen-XL's temporal layers. Each has its own skip connection, so the identity replaces it.
_REPLACED: dict[type[nn.Module], Callable[[], nn.Module]] = {
    TemporalConvLayer: _Identity,
    TransformerTemporalModel: _IdentityInTuple,
    I2VGenXLTransformerTemporalEncoder: _Identity,
}


def skip_temporal_layers(unet: nn.Module) -> None:
    """Replace the temporal layers of an `I2VGenXLUNet` or `UNetSpatioTemporalConditionModel` by identities, in place.

    I2VGen-XL: ``transformer_in``, the temporal transformers and temporal convolutions, and the encoder that mixes the
    image latents along the frames. Stable Video Diffusion: the temporal branch of each residual block and transformer.
    Spatial layers and conditioning do not change.
    """
    for module in list(unet.modules()):
        for name, child in module.named_children():
            replacement = _REPLACED.get(type(child))
            if replacement is not None:
                setattr(module, name, replacement())
        if isinstance(module, SpatioTemporalResBlock):
            module.temporal_res_block = _Identity()
            module.time_mixer = _SpatialBranch()
        elif isinstance(module, TransformerSpatioTemporalModel):
            blocks = module.temporal_transformer_blocks
            module.temporal_transformer_blocks = nn.ModuleList(_Identity() for _ in blocks)
            module.time_mixer = _SpatialBranch()
