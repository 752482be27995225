"""Scoring a group of settings on one video: labels in, J&F out, without a file in between."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...propagate.targets.mask_target import MaskTarget
from ..metrics.sequence import SequenceTruth
from .scores import ObjectScore, summarize
from .timing import Seconds, timed

__all__ = ["Target", "score_labels"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the labels of a video are held against, and how they become masks.

    Attributes
    ----------
    video
        Name of the video.
    frame_names
        Names of its frames.
    annotations
        Ground truth by name of the frame, in order.
    object_frames
        Names of the frames in which each object is scored; None for DAVIS' rule (`SequenceTruth`).
    masks
        What is given.
    frame_size
        (height, width) of the frames that the features were computed from.
    contours
        Whether F is measured beside J.
    """

    video: str
    frame_names: tuple[str, ...]
    annotations: Mapping[str, Path]
    object_frames: Mapping[int, tuple[str, ...]] | None = None
    masks: MaskTarget
    frame_size: tuple[int, int]
    contours: bool


def score_labels(
    labels: Iterable[tuple[int, Sequence[torch.Tensor]]], target: Target, count: int, seconds: Seconds
) -> list[tuple[ObjectScore, ...]]:
    """Score the soft labels of several settings, frame by frame.

    The numbers are those that the masks would have as files (`..metrics.davis.score_sequence`).

    Parameters
    ----------
    labels
        Frame and soft label, (channel, y, x), under each setting, in the order of propagation.
    target
        What they are held against.
    count
        Number of settings.
    seconds
        Where the time is added: ``decoding`` and ``metrics``.

    Returns
    -------
    list of tuple of ObjectScore
        The objects' scores under each setting.

    Raises
    ------
    ConfigError, LabelError
        For a ground truth that cannot be used.
    """
    truth = SequenceTruth(target.video, target.annotations, target.object_frames)
    places = {target.frame_names.index(name): at for at, name in enumerate(truth.frames)}
    j, f = np.empty((2, count, len(truth.object_ids), len(places)))  # (setting, object, frame) each
    for frame, of_settings in labels:
        if frame in places:
            at = places.pop(frame)
            with timed(seconds, "metrics"):
                true = truth.read(target.frame_names[frame])
            for number, label in enumerate(of_settings):
                with timed(seconds, "decoding"):
                    ids = target.masks.decode(frame, label, target.frame_size)
                with timed(seconds, "metrics"):
                    j[number, :, at] = true.region_similarity(ids)
                    if target.contours:
                        f[number, :, at] = true.contour_accuracy(ids)
        if not places:
            break
    return [summarize(truth, j[number], f[number] if target.contours else None) for number in range(count)]
