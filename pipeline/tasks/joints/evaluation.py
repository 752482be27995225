"""Joints of a person: PCK, without a file in between."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ....store.errors import LabelError
from ...datasets.jhmdb import JointVideo
from ...datasets.video import Video
from ...metrics.pck import PCK_THRESHOLDS, PckScore
from ..base import EvalCase, Labels, ScoreRow
from ..following import Joints as FollowedJoints
from ..following_evaluation import follow
from ..metric_specs import JOINTS, MetricSpec, Values
from ..timing import Seconds, timed
from .scoring import score_joint_result

__all__ = ["JointScore", "Joints"]


@dataclass(frozen=True, kw_only=True, eq=False)
class JointScore:
    """PCK of a video.

    Attributes
    ----------
    pck
        The samples of its joints.
    """

    pck: PckScore
    metric_spec: ClassVar[MetricSpec] = JOINTS

    @property
    def rows(self) -> tuple[ScoreRow]:
        """The video by itself."""
        return (ScoreRow(frames=self.pck.samples, values=self.means([self])),)

    def to_json(self) -> dict[str, Any]:
        """Return the counts."""
        correct, counted = self.pck.correct.tolist(), self.pck.counted.tolist()
        return {"pck": {"correct": correct, "counted": counted, "samples": self.pck.samples}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "JointScore":
        """Build it from what `to_json` gave."""
        correct, counted = (np.array(value["pck"][name], dtype=np.int64) for name in ("correct", "counted"))
        if correct.shape != (len(PCK_THRESHOLDS), *counted.shape):
            raise ValueError(f"correct samples are {correct.shape}, counted ones {counted.shape}")
        return cls(pck=PckScore(correct=correct, counted=counted, samples=int(value["pck"]["samples"])))

    @classmethod
    def means(cls, scores: "Sequence[JointScore]") -> Values:
        """Return PCK in percent: of each joint over the frames of all videos, then the mean over joints."""
        total = PckScore.joined([score.pck for score in scores])
        values = zip(JOINTS.columns, [*total.mean.tolist(), total.found], strict=True)
        return {name: None if math.isnan(value) else value for name, value in values}


@dataclass(frozen=True, kw_only=True)
class _JointGrader:
    """What labels are held against: the true joints, (2, joint, frame), of the frames that have some."""

    joints: FollowedJoints
    truth: npt.NDArray[np.float64]

    def score(
        self, labels: Iterable[Labels], count: int, frame_size: tuple[int, int], seconds: Seconds
    ) -> list[JointScore]:
        """Follow the joints through all frames, and score them; see `Evaluator`."""
        found = follow(self.joints, labels, count, frame_size, seconds)
        with timed(seconds, "metrics"):
            return [JointScore(pck=score_joint_result(one.result, self.truth)) for one in found]


class Joints:
    """JHMDB."""

    metric_spec = JOINTS
    options: Mapping[str, str] = {}

    def annotated(self, video: Video) -> tuple[tuple[int, ...]]:
        """Return the first frame."""
        return ((0,),)

    def lacks(self, video: Video) -> str | None:
        """Say that there is no frame but the one that is given."""
        return None if len(video.frames) > 1 else "has no frame but the first, which is given"

    def grade(self, video: Video) -> EvalCase:
        """Read the true joints of a video; see `Kind`."""
        if not isinstance(video, JointVideo):
            raise LabelError(f"video {video.name!r} has no joints")
        joints = FollowedJoints(video)
        truth = video.joints.read(video.frames.names)
        digest = hashlib.sha256(f"{truth.shape} {video.frames.size} ".encode() + truth.tobytes())
        return EvalCase(
            targets=tuple(joints.targets),
            grader=_JointGrader(joints=joints, truth=truth),
            key={"truth": digest.hexdigest(), "metrics": "pck"},
        )
