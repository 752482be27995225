"""Equivalent forms of layers that a CPU computes faster."""

import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from torch.nn import functional

__all__ = ["hasten"]


class _TemporalConv(nn.Conv3d):
    """A convolution along frames only, computed as a two-dimensional one over (frame, pixel)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        clips, channels, frames, height, width = x.shape
        flat = x.reshape(clips, channels, frames, height * width)
        y = functional.conv2d(flat, self.weight[..., 0], self.bias, padding=(1, 0))
        return y.reshape(clips, -1, frames, height, width)


def hasten(unet: nn.Module, device: torch.device, *, fused_attention: bool = False) -> None:
    """Disable dropout of a UNet, and replace two forms that are slow on CPUs; in place.

    oneDNN is slow with three-dimensional convolutions of size (3, 1, 1), and fused attention with many short sequences;
    long ones want `fused_attention`. On a GPU the library's own forms are the fastest.
    """
    for module in unet.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if device.type == "cpu" and isinstance(module, nn.Conv3d) and module.kernel_size == (3, 1, 1):
            module.__class__ = _TemporalConv
    if device.type == "cpu" and not fused_attention:
        unet.set_attn_processor(AttnProcessor())  # type: ignore[operator]
