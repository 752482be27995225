"""Settings of an extraction, and options of backbones."""

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..store.errors import ConfigError
from .clips import OverlapRule
from .frame_size import FrameSize

if TYPE_CHECKING:  # imports torch, which the registry of backbones does not need
    from .noising.base import Noising

#: Frame on which a video backbone is conditioned.
ConditionOn = Literal["clip", "video", "none"]

#: Its name in a unit's request.
CONDITIONING_FRAMES: dict[ConditionOn, str] = {
    "clip": "first frame of the clip",
    "video": "first frame of the video",
    "none": "none",
}


@dataclass(frozen=True, kw_only=True)
class ExtractionSettings:
    """Settings of an extraction.

    Attributes
    ----------
    frame_size
        Size to which frames are resized; None for a short side of 480 pixels (DIFT, TED), or the largest smaller size
        that the backbone takes (see `processed_size`).
    overlap
        Number of frames that neighbouring clips of a video backbone share; image backbones ignore it.
    overlap_rule
        Feature of a frame that several clips cover: ``"first"`` (of the first clip, as in TED) or ``"mean"``.
    noising
        Rule that turns clean clips into noisy inputs; None for random draws. Backbones without noise ignore it.
    ensemble
        Number of noise draws whose features are averaged, at least 1.
    seed
        Seed of the noise.
    batch_size
        Number of clips (image backbones: frames) in one forward pass; None for the backbone's default. Batches have
        fixed boundaries and the last one is padded, because the last bits of a network's output depend on the batch's
        shape.
    """

    frame_size: FrameSize | None = None
    overlap: int = 2
    overlap_rule: OverlapRule = "first"
    noising: "Noising | None" = None
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


@dataclass(frozen=True, kw_only=True)
class BackboneOptions:
    """Options of backbones; each backbone takes some of them (`BackboneInfo.options`).

    None means the default of the model's published pipeline; it gives the same request as the explicit value.

    Attributes
    ----------
    prompt
        Text prompt.
    condition_on
        Frame on which a video backbone is conditioned: the first frame of the ``"clip"`` or of the ``"video"``, or
        ``"none"`` for image latents and image embeddings of zeros.
    fps
        Frames per second, an input of the network; at least 1.
    motion_bucket
        SVD's motion input, at least 0.
    noise_augmentation
        Standard deviation of SVD's noise on the conditioning frame's pixels in [-1, 1], at least 0.
    tokens
        True conditions on the tokens that were learned for the video (see `token_learning`), without a prompt.
    temporal
        False removes the temporal layers (see `backbones.temporal_layers`).
    """

    prompt: str | None = None
    tokens: bool = False
    condition_on: ConditionOn | None = None
    fps: int | None = None
    motion_bucket: int | None = None
    noise_augmentation: float | None = None
    temporal: bool = True

    def __post_init__(self) -> None:
        if self.condition_on is not None and self.condition_on not in get_args(ConditionOn):
            choices = ", ".join(get_args(ConditionOn))
            raise ConfigError(f"a clip can be conditioned on {choices}, not on {self.condition_on!r}")
        if self.tokens and self.prompt:
            raise ConfigError("learned tokens take the place of the prompt's text: leave one of them out")
        if self.fps is not None and self.fps < 1:
            raise ConfigError(f"fps must be at least 1, not {self.fps}")
        if self.motion_bucket is not None and self.motion_bucket < 0:
            raise ConfigError(f"the motion bucket must be at least 0, not {self.motion_bucket}")
        augmentation = self.noise_augmentation
        if augmentation is not None and not (augmentation >= 0 and math.isfinite(augmentation)):
            raise ConfigError(f"noise augmentation must be at least 0, not {augmentation}")

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the options whose values differ from the defaults."""
        return tuple(item.name for item in dataclasses.fields(self) if getattr(self, item.name) != item.default)

    @property
    def request(self) -> dict[str, Any]:
        """Entry of a request's conditioning if temporal layers are removed; empty by default."""
        return {} if self.temporal else {"temporal_layers": "off"}


#: The options of the models' published pipelines.
DEFAULT_OPTIONS = BackboneOptions()
