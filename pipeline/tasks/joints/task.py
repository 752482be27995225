"""The task of tracking the joints of a person: JHMDB."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ....propagate.targets.keypoints import ABSENT, KeypointTarget
from ....store.errors import ConfigError, LabelError
from ...datasets.jhmdb import JointVideo, joint_names
from ...datasets.video import Video
from ...metrics.confidence import certainty_of_places, presence
from ...metrics.pck import PckScore
from ..archives import ResultRun
from ..base import AnnotatedTarget, EvalCase, Evaluation, ResultEvaluator, Task
from ..drawing import MarkFrames
from ..scoring import official
from ..tables import TableLayout, text_table, write_table
from .frames import joint_frames, read_joints
from .results import JOINTS, JointResult, JointScore, score_joint_result


class JointRun(ResultRun):
    """Joints of a person, all annotated in the first frame."""

    backward = False
    files = (JointResult.archive, JointResult.table)
    result: JointResult

    def __init__(self, video: JointVideo) -> None:
        names = video.frames.names
        first = video.joints.read(names[:1])[:, :, 0].T  # (joint, 2)
        self.result = JointResult(
            frames=names,
            joints=joint_names(len(first)),
            points=np.full((len(names), len(first), 2), ABSENT),
            confidence=np.full((len(first), len(names)), np.nan),
        )
        self.targets = [AnnotatedTarget((0,), KeypointTarget(rows={0: first}, size=video.frames.size))]
        self.record = {"joints": len(first), "given": hashlib.sha256(first.tobytes()).hexdigest()}

    def collect(self, number: int, frame: int, value: npt.NDArray[np.float64], label: torch.Tensor) -> None:
        """Take the joints of a frame, (joint, 2)."""
        self.result.points[frame] = value
        maps = label[1:].double().cpu().numpy()
        if frame == 0:
            self._annotated = maps.sum((1, 2))
        self.rate(
            number,
            frame,
            range(len(maps)),
            lambda: certainty_of_places(maps) * presence(maps.sum((1, 2)), self._annotated),
        )


@dataclass(frozen=True, kw_only=True)
class JointTask(Task):
    """Joints of a person, scored by PCK."""

    name = "joints"
    noun = "points"
    metric_spec = JOINTS
    score_type = JointScore
    tables = ("pck_per-video", "pck_per-joint")
    layout = TableLayout(total="all", titles={"found": "Found"})

    def start(self, video: Video) -> JointRun:
        return JointRun(_joint_video(video))

    def annotated_frames(self, video: Video) -> list[tuple[int, ...]]:
        return [(0,)]

    def missing_truth(self, video: Video) -> str | None:
        return None if len(video.frames) > 1 else "has only one frame, which is annotated"

    def eval_case(self, video: Video) -> EvalCase:
        run = self.start(video)
        truth = _joint_video(video).joints.read(video.frames.names)
        digest = hashlib.sha256(f"{truth.shape} {video.frames.size} ".encode() + truth.tobytes())
        return EvalCase(
            targets=run.targets,
            evaluator=ResultEvaluator(run=run, score_run=partial(_score_run, truth=truth)),
            key={"truth": digest.hexdigest(), "metrics": "pck"},
        )

    def has_results(self, folder: Path) -> bool:
        return JointResult.exists(folder)

    def score_video(self, video: Video, folder: Path) -> JointScore:
        """Score the joints of one video, in the frames that have true ones; see `Task`."""
        result = JointResult.read(folder)
        result.check_frames(folder, video.frames.names)
        score = score_joint_result(result, read_joints(_joint_video(video), folder, result))
        if np.isnan(score.pck.mean).all():
            raise ConfigError(f"video {video.name!r} has no frame with true joints in which any joint was found")
        return score

    def evaluation(self, scores: Mapping[str, JointScore], results: Path, set_name: str) -> Evaluation:
        """Summarise PCK in percent, and write tables by joint and by video."""
        total = PckScore.joined([item.pck for item in scores.values()])
        names = [measure.title for measure in JOINTS.measures[:-1]]
        per_joint = dict(zip(joint_names(len(total.counted)), total.per_joint.T.tolist(), strict=True))
        joints = {joint: dict(zip(names, row, strict=True)) for joint, row in per_joint.items()}
        videos = {name: official(JOINTS, JointScore.means([score])) for name, score in scores.items()}
        mean = official(JOINTS, JointScore.means(list(scores.values())))
        per_joint["mean"] = total.mean.tolist()
        table = write_table(results / "pck_per-joint.csv", ["Joint", *names], per_joint)
        path, by_video = self.write_rows(videos | {self.layout.total: mean}, results, set_name, digits=1)
        lines = [*text_table(["joint", *names], per_joint.items(), digits=1), "", *by_video]
        lines.append(f"tables: {table} {path}")
        return Evaluation(values={"mean": mean, "joints": joints, "videos": videos}, lines=lines)

    def open_frames(self, video: Video, folder: Path) -> MarkFrames:
        return joint_frames(video, folder)


def _score_run(run: JointRun, truth: npt.NDArray[np.float64]) -> JointScore:
    return score_joint_result(run.result, truth)


def _joint_video(video: Video) -> JointVideo:
    if not isinstance(video, JointVideo):
        raise LabelError(f"video {video.name!r} has no joints")
    return video
