"""Joints of a person: their files, ``joints.npz`` and ``joints.csv``, and their score, PCK."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...metrics.pck import PCK_THRESHOLDS, PckScore, joint_distances
from ..archives import ArchiveResult, format_coordinate, format_share
from ..scoring import Measure, MetricSpec, Score, ScoreRow, Values
from ..tables import known_value

#: Metrics of joints, in percent: ranked by PCK@0.2, then by PCK@0.1. A tenth of a person is about one cell of the
#: feature grid, so PCK@0.1 also measures how coordinates are decoded from it.
JOINTS = MetricSpec(
    measures=(
        *(Measure(column=f"pck_{threshold}", title=f"PCK@{threshold}") for threshold in PCK_THRESHOLDS),
        Measure(column="found", title="found"),
    ),
    shown=("pck_0.2", "pck_0.1", "found"),
    order=("pck_0.2", "pck_0.1"),
    perfect=100.0,
)


@dataclass(frozen=True, kw_only=True)
class JointResult(ArchiveResult):
    """Joints of a person through a video.

    Attributes
    ----------
    joints
        Names of the joints.
    points
        (frame, joint, 2), float64, x and y in pixels of the original frames, counted from 0; -1 for an absent joint.
    """

    archive = "joints.npz"
    table = "joints.csv"
    header = ("frame", "joint", "x", "y", "confidence")
    texts = ("frames", "joints")

    joints: tuple[str, ...]
    points: npt.NDArray[np.float64]

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        shape = len(self.frames), len(self.joints)
        return {"points": (*shape, 2), "confidence": shape[::-1]}

    def rows(self) -> Iterator[Sequence[Any]]:
        """Yield a row for each frame and joint; coordinates of absent joints are empty."""
        for index, (frame, of_frame) in enumerate(zip(self.frames, self.points, strict=True)):
            for number, (joint, xy) in enumerate(zip(self.joints, of_frame, strict=True)):
                place = (format_coordinate(value if xy[0] >= 0 else np.nan) for value in xy)
                yield frame, joint, *place, format_share(self.confidence_of(number, index))


@dataclass(frozen=True, kw_only=True, eq=False)
class JointScore(Score):
    """PCK of a video: the counts of its joints."""

    pck: PckScore
    metric_spec: ClassVar[MetricSpec] = JOINTS
    json_key: ClassVar[str] = "pck"

    @property
    def rows(self) -> tuple[ScoreRow]:
        """One row for the video."""
        return (ScoreRow(frames=self.pck.samples, values=self.means([self])),)

    def to_json(self) -> dict[str, Any]:
        correct, counted = self.pck.correct.tolist(), self.pck.counted.tolist()
        value = {"correct": correct, "counted": counted, "samples": self.pck.samples}
        return {"pck": value if self.pck.labelled is None else value | {"labelled": self.pck.labelled}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "JointScore":
        correct, counted = (np.array(value["pck"][name], dtype=np.int64) for name in ("correct", "counted"))
        if correct.shape != (len(PCK_THRESHOLDS), *counted.shape):
            raise ValueError(f"correct samples are {correct.shape}, counted ones {counted.shape}")
        samples, labelled = int(value["pck"]["samples"]), value["pck"].get("labelled")
        return cls(pck=PckScore(correct=correct, counted=counted, samples=samples, labelled=labelled))

    @classmethod
    def means(cls, scores: "Sequence[JointScore]") -> Values:
        """Return PCK in percent: of each joint over the frames of all videos, then the mean over joints."""
        total = PckScore.joined([score.pck for score in scores])
        values = zip(JOINTS.columns, [*total.mean.tolist(), total.found], strict=True)
        return {name: known_value(value) for name, value in values}


def score_joint_result(
    result: JointResult, truth: npt.NDArray[np.float64], per_person: int | None = None
) -> JointScore:
    """Score joints against `truth`, (2, joint, frame), in the same pixels; frames after its last do not count.

    With several people, of `per_person` joints each, those of the same name are counted together.
    """
    distances = result_distances(result, truth, per_person)
    if per_person is None:
        return JointScore(pck=PckScore.of(distances))
    known = np.isfinite(truth[0])  # (joint, frame)
    labelled = int((known & (known.cumsum(1) > 1)).sum())
    of_joint = distances.reshape(-1, per_person, distances.shape[1]).swapaxes(0, 1).reshape(per_person, -1)
    return JointScore(pck=PckScore.of(of_joint, labelled))


def result_distances(
    result: JointResult, truth: npt.NDArray[np.float64], per_person: int | None = None
) -> npt.NDArray[np.float64]:
    """Return the distances of joints in frames after the first, (joint, frame - 1); see `joint_distances`.

    With `per_person`, the first labelled frame of each joint, in which it is annotated, does not count.
    """
    predicted = result.points.transpose(2, 1, 0)[:, :, : truth.shape[2]]
    if per_person is None:
        return joint_distances(truth, predicted)
    people = range(0, truth.shape[1], per_person)
    blocks = [slice(start, start + per_person) for start in people]
    distances = np.concatenate([joint_distances(truth[:, block], predicted[:, block]) for block in blocks])
    begun = np.isfinite(truth[0]).cumsum(1) > 1  # (joint, frame), after the first labelled frame
    return np.where(begun[:, 1:], distances, np.nan)
