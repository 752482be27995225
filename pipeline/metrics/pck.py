"""PCK, the share of correct keypoints, as CRW and later papers measure it on JHMDB: arrays in, numbers out.

The conventions are those of the evaluation of Jabri et al., "Space-Time Correspondence as a Contrastive Random Walk"
(NeurIPS 2020), which UVC and TimeCycle share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

#: Largest distances of correct joints, as shares of the person's size; papers print these.
PCK_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)

# Size of a person, as a share of the diagonal of the box around the joints.
_DIAGONAL = 0.6

_Array = npt.NDArray[np.float64]
_Counts = npt.NDArray[np.int64]


def joint_distances(truth: _Array, predicted: _Array) -> _Array:
    """Return distances of predicted joints from true ones, as shares of the person's size in each frame.

    The size is 0.6 times the diagonal of the box around the true joints whose prediction is present. The first frame,
    which is annotated, is left out.

    Both are (2, joint, frame), x and y in pixels; a predicted joint with a negative x is absent, and so is one whose
    true joint is NaN, which is not labelled.

    Returns
    -------
    numpy.ndarray
        (joint, frame - 1). NaN where the joint is absent, and does not count. Infinite, and never correct, where the
        box has no extent: one joint is present, or all coincide.
    """
    present = (predicted[0] >= 0) & np.isfinite(truth[0])  # (joint, frame)
    low = np.where(present, truth, np.inf).min(1)  # (2, frame)
    high = np.where(present, truth, -np.inf).max(1)
    extent = np.where(present.any(0), high - low, 0.0)
    size = _DIAGONAL * np.hypot(*extent)  # (frame,)
    distance = np.hypot(*(predicted - truth))
    distance = np.where(size > 0, distance / np.where(size > 0, size, 1.0), np.inf)
    return np.where(present, distance, np.nan)[:, 1:]


@dataclass(frozen=True, kw_only=True)
class PckScore:
    """PCK over the joints of one or several videos.

    `correct` counts the samples whose distance is at most each of `PCK_THRESHOLDS`, (threshold, joint); `counted` those
    in which the joint is present, (joint,). There are `samples` of each joint: one for each scored frame. Of these,
    `labelled` have a true joint, summed over joints; None if all do.
    """

    correct: _Counts
    counted: _Counts
    samples: int
    labelled: int | None = None

    @classmethod
    def of(cls, distances: _Array, labelled: int | None = None) -> "PckScore":
        """Count the samples of distances (joint, sample); see `joint_distances`."""
        return cls(
            correct=np.stack([(distances <= threshold).sum(1) for threshold in PCK_THRESHOLDS]),
            counted=(~np.isnan(distances)).sum(1),
            samples=distances.shape[1],
            labelled=labelled,
        )

    @classmethod
    def joined(cls, scores: "Sequence[PckScore]") -> "PckScore":
        """Return the score over the frames of several videos; all frames weigh the same."""
        return cls(
            correct=np.sum([score.correct for score in scores], axis=0),
            counted=np.sum([score.counted for score in scores], axis=0),
            samples=sum(score.samples for score in scores),
            labelled=None if all(score.labelled is None for score in scores) else sum(map(cls._possible, scores)),
        )

    @cached_property
    def per_joint(self) -> _Array:
        """Percentage of correct samples among the counted ones, (threshold, joint); NaN for a joint without any."""
        return np.where(self.counted > 0, 100.0 * self.correct / np.maximum(self.counted, 1), np.nan)

    @cached_property
    def mean(self) -> _Array:
        """Mean over the joints that have samples (not over samples), (threshold,); NaN where none has."""
        scored = ~np.isnan(self.per_joint)
        count = scored.sum(1)
        total = np.where(scored, self.per_joint, 0.0).sum(1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    @property
    def found(self) -> float:
        """Percentage of labelled samples in which the joint is present; NaN without samples.

        The protocol does not count absent joints, so compare the PCK of two methods only if this share is similar.
        """
        total = self._possible()
        return 100.0 * (int(self.counted.sum()) / total) if total else float("nan")

    def _possible(self) -> int:
        return self.samples * len(self.counted) if self.labelled is None else self.labelled
