"""How features are extracted, apart from which."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ..store.errors import ConfigError
from .clips import OverlapRule
from .frame_size import FrameSize

__all__ = [
    "CONDITIONING_FRAMES",
    "DEFAULT_OPTIONS",
    "BackboneOptions",
    "ConditionOn",
    "ExtractionSettings",
]


@dataclass(frozen=True, kw_only=True)
class ExtractionSettings:
    """Settings of an extraction.

    Attributes
    ----------
    frame_size
        Size that frames are resized to; None for DIFT's and TED's short side of 480, or the nearest below that the
        backbone takes (see `processed_size`).
    overlap
        Frames that neighbouring clips of a video backbone share; image backbones have none.
    overlap_rule
        What becomes of a frame that several clips cover: ``"first"`` keeps the feature of the first of them (TED),
        ``"mean"`` averages all of theirs.
    ensemble
        Noise draws whose features are averaged, at least 1; backbones without noise have none.
    seed
        Seed of the noise.
    batch_size
        Clips (for an image backbone: frames) in one pass of the UNet; None for the backbone's default. Batches have
        fixed boundaries and the last is padded, for a UNet's last bits depend on the batch's shape.
    """

    frame_size: FrameSize | None = None
    overlap: int = 2
    overlap_rule: OverlapRule = "first"
    ensemble: int = 1
    seed: int = 0
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.ensemble < 1:
            raise ConfigError(f"ensemble must be at least 1 noise draw, not {self.ensemble}")
        if self.batch_size is not None and self.batch_size < 1:
            raise ConfigError(f"batch size must be at least 1, not {self.batch_size}")
        if self.overlap < 0:
            raise ConfigError(f"overlap must be at least 0 frames, not {self.overlap}")
        if self.overlap_rule not in get_args(OverlapRule):
            raise ConfigError(f"the overlap rule is {' or '.join(get_args(OverlapRule))}, not {self.overlap_rule!r}")


#: Which frame a video backbone is conditioned on.
ConditionOn = Literal["clip", "video", "none"]

#: How a unit's request names it.
CONDITIONING_FRAMES: dict[ConditionOn, str] = {
    "clip": "first frame of the clip",
    "video": "first frame of the video",
    "none": "none",
}


@dataclass(frozen=True, kw_only=True)
class BackboneOptions:
    """Options of backbones; each backbone takes some of them (`BackboneInfo.options`).

    None stands for what the backbone's published pipeline does, and gives the same request as that value written out.

    Attributes
    ----------
    prompt
        Text prompt.
    condition_on
        The frame that a video backbone is conditioned on: the first of the ``"clip"`` or of the ``"video"``, or
        ``"none"``: image latents and image embedding of zeros.
    fps
        Frames per second that the backbone is told, at least 1.
    motion_bucket
        SVD's measure of how much moves, at least 0.
    noise_augmentation
        SVD's noise on the conditioning frame's pixels (standard deviation, of values in [-1, 1]), at least 0.
    temporal
        False leaves out the layers through which the frames of a clip see each other (see `temporal`).
    """

    prompt: str | None = None
    condition_on: ConditionOn | None = None
    fps: int | None = None
    motion_bucket: int | None = None
    noise_augmentation: float | None = None
    temporal: bool = True

    def __post_init__(self) -> None:
        if self.condition_on is not None and self.condition_on not in get_args(ConditionOn):
            choices = ", ".join(get_args(ConditionOn))
            raise ConfigError(f"a clip can be conditioned on {choices}, not on {self.condition_on!r}")
        if self.fps is not None and self.fps < 1:
            raise ConfigError(f"fps must be at least 1, not {self.fps}")
        if self.motion_bucket is not None and self.motion_bucket < 0:
            raise ConfigError(f"the motion bucket must be at least 0, not {self.motion_bucket}")
        augmentation = self.noise_augmentation
        if augmentation is not None and not (augmentation >= 0 and math.isfinite(augmentation)):
            raise ConfigError(f"noise augmentation must be at least 0, not {augmentation}")

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the options that are not left at their default."""
        return tuple(item.name for item in dataclasses.fields(self) if getattr(self, item.name) != item.default)

    @property
    def request(self) -> dict[str, Any]:
        """What enters a request's conditioning only where an option is used: nothing by default."""
        return {} if self.temporal else {"temporal_layers": "off"}


#: What the backbones' published pipelines do.
DEFAULT_OPTIONS = BackboneOptions()
