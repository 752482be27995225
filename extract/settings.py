"""How features are extracted, apart from which."""

from dataclasses import dataclass
from typing import get_args

import torch

from ..store.errors import ConfigError
from .clips import OverlapRule
from .frame_size import FrameSize

__all__ = ["DTYPES", "ExtractionSettings"]

#: Precisions in which a UNet can run.
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


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
