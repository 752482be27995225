"""Scoring a group of settings on one video: labels in, J&F out, without a file in between."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...propagate.targets.masks import decode_mask
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
    object_ids
        The id of each object's channel.
    frame_size
        (height, width) of the frames that the features were computed from.
    size
        (height, width) of the masks.
    contours
        Whether F is measured beside J.
    """

    video: str
    frame_names: tuple[str, ...]
    annotations: Mapping[str, Path]
    object_ids: tuple[int, ...]
    frame_size: tuple[int, int]
    size: tuple[int, int]
    contours: bool


def score_labels(
    labels: Iterable[tuple[int, Sequence[torch.Tensor]]], target: Target, count: int, seconds: Seconds
) -> list[tuple[ObjectScore, ...]]:
    """Score the soft labels of several settings, frame by frame.

    The numbers are those that the masks would have as files (`..metrics.davis.score_sequence`).

    Parameters
    ----------
    labels
        Frame and soft label, (channel, y, x), under each setting, from frame 1 on.
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
    truth = SequenceTruth(target.video, target.annotations)
    places = {target.frame_names.index(name): at for at, name in enumerate(truth.frames)}
    last = max(places)
    j, f = np.empty((2, count, truth.count, len(places)))  # (setting, object, frame) each
    for frame, of_settings in labels:
        if frame in places:
            at = places[frame]
            with timed(seconds, "metrics"):
                true = truth.read(target.frame_names[frame])
            for number, label in enumerate(of_settings):
                with timed(seconds, "decoding"):
                    ids = decode_mask(label, target.object_ids, frame_size=target.frame_size, size=target.size)
                with timed(seconds, "metrics"):
                    j[number, :, at] = true.region_similarity(ids)
                    if target.contours:
                        f[number, :, at] = true.contour_accuracy(ids)
        if frame >= last:
            break
    return [summarize(j[number], f[number] if target.contours else None) for number in range(count)]
