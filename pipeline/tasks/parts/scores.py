"""Scores of parts: pixels by true and predicted class."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...metrics.parts import VIP_CLASSES, PartsScore
from ..base import ScoreRow
from ..metric_specs import Measure, MetricSpec, Values

__all__ = ["PARTS", "Counts", "PartScore"]

#: Metrics of parts of people: ranked by the mean IoU over classes.
PARTS = MetricSpec(measures=(Measure(column="miou", title="mIoU"),), shown=("miou",), order=("miou",))

#: Pixels, (true class, predicted class), int64.
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class PartScore:
    """Pixels of a video.

    Attributes
    ----------
    counts
        (true class, predicted class), int64.
    frames
        Number of counted frames.
    """

    counts: Counts
    frames: int
    metric_spec: ClassVar[MetricSpec] = PARTS
    json_key: ClassVar[str] = "parts"

    @property
    def rows(self) -> tuple[ScoreRow]:
        """One row for the video."""
        return (ScoreRow(frames=self.frames, values=self.means([self])),)

    def to_json(self) -> dict[str, Any]:
        """Return the pairs of classes that occur: true class, predicted class, pixels."""
        pairs = np.argwhere(self.counts)
        return {"parts": np.column_stack([pairs, self.counts[tuple(pairs.T)]]).tolist(), "frames": self.frames}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "PartScore":
        """Build a score from the value of `to_json`."""
        counts = np.zeros((len(VIP_CLASSES),) * 2, dtype=np.int64)
        for true, predicted, pixels in value["parts"]:
            counts[true, predicted] = pixels
        return cls(counts=counts, frames=int(value["frames"]))

    @classmethod
    def means(cls, scores: "Sequence[PartScore]") -> Values:
        """Return the mean IoU over classes, from the pixels of all videos together."""
        mean = PartsScore(counts={str(number): score.counts for number, score in enumerate(scores)}).mean
        return {"miou": None if math.isnan(mean) else mean}
