"""Architecture of a guided-diffusion UNet: its original flags, and the equivalent diffusers model."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel

from ...store.errors import WeightsError
from ..noising.schedules import NoiseSchedule

#: Groups of every GroupNorm in guided-diffusion; widths are multiples of it.
_GROUPS = 32


@dataclass(frozen=True, kw_only=True)
class AdmConfig:
    """Flags of guided-diffusion's scripts, with their original names if they have one.

    The defaults are those of `256x256_diffusion_uncond.pt`.
    """

    #: Side of the training images in pixels; the UNet is convolutional and takes any multiple of `frame_multiple`.
    image_size: int = 256
    num_channels: int = 256  # width of the first level, a multiple of 32
    num_res_blocks: int = 2  # residual blocks per level on the way down (one more on the way up)
    #: Width of each level divided by `num_channels`, from the finest level to the coarsest.
    channel_mult: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    #: Strides of the levels with self-attention (guided-diffusion's UNet argument `attention_resolutions`).
    attention_downsample_factors: tuple[int, ...] = (8, 16, 32)
    num_head_channels: int = 64  # number of channels of an attention head
    learn_sigma: bool = True  # whether the UNet predicts variances too: 6 output channels instead of 3
    diffusion_steps: int = 1000  # number of timesteps in training
    use_scale_shift_norm: bool = True  # only these values are supported
    resblock_updown: bool = True
    class_cond: bool = False
    noise_schedule: str = "linear"
    use_new_attention_order: bool = False

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, from the finest to the coarsest."""
        return tuple(self.num_channels * mult for mult in self.channel_mult)

    @property
    def attention(self) -> tuple[bool, ...]:
        """Whether each level has self-attention, from the finest to the coarsest."""
        return tuple(2**level in self.attention_downsample_factors for level in range(len(self.channel_mult)))

    @property
    def frame_multiple(self) -> int:
        """Stride of the coarsest level in pixels; a frame's height and width must be multiples of it."""
        return 1 << (len(self.channel_mult) - 1)

    @property
    def identity(self) -> str:
        """Canonical text of the architecture and the noise schedule."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


#: Architecture of the published `256x256_diffusion_uncond.pt`.
PUBLISHED = AdmConfig()

_FIELDS = {field.name: field for field in dataclasses.fields(AdmConfig)}
_FIXED = ("use_scale_shift_norm", "resblock_updown", "class_cond", "noise_schedule", "use_new_attention_order")


def read_config(path: Path) -> AdmConfig:
    """Read the `config.json` beside a checkpoint.

    Raises WeightsError for text that is not JSON, an absent or unknown field, a value of the wrong type, or an
    unsupported architecture.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot read the architecture of the checkpoint beside it: {error}") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{path}: must hold a JSON object with the fields {', '.join(_FIELDS)}")
    absent, unknown = [name for name in _FIELDS if name not in values], [name for name in values if name not in _FIELDS]
    if absent or unknown:
        parts = [f"lacks {', '.join(absent)}"] * bool(absent) + [f"has unknown {', '.join(unknown)}"] * bool(unknown)
        raise WeightsError(f"{path}: {' and '.join(parts)}; the fields are {', '.join(_FIELDS)}")
    config = AdmConfig(**{name: _parse(path, name, value) for name, value in values.items()})
    _check_supported(path, config)
    return config


def _parse(path: Path, name: str, value: Any) -> Any:
    """Check a value against the type of the field's default."""
    default = _FIELDS[name].default
    if isinstance(default, tuple):
        if isinstance(value, list) and all(type(item) is int and item > 0 for item in value):
            return tuple(value)
        raise WeightsError(f"{path}: {name} must be a list of positive integers, not {value!r}")
    if type(value) is not type(default) or (type(value) is int and value < 1):
        kind = {bool: "true or false", int: "a positive integer", str: "a string"}[type(default)]
        raise WeightsError(f"{path}: {name} must be {kind}, not {value!r}")
    return value


def _check_supported(path: Path, config: AdmConfig) -> None:
    for name in _FIXED:
        value, supported = getattr(config, name), _FIELDS[name].default
        if value != supported:
            raise WeightsError(f"{path}: {name} = {json.dumps(value)} is not supported, only {json.dumps(supported)}")
    strides = [2**level for level in range(len(config.channel_mult))]
    if not strides:
        raise WeightsError(f"{path}: channel_mult is empty")
    if not set(config.attention_downsample_factors) <= set(strides):
        raise WeightsError(f"{path}: attention_downsample_factors must be among the levels' strides {strides}")
    if config.diffusion_steps <= 20:
        raise WeightsError(f"{path}: diffusion_steps must be more than 20, or a beta reaches 1")
    if config.num_channels % _GROUPS:
        raise WeightsError(f"{path}: num_channels must be a multiple of {_GROUPS}, not {config.num_channels}")
    # The middle block, which has the width of the coarsest level, always has attention.
    attended = [width for width, attention in zip(config.widths, config.attention, strict=True) if attention]
    for width in [*attended, config.widths[-1]]:
        if width % config.num_head_channels:
            raise WeightsError(
                f"{path}: num_head_channels = {config.num_head_channels} does not divide the width {width} of a level"
            )


def build_unet(config: AdmConfig) -> UNet2DModel:
    """Build the equivalent diffusers UNet on torch's default device, with diffusers' initial weights."""
    attention = config.attention
    return UNet2DModel(
        in_channels=3,
        out_channels=6 if config.learn_sigma else 3,
        block_out_channels=config.widths,
        layers_per_block=config.num_res_blocks,
        down_block_types=tuple("AttnDownBlock2D" if it else "ResnetDownsampleBlock2D" for it in attention),
        up_block_types=tuple("AttnUpBlock2D" if it else "ResnetUpsampleBlock2D" for it in reversed(attention)),
        downsample_type="resnet",
        upsample_type="resnet",
        attention_head_dim=config.num_head_channels,
        norm_num_groups=_GROUPS,
        # Otherwise the middle block's attention would have no normalisation with "scale_shift".
        attn_norm_num_groups=_GROUPS,
        norm_eps=1e-5,
        resnet_time_scale_shift="scale_shift",
        time_embedding_type="positional",
        flip_sin_to_cos=True,
        freq_shift=0,
    )


def build_schedule(config: AdmConfig) -> NoiseSchedule:
    """Build the linear noise schedule: betas from 1e-4 to 0.02 at 1000 steps, scaled by 1000 / steps at others.

    Computed in double precision, like guided-diffusion: at small timesteps abar is nearly 1, and 1 - abar would lose
    half of float32's digits.
    """
    scale = 1000 / config.diffusion_steps
    betas = torch.linspace(scale * 1e-4, scale * 0.02, config.diffusion_steps, dtype=torch.float64)
    return NoiseSchedule(alphas_cumprod=torch.cumprod(1 - betas, dim=0))
