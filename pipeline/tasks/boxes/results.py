"""Boxes: their files, ``boxes.npz`` and ``boxes.csv`` in MOTChallenge's layout, and their score."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...metrics.boxes import BoxScore
from ..archives import ArchiveResult, format_coordinate, format_share
from ..scoring import Measure, MetricSpec, Score, Values
from ..tables import known_value, mean_values

#: Metrics of boxes, in [0, 1]: ranked by the mean IoU, then by success, the area under the curve.
BOXES = MetricSpec(
    measures=(
        Measure(column="iou", title="IoU"),
        Measure(column="success", title="success", official="Success"),
        Measure(column="precision", title="precision", official="Precision"),
        Measure(column="found", title="found", official="Found"),
    ),
    shown=("iou", "success", "precision"),
    order=("iou", "success"),
)


@dataclass(frozen=True, kw_only=True)
class BoxResult(ArchiveResult):
    """Boxes through a video.

    Attributes
    ----------
    numbers
        (frame,), number of each frame in the whole video, from 1.
    ids
        (object,), number of each object.
    boxes
        (object, frame, 4), float64, x, y, width and height in pixels of the original frames: pixel i covers [i, i + 1).
        NaN where the object is absent.
    mass
        (object, frame), float64: the remaining label, as a share of the label that the object began with.
    given
        (object, frame), bool: where its box was annotated.
    """

    archive = "boxes.npz"
    table = "boxes.csv"

    numbers: npt.NDArray[np.integer]
    ids: npt.NDArray[np.integer]
    boxes: npt.NDArray[np.float64]
    mass: npt.NDArray[np.float64]
    given: npt.NDArray[np.bool_]

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        shape = len(self.ids), len(self.frames)
        return {"boxes": (*shape, 4), "given": shape, "confidence": shape}

    def rows(self) -> Iterator[Sequence[Any]]:
        """Yield a row for each frame and object that is present.

        Its columns are frame, id, x, y, width, height, confidence (in results of earlier versions the mass, 1 at most),
        and three times -1, for MOTChallenge's world coordinates.
        """
        for frame, row in np.argwhere(np.isfinite(self.boxes).all(2).T).tolist():
            box = map(format_coordinate, self.boxes[row, frame])
            confidence = self.confidence_of(row, frame)
            share = format_share(min(self.mass[row, frame], 1.0) if np.isnan(confidence) else confidence)
            yield int(self.numbers[frame]), int(self.ids[row]), *box, share, -1, -1, -1


@dataclass(frozen=True, kw_only=True)
class BoxesScore(Score):
    """Metrics of each object of a video by column; None if no frame counts.

    `frames` is the number of frames in which any object was scored. `counted` has the number of frames of each object;
    it is empty for a score that was read back.
    """

    objects: tuple[Values, ...]
    frames: int
    counted: Mapping[int, int] = field(default_factory=dict, compare=False)
    metric_spec: ClassVar[MetricSpec] = BOXES
    json_key: ClassVar[str] = "boxes"

    def to_json(self) -> dict[str, Any]:
        return {"boxes": [dict(values) for values in self.objects], "frames": self.frames}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "BoxesScore":
        found = [{name: row[name] for name in BOXES.columns} for row in value["boxes"]]
        objects = tuple(
            {name: None if item is None else float(item) for name, item in values.items()} for values in found
        )
        if not objects:
            raise ValueError("there are no boxes")
        return cls(objects=objects, frames=int(value["frames"]))

    @classmethod
    def means(cls, scores: "Sequence[BoxesScore]") -> Values:
        """Return the means over the objects of all videos (not over videos) that have a value."""
        return mean_values([values for score in scores for values in score.objects])

    @classmethod
    def of(
        cls, result: BoxResult, truth: npt.NDArray[np.float64], followed: npt.NDArray[np.bool_] | None = None
    ) -> "BoxesScore":
        """Score the boxes of each object against true ones, (object, frame, 4), NaN where there is none.

        `followed`, (object, frame), has the frames in which objects are scored; by default those without annotation.
        """
        followed = ~result.given if followed is None else followed
        scores = [
            BoxScore(truth=true[frames], predicted=found[frames])
            for true, found, frames in zip(truth, result.boxes, followed, strict=True)
        ]
        return cls(
            objects=tuple({name: known_value(getattr(score, name)) for name in BOXES.columns} for score in scores),
            frames=int((followed & np.isfinite(truth).all(2)).any(0).sum()),
            counted={int(number): len(score.overlaps) for number, score in zip(result.ids, scores, strict=True)},
        )
