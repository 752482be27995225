"""Base class of the latent diffusion UNets."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from ...store.errors import ConfigError
from ..encoders import FrameEncoder
from ..noising.schedules import NoiseSchedule
from ..taps import Tap
from .attention import attention_taps
from .base import Backbone, Condition


@dataclass(kw_only=True)
class LatentBackbone(Backbone):
    """A diffusers UNet on a VAE's latents."""

    frame_encoder: FrameEncoder  # the VAE, or its placeholder
    schedule: NoiseSchedule  # the forward process of the model's training

    @property
    def taps(self) -> dict[str, Tap]:
        """``down_blocks[i]``, ``mid_block`` if there is one, and ``up_blocks[i]``, in the order of the forward pass."""
        return {name: Tap(module=block, stride=after) for name, block, _, after in self._blocks()}

    @property
    def attention_taps(self) -> dict[str, Tap]:
        """Queries and keys of spatial and temporal self-attention, in the order of the blocks; see `attention_taps`."""
        base = self.frame_encoder.stride
        strides = {name: stride for name, _, stride, _ in self._blocks()}
        return {
            tap: found
            for name, block in self.attention_blocks.items()
            for tap, found in attention_taps(
                block, name, stride=strides.get(name, base), shrink=strides.get(name, base) // base
            ).items()
        }

    @property
    def attention_blocks(self) -> dict[str, nn.Module]:
        """``transformer_in`` if the network has it, and the blocks; see `Backbone.attention_blocks`."""
        first = getattr(self.network, "transformer_in", None)
        before = {"transformer_in": first} if isinstance(first, nn.Module) else {}
        return before | {name: block for name, block, _, _ in self._blocks()}

    def _blocks(self) -> Iterator[tuple[str, nn.Module, int, int]]:
        """Yield each block's name, module, and pixels per cell before and after its resampling."""
        stride = self.frame_encoder.stride
        for i, block in enumerate(self.network.get_submodule("down_blocks").children()):
            after = stride * (2 if _resamples(block, "downsamplers") else 1)
            yield f"down_blocks[{i}]", block, stride, after
            stride = after
        if self.network.mid_block is not None:
            yield "mid_block", self.network.get_submodule("mid_block"), stride, stride
        for i, block in enumerate(self.network.get_submodule("up_blocks").children()):
            after = stride // (2 if _resamples(block, "upsamplers") else 1)
            yield f"up_blocks[{i}]", block, stride, after
            stride = after

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode frames to latents, multiplied by the VAE's scaling factor; see `Backbone.encode`."""
        return self.frame_encoder.mode(pixels) * self.frame_encoder.scaling_factor


@dataclass(kw_only=True)
class TextBackbone(LatentBackbone):
    """A latent backbone with cross-attention to text."""

    text_states: torch.Tensor  # text states of the prompt, the same for all frames: (1, token, channel)

    @property
    def null_states(self) -> torch.Tensor:
        """Text states of the empty prompt, (1, token, channel); the text encoder is loaded for them if needed."""
        if not self.conditioning.get("prompt") or self.text is None:
            return self.text_states
        return self.text.encode("")

    def text_states_of(self, condition: Condition, clips: int, copies: int = 1) -> torch.Tensor:
        """Return the text states of each clip, repeated `copies` times: (clip * copies, token, channel).

        They are the conditioning's ``text_states`` if it has any (one row for each clip, or one for all), otherwise
        those of the prompt.
        """
        states = condition.get("text_states", self.text_states)
        if len(states) == 1:
            return states.expand(clips * copies, -1, -1)
        return states.repeat_interleave(copies, dim=0)


def with_tokens(states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Replace text states by tokens: object i has the position 1 + i.

    Parameters
    ----------
    states
        Text states of the empty prompt, (1, token, channel).
    tokens
        (object, channel), of any type and device.

    Raises
    ------
    ConfigError
        When the tokens have another number of channels, or are too many.
    """
    count, width = tokens.shape
    if width != states.shape[2]:
        raise ConfigError(f"the tokens have {width} channels, but the network takes {states.shape[2]}")
    if count > states.shape[1] - 1:
        raise ConfigError(f"a prompt of {states.shape[1]} text states has no room for the tokens of {count} objects")
    return torch.cat([states[:, :1], tokens.to(states)[None], states[:, 1 + count :]], dim=1)


def _resamples(block: nn.Module, layers: str) -> bool:
    return getattr(block, layers, None) is not None
