"""Parts of people, as classes: the mean IoU over the pixels of all videos, without a file in between."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ....propagate.targets.mask_target import MaskTarget
from ....store.errors import LabelError
from ...datasets.masks_io import read_mask
from ...datasets.video import Video
from ...metrics.parts import VIP_CLASSES, PartsScore, confusion
from ..base import EvalCase, Labels, ScoreRow
from ..masks.evaluation import digest_of_masks
from ..metric_specs import PARTS, MetricSpec, Values
from ..timing import Seconds, timed

__all__ = ["PartScore", "Parts"]

_Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class PartScore:
    """The pixels of a video.

    Attributes
    ----------
    counts
        (true class, predicted class).
    frames
        Number of frames that were counted.
    """

    counts: _Counts
    frames: int
    metric_spec: ClassVar[MetricSpec] = PARTS

    @property
    def rows(self) -> tuple[ScoreRow]:
        """The video by itself."""
        return (ScoreRow(frames=self.frames, values=self.means([self])),)

    def to_json(self) -> dict[str, Any]:
        """Return the pairs of classes that occur: true class, predicted class, pixels."""
        pairs = np.argwhere(self.counts)
        return {"parts": np.column_stack([pairs, self.counts[tuple(pairs.T)]]).tolist(), "frames": self.frames}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "PartScore":
        """Build it from what `to_json` gave."""
        counts = np.zeros((len(VIP_CLASSES),) * 2, dtype=np.int64)
        for true, predicted, pixels in value["parts"]:
            counts[true, predicted] = pixels
        return cls(counts=counts, frames=int(value["frames"]))

    @classmethod
    def means(cls, scores: "Sequence[PartScore]") -> Values:
        """Return the mean IoU over the classes, of the pixels of all videos together."""
        mean = PartsScore(counts={str(number): score.counts for number, score in enumerate(scores)}).mean
        return {"miou": None if math.isnan(mean) else mean}


@dataclass(frozen=True, kw_only=True)
class _PartGrader:
    """What labels are held against: the annotated frames' masks, by index, and what is given."""

    truth: Mapping[int, Path]
    size: tuple[int, int]
    masks: MaskTarget

    def score(
        self, labels: Iterable[Labels], count: int, frame_size: tuple[int, int], seconds: Seconds
    ) -> list[PartScore]:
        """Count the pixels of all annotated frames, the first among them; see `Evaluator`."""
        (of_masks,) = labels
        classes = len(VIP_CLASSES)
        totals = np.zeros((count, classes, classes), dtype=np.int64)
        left = set(self.truth)
        for frame, of_settings in of_masks:
            if frame in left:
                left.remove(frame)
                with timed(seconds, "metrics"):
                    true = read_mask(self.truth[frame], self.size)
                for number, label in enumerate(of_settings):
                    with timed(seconds, "decoding"):
                        predicted = self.masks.decode(frame, label, frame_size)
                    with timed(seconds, "metrics"):
                        totals[number] += confusion(true, predicted, classes)
            if not left:
                break
        return [PartScore(counts=counts, frames=len(self.truth)) for counts in totals]


class Parts:
    """VIP."""

    metric_spec = PARTS
    options: Mapping[str, str] = {}

    def annotated(self, video: Video) -> tuple[tuple[int, ...]]:
        """Return the frames of the given masks."""
        return (video.annotated_frames(),)

    def lacks(self, video: Video) -> str | None:
        """Say that no mask is annotated but the one that is given."""
        others = video.annotations().keys() - video.given.keys()
        return None if others else "has no annotated frame but the first, which is given"

    def grade(self, video: Video) -> EvalCase:
        """Read a video's given masks, and look for its ground truth; see `Kind`."""
        masks = MaskTarget(masks=video.read_given_masks())
        if max(masks.object_ids) >= len(VIP_CLASSES):
            raise LabelError(
                f"the given masks of video {video.name!r} have class {max(masks.object_ids)}; there are 0 to "
                f"{len(VIP_CLASSES) - 1}"
            )
        annotations = video.annotations()
        index = {name: at for at, name in enumerate(video.frames.names)}
        truth = {index[name]: path.absolute() for name, path in annotations.items()}
        return EvalCase(
            targets=((tuple(masks.masks), masks),),
            grader=_PartGrader(truth=truth, size=video.frames.size, masks=masks),
            key={"masks": digest_of_masks(video, masks, annotations), "metrics": "parts"},
        )
