"""The task of tracking the joints of a person: JHMDB."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ....propagate.targets.keypoints import ABSENT, KeypointTarget
from ....store.errors import ConfigError, LabelError
from ...datasets.jhmdb import JointVideo, joint_names
from ...datasets.video import Video
from ...metrics.pck import PCK_THRESHOLDS, PckScore
from ..base import AnnotatedTarget, EvalCase, Evaluation, EvaluationTables, Task, TaskRun
from ..in_memory import ResultEvaluator
from ..tables import as_number, last_row, read_table, text_table, write_table
from .frames import JointFrames
from .results import JointResult
from .scores import JOINTS, JointScore, score_joint_result

__all__ = ["JointRun", "JointTask", "VideoPck"]


class VideoPck(NamedTuple):
    """PCK of one video, and the names of its joints."""

    joints: tuple[str, ...]
    score: PckScore


class JointRun(TaskRun):
    """Joints of a person, all annotated in the first frame.

    Raises
    ------
    LabelError
        When the true joints of the first frame cannot be read.
    """

    backward = False
    files = ("joints.npz", "joints.csv")

    def __init__(self, video: JointVideo) -> None:
        names = video.frames.names
        first = video.joints.read(names[:1])[:, :, 0].T  # (joint, 2)
        self._result = JointResult(
            frames=names, joints=joint_names(len(first)), points=np.full((len(names), len(first), 2), ABSENT)
        )
        self.targets = [AnnotatedTarget((0,), KeypointTarget(points={0: first}, size=video.frames.size))]
        self.record = {"joints": len(first), "given": hashlib.sha256(first.tobytes()).hexdigest()}

    def collect(self, number: int, frame: int, value: npt.NDArray[np.float64], label: torch.Tensor) -> None:
        """Take the joints of a frame, (joint, 2)."""
        self._result.points[frame] = value

    @property
    def result(self) -> JointResult:
        """The joints collected so far."""
        return self._result

    def write(self, folder: Path) -> None:
        """Write a `JointResult`."""
        self._result.write(folder)


@dataclass(frozen=True, kw_only=True)
class JointTask(Task):
    """Joints of a person, scored by PCK."""

    name = "joints"
    noun = "points"
    metric_spec = JOINTS
    score_type = JointScore
    tables = ("pck_per-video", "pck_per-joint")

    def start(self, video: Video) -> JointRun:
        """Read the joints of the first frame."""
        return JointRun(_joint_video(video))

    def annotated_frames(self, video: Video) -> list[tuple[int, ...]]:
        """Return the first frame."""
        return [(0,)]

    def missing_truth(self, video: Video) -> str | None:
        """Return which ground truth a video lacks for joints; see `Task`."""
        return None if len(video.frames) > 1 else "has only one frame, which is annotated"

    def eval_case(self, video: Video) -> EvalCase:
        """Read the joints of the first frame, and the true ones; see `Task`."""
        run = self.start(video)
        truth = _joint_video(video).joints.read(video.frames.names)
        digest = hashlib.sha256(f"{truth.shape} {video.frames.size} ".encode() + truth.tobytes())
        return EvalCase(
            targets=run.targets,
            evaluator=ResultEvaluator(run=run, score_run=partial(_score_run, truth=truth)),
            key={"truth": digest.hexdigest(), "metrics": "pck"},
        )

    def has_results(self, folder: Path) -> bool:
        """Return whether a folder holds joints."""
        return JointResult.exists(folder)

    def score_video(self, video: Video, folder: Path) -> VideoPck:
        """Score the joints of one video, in the frames that have true ones; see `Task`."""
        result = JointResult.read(folder)
        result.check_frames(folder, video.frames.names)
        truth = _joint_video(video).joints.read(video.frames.names)  # (2, joint, frame)
        if truth.shape[1] != len(result.joints):
            raise LabelError(f"{folder} has {len(result.joints)} joints, the ground truth has {truth.shape[1]}")
        score = score_joint_result(result, truth)
        if np.isnan(score.mean).all():
            raise ConfigError(f"video {video.name!r} has no frame with true joints in which any joint was found")
        return VideoPck(result.joints, score)

    def evaluation(self, scores: Mapping[str, VideoPck], results: Path, set_name: str) -> Evaluation:
        """Summarise PCK in percent, and write tables by joint and by video."""
        total = PckScore.joined([item.score for item in scores.values()])
        names = [f"PCK@{threshold}" for threshold in PCK_THRESHOLDS]
        mean = [*total.mean.tolist(), total.found]
        joints = next(iter(scores.values())).joints
        per_joint = dict(zip(joints, total.per_joint.T.tolist(), strict=True)) | {"mean": mean[:-1]}
        per_video = {name: [*item.score.mean.tolist(), item.score.found] for name, item in scores.items()}
        per_video |= {"all": mean}
        tables = [
            write_table(results / "pck_per-joint.csv", ["Joint", *names], per_joint),
            write_table(results / "pck_per-video.csv", ["Video", *names, "Found"], per_video),
        ]
        lines = [
            *text_table(["joint", *names], per_joint.items(), digits=1),
            "",
            *text_table(["video", *names, "found"], per_video.items(), digits=1),
            f"tables: {tables[0]} {tables[1]}",
        ]
        columns = [*names, "found"]
        values = {
            "mean": dict(zip(columns, per_video.pop("all"), strict=True)),
            "joints": {
                joint: dict(zip(names, row, strict=True)) for joint, row in per_joint.items() if joint != "mean"
            },
            "videos": {name: dict(zip(columns, row, strict=True)) for name, row in per_video.items()},
        }
        return Evaluation(values=values, lines=lines)

    def read_table(self, name: str, path: Path, other: Path | None) -> EvaluationTables:
        """Read the tables by video and by joint; see `Task`."""
        titles = [measure.title for measure in JOINTS.measures if measure.column != "found"]
        videos = read_table(path, ["Video", *titles, "Found"])
        total = last_row(path, videos, "all")
        ranked = JOINTS.official[JOINTS.order[0]]
        return EvaluationTables(
            metric_spec=JOINTS,
            name=name,
            means={title: total[title] for title in titles} | {JOINTS.official["found"]: total["Found"]},
            by_video={row["Video"]: as_number(row[ranked]) for row in videos.records[:-1]},
            tables=(videos,) if other is None else (videos, read_table(other)),
        )

    def open_frames(self, video: Video, folder: Path) -> JointFrames:
        """Open a video's joints for drawing."""
        return JointFrames(video, folder)


def _score_run(run: JointRun, truth: npt.NDArray[np.float64]) -> JointScore:
    return JointScore(pck=score_joint_result(run.result, truth))


def _joint_video(video: Video) -> JointVideo:
    if not isinstance(video, JointVideo):
        raise LabelError(f"video {video.name!r} has no joints")
    return video
