"""Overlap and precision of boxes, as OTB and LaSOT define them: arrays in, numbers out.

Boxes are x, y, width, height. The metrics are those of Wu et al., "Object Tracking Benchmark" (TPAMI 2015), which
LaSOT (Fan et al., CVPR 2019) uses.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

#: Thresholds of the success curve: 0, 0.05, ... 1.
OVERLAP_THRESHOLDS = tuple(step / 20 for step in range(21))

#: Largest distance between the centres of precise boxes, in pixels.
PRECISION_PIXELS = 20

_Array = npt.NDArray[np.float64]


def intersection_over_union(truth: _Array, predicted: _Array) -> _Array:
    """Return the IoU of pairs of boxes, (..., 4) with NaN for an absent box: (...), in [0, 1].

    It is NaN where the true box is absent, and 0 where only the predicted box is absent or both have no area.
    """
    low = np.maximum(truth[..., :2], predicted[..., :2])
    high = np.minimum(truth[..., :2] + truth[..., 2:], predicted[..., :2] + predicted[..., 2:])
    both = np.maximum(high - low, 0).prod(-1)
    union = truth[..., 2:].prod(-1) + predicted[..., 2:].prod(-1) - both
    overlap = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
    return np.where(np.isnan(truth).any(-1), np.nan, overlap)


def centre_distance(truth: _Array, predicted: _Array) -> _Array:
    """Return the distances between the centres of pairs of boxes in pixels, as `intersection_over_union`.

    They are NaN where the true box is absent, and infinite where only the predicted box is.
    """
    centres = [boxes[..., :2] + boxes[..., 2:] / 2 for boxes in (truth, predicted)]
    distance = np.hypot(*np.moveaxis(centres[1] - centres[0], -1, 0))
    distance = np.where(np.isnan(predicted).any(-1), np.inf, distance)
    return np.where(np.isnan(truth).any(-1), np.nan, distance)


@dataclass(frozen=True, kw_only=True)
class BoxScore:
    """Scores of the boxes of one object in the scored frames, (frame, 4); NaN where a box is absent.

    Frames without a true box do not count.
    """

    truth: _Array
    predicted: _Array

    @cached_property
    def overlaps(self) -> _Array:
        """IoU in the frames that count, (frame,)."""
        overlaps = intersection_over_union(self.truth, self.predicted)
        return overlaps[~np.isnan(overlaps)]

    @property
    def iou(self) -> float:
        """Mean IoU; NaN if no frame counts."""
        return float(self.overlaps.mean()) if len(self.overlaps) else math.nan

    @property
    def success_curve(self) -> _Array:
        """Share of frames whose IoU is strictly above each of `OVERLAP_THRESHOLDS`, (threshold,)."""
        if not len(self.overlaps):
            return np.full(len(OVERLAP_THRESHOLDS), np.nan)
        return np.asarray((self.overlaps > np.array(OVERLAP_THRESHOLDS)[:, None]).mean(1))

    @property
    def success(self) -> float:
        """Mean of the success curve, at most 20/21, as no IoU is above 1; NaN if no frame counts."""
        return float(self.success_curve.mean())

    @property
    def precision(self) -> float:
        """Share of frames whose centres are at most `PRECISION_PIXELS` apart; NaN if no frame counts."""
        distances = centre_distance(self.truth, self.predicted)
        counted = distances[~np.isnan(distances)]
        return float((counted <= PRECISION_PIXELS).mean()) if len(counted) else math.nan

    @property
    def found(self) -> float:
        """Share of the counted frames with a predicted box; NaN if no frame counts."""
        counted = ~np.isnan(self.truth).any(1)
        return float((~np.isnan(self.predicted[counted]).any(1)).mean()) if counted.any() else math.nan
