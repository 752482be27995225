"""The task of tracking the joints of people: JHMDB, PoseTrack."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ....propagate.targets.keypoints import ABSENT, KeypointTarget
from ....store.errors import ConfigError, LabelError
from ...datasets.jhmdb import JointVideo, joint_names
from ...datasets.table_video import TableAnnotations
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
    """Joints of people: of one, all annotated in the first frame, or of several, each in its first labelled frame.

    Joints that are annotated in the same frame form one target; they do not influence each other.
    """

    backward = False
    files = (JointResult.archive, JointResult.table)
    result: JointResult

    def __init__(self, video: JointVideo) -> None:
        names, first = video.frames.names, video.joints.first(video.frames.names)
        count = len(next(iter(first.values())))
        self.result = JointResult(
            frames=names,
            joints=video.joints.labels(count),
            points=np.full((len(names), count, 2), ABSENT),
            confidence=np.full((count, len(names)), np.nan),
        )
        groups = [group for group in TableAnnotations(ids=tuple(range(count)), rows=first).groups() if group[1]]
        self._joints = [joints for joints, _ in groups]
        size = video.frames.size
        self.targets = [AnnotatedTarget(tuple(rows), KeypointTarget(rows=rows, size=size)) for _, rows in groups]
        digest = hashlib.sha256()
        for frame, rows in first.items():
            digest.update((f"{frame} " if frame else "").encode() + rows.tobytes())
        self.record = {"joints": count, "given": digest.hexdigest()}
        self._annotated: dict[int, npt.NDArray[np.float64]] = {}  # mass of a target's maps where it is annotated

    def collect(self, number: int, frame: int, value: npt.NDArray[np.float64], label: torch.Tensor) -> None:
        """Take the joints of a target in a frame, (joint, 2)."""
        self.result.points[frame, self._joints[number]] = value
        maps = label[1:].double().cpu().numpy()
        self._annotated.setdefault(number, maps.sum((1, 2)))  # frames come from the annotated one on
        self.rate(
            number,
            frame,
            self._joints[number],
            lambda: certainty_of_places(maps) * presence(maps.sum((1, 2)), self._annotated[number]),
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

    def annotated_frames(self, video: Video) -> Sequence[tuple[int, ...]]:
        return [(0,)] if _joint_video(video).joints_per_person is None else super().annotated_frames(video)

    def missing_truth(self, video: Video) -> str | None:
        return None if len(video.frames) > 1 else "has only one frame, which is annotated"

    def eval_case(self, video: Video) -> EvalCase:
        run = self.start(video)
        truth = _joint_video(video).joints.read(video.frames.names)
        digest = hashlib.sha256(f"{truth.shape} {video.frames.size} ".encode() + truth.tobytes())
        return EvalCase(
            targets=run.targets,
            evaluator=ResultEvaluator(
                run=run,
                score_run=partial(_score_run, truth=truth, per_person=_joint_video(video).joints_per_person),
            ),
            key={"truth": digest.hexdigest(), "metrics": "pck"},
        )

    def has_results(self, folder: Path) -> bool:
        return JointResult.exists(folder)

    def score_video(self, video: Video, folder: Path) -> JointScore:
        """Score the joints of one video, in the frames that have true ones; see `Task`."""
        result = JointResult.read(folder)
        result.check_frames(folder, video.frames.names)
        truth = read_joints(_joint_video(video), folder, result)
        score = score_joint_result(result, truth, _joint_video(video).joints_per_person)
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


def _score_run(run: JointRun, truth: npt.NDArray[np.float64], per_person: int | None) -> JointScore:
    return score_joint_result(run.result, truth, per_person)


def _joint_video(video: Video) -> JointVideo:
    if not isinstance(video, JointVideo):
        raise LabelError(f"video {video.name!r} has no joints")
    return video
