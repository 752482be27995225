"""Tracking scores of many fusions of cached features: J, F and identity accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ted.pipeline.datasets.masks_io import read_mask
from ted.pipeline.datasets.video import Video
from ted.pipeline.metrics.identity import identity_accuracy
from ted.pipeline.metrics.jf import contour_accuracy, region_similarity
from ted.propagate import FeatureReader, PropagationSettings, TrackingSession, WeightedSettings
from ted.propagate.targets.masks import decode_mask, encode_mask
from ted.store import Unit

__all__ = ["TRACKING", "Score", "mean_and_error", "through_grid", "track"]


#: Settings of all fusions.
TRACKING = PropagationSettings(temperature=0.1, top_k=10, radius=16)


@dataclass(frozen=True, kw_only=True)
class Score:
    """Scores of one video in percent: DAVIS's J and F, and identity accuracy over the same frames."""

    j: float
    f: float
    identity: float


def track(
    units: Sequence[Unit], fusions: Sequence[tuple[float, ...]], video: Video, settings: PropagationSettings
) -> dict[tuple[float, ...], Score]:
    """Propagate a video's first mask with several weights of the same features, and score the masks.

    Parameters
    ----------
    units
        Features of the video. Features without weight in any fusion are not read.
    fusions
        Weights of the units. Each unit has a positive weight in some fusion.
    video
        Video with masks of all frames.
    settings
        Settings of propagation.
    """
    parts = [(unit, 1.0) for unit in units]
    sources = FeatureReader(parts)
    size = video.frames.size
    truths = [read_mask(path, size) for path in video.frame_masks.values()]
    first = encode_mask(truths[0], sources.grid)
    masks: dict[tuple[float, ...], list[np.ndarray]] = {weights: [] for weights in fusions}
    chosen = [WeightedSettings(weights=weights, settings=settings) for weights in masks]
    for frame, labels in TrackingSession(parts, settings, first.label, memory=0).sweep(chosen):
        for label, found in zip(labels, masks.values(), strict=True):
            if frame:
                found.append(decode_mask(label, first.object_ids, frame_size=sources.frame_size, size=size))
    true = np.stack(truths[1:-1])
    return {weights: score(true, np.stack(found[:-1])) for weights, found in masks.items()}


def score(truth: np.ndarray, predicted: np.ndarray) -> Score:
    """Score masks (frame, height, width) against the ground truth."""
    objects = range(1, int(truth.max()) + 1)
    frames = list(zip(truth, predicted, strict=True))
    pairs = [(true == number, found == number) for true, found in frames for number in objects]
    return Score(
        j=100 * float(np.mean([region_similarity(*pair) for pair in pairs])),
        f=100 * float(np.mean([contour_accuracy(*pair) for pair in pairs])),
        identity=100 * identity_accuracy(truth, predicted),
    )


def through_grid(video: Video, grid: tuple[int, int], frame_size: tuple[int, int]) -> Score:
    """Score the ground truth after encoding it on the grid: about the best score that tracking can reach.

    Soft labels can score a little better, because they encode partly covered cells.
    """
    size = video.frames.size
    truths = [read_mask(path, size) for path in video.frame_masks.values()]
    passed = []
    for mask in truths[1:-1]:
        label = encode_mask(mask, grid)
        passed.append(decode_mask(label.label, label.object_ids, frame_size=frame_size, size=size))
    return score(np.stack(truths[1:-1]), np.stack(passed))


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean over videos and its standard error, without NaN values."""
    known = np.array([value for value in values if not np.isnan(value)])
    return float(known.mean()), float(known.std(ddof=1) / np.sqrt(len(known))) if len(known) > 1 else float("nan")
