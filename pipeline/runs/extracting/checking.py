"""Checks and estimates of an extraction before anything is loaded: no torch, no weights."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ....extract.backbones import backbone_info, check_weights
from ....extract.frame_size import FrameSize
from ....store import FeatureCodec
from ....store.errors import ConfigError, WeightsError
from ...choices.features import BackboneJob
from .request import Share


def check_jobs(jobs: Sequence[BackboneJob], frame_size: FrameSize | None, weights: Mapping[str, str]) -> None:
    """Raise ConfigError for a timestep, tap or frame size that a published network does not take.

    Weights in a folder with a ``config.json`` may be of another architecture: they are checked when they are loaded.
    """
    for job in jobs:
        outline = backbone_info(job.backbone).outline
        own = weights.get(job.backbone)
        if outline is None or (own is not None and (Path(own).expanduser() / "config.json").is_file()):
            continue
        problem = outline.problem(job.timesteps, job.taps)
        if problem:
            raise ConfigError(f"backbone {job.backbone!r}: {problem}")
        outline.processed_size((1, 1), frame_size)


def missing_weights(jobs: Sequence[BackboneJob], weights: Mapping[str, str]) -> dict[str, WeightsError]:
    """Return the backbones whose weights are missing, and why."""
    missing = {}
    for name in dict.fromkeys(job.backbone for job in jobs):
        try:
            check_weights({name: weights.get(name)})
        except WeightsError as error:
            missing[name] = error
    return missing


def estimate_from_outlines(
    shares: Sequence[Share], frame_size: FrameSize | None, codec: FeatureCodec
) -> list[dict[str, Any]]:
    """Return rows like those of `estimate`, without time and memory; bytes are None for taps inside a block."""
    rows = []
    for share in shares:
        job, video, outline = share.job, share.video, backbone_info(share.job.backbone).outline
        assert outline is not None
        size = outline.processed_size(video.frames.size, frame_size)
        for timestep, tap in itertools.product(job.timesteps, job.taps):
            channels, stride = outline.taps.get(tap, (0, 1))
            cells = math.prod(-(-side // stride) for side in size)
            rows.append(
                {
                    "label": f"{video.dataset}/{video.name} {job.backbone}:{timestep}:{tap}",
                    "state": "unknown",
                    "frames": len(video.frames),
                    "bytes": math.ceil(len(video.frames) * cells * codec.bytes_per_cell(channels))
                    if channels
                    else None,
                    "seconds": None,
                    "memory": None,
                }
            )
    return rows
