"""Plan the interpolation of one video: what the targets are, and the unit that is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ...store import INTERPOLATION, ArtifactSpec
from ...store.errors import ConfigError, FrameError
from ..attention_maps import attention_layers
from ..backbones.base import Backbone
from ..frames import FrameSource
from ..noising.keyed_noise import NOISE_SCHEME
from .operators import make_operator
from .settings import InterpolationSettings


@dataclass(frozen=True, kw_only=True)
class Indicator:
    """The targets, and the text by which the network knows them.

    Attributes
    ----------
    targets
        Names of the targets, in order.
    text_states
        (1, token, channel) of the network's conditioning; None for the network's own.
    tokens
        Positions of each target's tokens in the text states. If empty, self-attention alone is read, which does not
        depend on the targets.
    identity
        Description of the text as JSON values: all that determines the text states and the positions.
    """

    targets: tuple[str, ...] = ()
    text_states: torch.Tensor | None = field(default=None, compare=False)
    tokens: tuple[tuple[int, ...], ...] = ()
    identity: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class InterpolationPlan:
    """Plan of the interpolation of one video.

    Attributes
    ----------
    spec
        The unit.
    settings
        The settings.
    indicator
        The targets.
    frame_size
        (height, width) in pixels to which frames are resized.
    grid
        (y, x) of the finest layer whose attention is read.
    top_timestep
        The network's timestep at step T.
    frame_names
        Names of the frames.
    """

    spec: ArtifactSpec
    settings: InterpolationSettings
    indicator: Indicator
    frame_size: tuple[int, int]
    grid: tuple[int, int]
    top_timestep: int
    frame_names: tuple[str, ...]


def plan_interpolation(
    backbone: Backbone,
    source: FrameSource,
    *,
    dataset: str,
    video: str,
    settings: InterpolationSettings,
    indicator: Indicator,
) -> InterpolationPlan:
    """Plan the interpolation of a video.

    Parameters
    ----------
    backbone
        An image backbone with self-attention of diffusers.
    source
        The video's frames.
    dataset, video
        Names in the cache.
    settings, indicator
        The settings, and the targets.

    Raises
    ------
    ConfigError
        For a video backbone, one without noise or attention, and settings that it does not take.
    FrameError
        For a video without frames.
    """
    if backbone.clip_length > 1 or not backbone.takes_noise:
        raise ConfigError(f"backbone {backbone.name!r} cannot interpolate: take a diffusion network of single frames")
    if not len(source):
        raise FrameError(f"{dataset}/{video} has no frames")
    top = len(backbone.schedule) - 1 if settings.top_timestep is None else settings.top_timestep
    if not 0 <= top < len(backbone.schedule):
        raise ConfigError(f"timestep {top} is none of the model's: it takes 0 to {len(backbone.schedule) - 1}")
    make_operator(settings.operator, settings.roll_steps, backbone.schedule, backbone.prediction, top)
    own = attention_layers(backbone, cross=False, within=settings.layers)
    cross = attention_layers(backbone, cross=True, within=settings.layers) if indicator.tokens else {}
    size = backbone.processed_size(source.size, settings.frame_size)
    stride = min(backbone.attention_taps[f"{layer}:q"].stride for layer in own)
    grid = (-(-size[0] // stride), -(-size[1] // stride))  # networks round up
    cells, targets = grid[0] * grid[1], list(indicator.targets) if cross else []
    spec = ArtifactSpec(
        kind=INTERPOLATION.name,
        dataset=dataset,
        video=video,
        request={
            "frames": source.digest(),
            "backbone": backbone.name,
            "weights": backbone.weights_id,
            "frame_size": list(size),
            "conditioning": {**backbone.conditioning, **indicator.identity},
            "compute_dtype": str(backbone.dtype).removeprefix("torch."),
            "noise": NOISE_SCHEME,
            **settings.to_json(),
            "top_timestep": top,
            "layers": {"self": list(own), "cross": list(cross)},
            "grid": list(grid),
            "cross": bool(cross),
            "targets": targets,
        },
        sizes={
            "frame": len(source),
            "cell": cells,
            "slot": min(settings.slots, cells),
            "target": max(1, len(targets)),
            "step": max(1, settings.pair_steps),
            "roll": settings.roll_steps,
        },
    )
    return InterpolationPlan(
        spec=spec,
        settings=settings,
        indicator=indicator,
        frame_size=size,
        grid=grid,
        top_timestep=top,
        frame_names=tuple(source.names),
    )
