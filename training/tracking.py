"""How well features track: J, F and identity of many fusions, straight from the cache."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ted.pipeline.datasets.masks_io import read_mask
from ted.pipeline.datasets.video import Video
from ted.pipeline.metrics.identity import identity_accuracy
from ted.pipeline.metrics.jf import contour_accuracy, region_similarity
from ted.propagate import FeatureReader, PropagationSettings, SearchSpec, WeightedSettings, label_frames, search
from ted.propagate.targets.masks import decode_mask, encode_mask
from ted.store import Unit

__all__ = ["TRACKING", "Score", "mean_and_error", "through_grid", "track"]


#: What stays the same over all fusions that are compared.
TRACKING = PropagationSettings(temperature=0.1, top_k=10, radius=16)


@dataclass(frozen=True, kw_only=True)
class Score:
    """Of one video, in percent.

    Attributes
    ----------
    j, f
        Means over objects and over all frames but the first and the last, as DAVIS has it.
    identity
        Over the same frames.
    """

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
        Features of the video; those that no fusion weighs are not read.
    fusions
        Weights of the units; each at least once positive.
    video
        With masks of all frames.
    settings
        All else.
    """
    sources = FeatureReader([(unit, 1.0) for unit in units])
    size = video.frames.size
    truths = [read_mask(path, size) for path in video.frame_masks.values()]
    first = encode_mask(truths[0], sources.grid)
    masks: dict[tuple[float, ...], list[np.ndarray]] = {weights: [] for weights in fusions}
    chosen = [WeightedSettings(weights=weights, settings=settings) for weights in masks]
    steps = search(units, SearchSpec.of(settings, [item.fusion() for item in chosen]))
    for frame, labels in label_frames(steps, first.label, chosen):
        for label, found in zip(labels, masks.values(), strict=True):
            if frame:
                found.append(decode_mask(label, first.object_ids, frame_size=sources.frame_size, size=size))
    true = np.stack(truths[1:-1])
    return {weights: score(true, np.stack(found[:-1])) for weights, found in masks.items()}


def score(truth: np.ndarray, predicted: np.ndarray) -> Score:
    """Score masks (frame, height, width) against the truth."""
    objects = range(1, int(truth.max()) + 1)
    frames = list(zip(truth, predicted, strict=True))
    pairs = [(true == number, found == number) for true, found in frames for number in objects]
    return Score(
        j=100 * float(np.mean([region_similarity(*pair) for pair in pairs])),
        f=100 * float(np.mean([contour_accuracy(*pair) for pair in pairs])),
        identity=100 * identity_accuracy(truth, predicted),
    )


def through_grid(video: Video, grid: tuple[int, int], frame_size: tuple[int, int]) -> Score:
    """Score the truth itself after it went through the grid, one-hot: about what tracking can reach there.

    Soft labels can do a little better: they know how much of a cell an object covers.
    """
    size = video.frames.size
    truths = [read_mask(path, size) for path in video.frame_masks.values()]
    passed = []
    for mask in truths[1:-1]:
        label = encode_mask(mask, grid)
        passed.append(decode_mask(label.label, label.object_ids, frame_size=frame_size, size=size))
    return score(np.stack(truths[1:-1]), np.stack(passed))


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean over videos and its standard error; videos without a value do not count."""
    known = np.array([value for value in values if not np.isnan(value)])
    return float(known.mean()), float(known.std(ddof=1) / np.sqrt(len(known))) if len(known) > 1 else float("nan")
