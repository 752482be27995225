"""Boxes around objects: overlap, success and precision, without a file in between."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ....store.errors import LabelError
from ...datasets.video import Video
from ..base import EvalCase, Labels, ScoreRow
from ..following import Boxes as FollowedBoxes
from ..following_evaluation import follow
from ..masks.evaluation import Masks
from ..metric_specs import BOXES, MetricSpec, Values
from ..tables import mean_values
from ..timing import Seconds, timed
from .scoring import score_box_result, true_boxes

__all__ = ["Boxes", "BoxesScore"]


@dataclass(frozen=True, kw_only=True)
class BoxesScore:
    """Measures of the boxes of a video.

    Attributes
    ----------
    objects
        Of each object, by the columns of the metric_spec; None where no frame counts.
    frames
        Number of frames in which any object was scored.
    """

    objects: tuple[Values, ...]
    frames: int
    metric_spec: ClassVar[MetricSpec] = BOXES

    @property
    def rows(self) -> tuple[ScoreRow]:
        """The video by itself: the means over its objects."""
        return (ScoreRow(frames=self.frames, values=self.means([self])),)

    def to_json(self) -> dict[str, Any]:
        """Return the values of each object by name."""
        return {"boxes": [dict(values) for values in self.objects], "frames": self.frames}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "BoxesScore":
        """Build it from what `to_json` gave."""
        found = [{name: row[name] for name in BOXES.columns} for row in value["boxes"]]
        objects = tuple(
            {name: None if item is None else float(item) for name, item in values.items()} for values in found
        )
        if not objects:
            raise ValueError("there are no boxes")
        return cls(objects=objects, frames=int(value["frames"]))

    @classmethod
    def means(cls, scores: "Sequence[BoxesScore]") -> Values:
        """Return the means over the objects of all videos (not over videos); those without a value are left out."""
        known = [
            {name: math.nan if value is None else value for name, value in values.items()}
            for score in scores
            for values in score.objects
        ]
        return {name: _known(value) for name, value in mean_values(known).items()}


@dataclass(frozen=True, kw_only=True)
class _BoxGrader:
    """What labels are held against: the true boxes, (object, frame, 4), x, y, width and height."""

    boxes: FollowedBoxes
    truth: npt.NDArray[np.float64]

    def score(
        self, labels: Iterable[Labels], count: int, frame_size: tuple[int, int], seconds: Seconds
    ) -> list[BoxesScore]:
        """Follow the boxes through all frames, and score them; see `Evaluator`."""
        found = follow(self.boxes, labels, count, frame_size, seconds)
        with timed(seconds, "metrics"):
            return [self._score(one) for one in found]

    def _score(self, found: FollowedBoxes) -> BoxesScore:
        result = found.result
        followed = ~result.given
        objects = tuple(
            {
                "iou": _known(score.iou),
                "success": _known(score.success),
                "precision": _known(score.precision),
                "found": _known(score.found),
            }
            for score in score_box_result(result, self.truth, followed).values()
        )
        scored = followed & np.isfinite(self.truth).all(2)
        return BoxesScore(objects=objects, frames=int(scored.any(0).sum()))


class Boxes:
    """The boxes around the objects of DAVIS, MOSE, Kubric, YouTube-VOS."""

    metric_spec = BOXES
    options: Mapping[str, str] = {"target": "boxes"}

    def annotated(self, video: Video) -> tuple[tuple[int, ...], ...]:
        """Return the frames in which boxes are given: each set of objects that are given in the same ones by itself."""
        return tuple(frames for frames, _ in FollowedBoxes(video).targets)

    def lacks(self, video: Video) -> str | None:
        """Say that there are not the frames that boxes are measured in."""
        if video.scored_frames() is not None:
            return Masks().lacks(video)
        count = len(video.annotations())
        return f"has {count} annotated frames, and boxes need two" if count < 2 else None

    def grade(self, video: Video) -> EvalCase:
        """Read the given masks of a video, and the boxes around its true ones; see `Kind`."""
        boxes = FollowedBoxes(video)
        ids = tuple(boxes.result.ids.tolist())
        truth = true_boxes(video, ids)
        absent = [number for number, rows in zip(ids, truth, strict=True) if np.isnan(rows).all()]
        if absent:
            raise LabelError(
                f"object {absent[0]} of the given masks of video {video.name!r} is in none of its true masks"
            )
        digest = hashlib.sha256(f"{boxes.record['given']} {truth.shape} {video.frames.size} ".encode())
        digest.update(truth.tobytes())
        return EvalCase(
            targets=tuple(boxes.targets),
            grader=_BoxGrader(boxes=boxes, truth=truth),
            key={"truth": digest.hexdigest(), "metrics": "boxes"},
        )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
