"""Joints of a video, frame by frame: drawn with limbs, and scored by PCK."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ....store.errors import LabelError
from ...datasets.jhmdb import JointVideo
from ...datasets.video import Video
from ...metrics.pck import PCK_THRESHOLDS, PckScore
from ...pictures.marks import Marks
from ...pictures.overlay import object_colour
from ..drawing import MarkFrames, check_selected
from ..tables import known_value
from .results import JOINTS, JointResult, result_distances

# The limbs of JHMDB's joints.
_LIMBS = (
    *(("face", "neck"), ("neck", "belly")),
    *(("neck", "right shoulder"), ("right shoulder", "right elbow"), ("right elbow", "right wrist")),
    *(("neck", "left shoulder"), ("left shoulder", "left elbow"), ("left elbow", "left wrist")),
    *(("belly", "right hip"), ("right hip", "right knee"), ("right knee", "right ankle")),
    *(("belly", "left hip"), ("left hip", "left knee"), ("left knee", "left ankle")),
)

# Those of PoseTrack's joints that JHMDB does not have.
_POSE_LIMBS = (
    *(("head top", "nose"), ("nose", "head bottom"), ("head bottom", "left shoulder")),
    *(("head bottom", "right shoulder"), ("left shoulder", "left hip"), ("right shoulder", "right hip")),
    ("left hip", "right hip"),
)

# The metric that ranks joints, as an index of the thresholds.
_RANKING = PCK_THRESHOLDS.index(float(JOINTS.order[0].removeprefix("pck_")))


def joint_frames(video: Video, folder: Path) -> MarkFrames:
    """Open a video's joints for drawing; frames after the first that have true joints are scored."""
    result = JointResult.read(folder)
    check_selected(video, folder, result.frames)
    true, distances = None, np.empty((0, 0))
    found = joint_marks(result.frames, result.joints, result.points.transpose(1, 0, 2))
    ranked: Sequence[str] = ()
    if isinstance(video, JointVideo):
        truth = read_joints(video, folder, result)
        true, ranked = true_joints(video, result.frames), result.frames[1 : truth.shape[2]]
        if video.joints_per_person is not None:
            found = _people_marks(found, result.joints)
        distances = result_distances(result, truth, video.joints_per_person)
    return MarkFrames(
        video,
        folder,
        noun="joints",
        metric=JOINTS.official[JOINTS.order[0]],
        found=found,
        true=true,
        ranked=ranked,
        score=lambda index: known_value(float(PckScore.of(distances[:, index - 1 : index]).mean[_RANKING])),
    )


def read_joints(video: JointVideo, folder: Path, result: JointResult) -> npt.NDArray[np.float64]:
    """Return the true joints in the frames of a result, (2, joint, frame), possibly of the first frames only.

    Raises LabelError when they cannot be read, or the result has another number of joints.
    """
    truth = video.joints.read(result.frames)
    if truth.shape[1] != len(result.joints):
        raise LabelError(f"{folder} has {len(result.joints)} joints, the ground truth has {truth.shape[1]}")
    return truth


def joint_marks(frames: Sequence[str], names: Sequence[str], xy: npt.NDArray[np.float64]) -> Marks:
    """Convert joints, (joint, frame, 2), to marks; the first pixel's centre is (0, 0), absent joints are negative."""
    centres = np.where(xy[..., :1] >= 0, xy, np.nan) + 0.5
    index = {name: number for number, name in enumerate(names)}
    return Marks(
        frames=tuple(frames),
        xy=centres,
        visible=np.asarray(np.isfinite(centres).all(2)),
        colours=tuple(range(1, len(names) + 1)),
        names=dict(enumerate(names, 1)),
        links=tuple((index[a], index[b]) for a, b in _LIMBS if a in index and b in index),
    )


def _people_marks(marks: Marks, names: Sequence[str]) -> Marks:
    """Give each person a colour and limbs; joints are named as in `PoseFile.labels`."""
    index = {name: number for number, name in enumerate(names)}
    people = list(dict.fromkeys(name.split(" ", 1)[0] for name in names))
    limbs = [(f"{person} {a}", f"{person} {b}") for person in people for a, b in (*_LIMBS, *_POSE_LIMBS)]
    colours = [object_colour(people.index(name.split(" ", 1)[0]) + 1) for name in names]
    return replace(
        marks,
        colours=tuple(colours),
        names={colour: f"person {name.split(' ', 1)[0]}" for colour, name in zip(colours, names, strict=True)},
        links=tuple((index[a], index[b]) for a, b in limbs if a in index and b in index),
    )


def true_joints(video: JointVideo, frames: Sequence[str]) -> Marks:
    """Return the true joints in some frames; possibly known in the first frames only."""
    true = video.joints.read(frames).transpose(1, 2, 0)  # (joint, frame, 2)
    xy = np.full((len(true), len(frames), 2), np.nan)
    xy[:, : true.shape[1]] = true
    names = video.joints.labels(len(xy))
    marks = joint_marks(frames, names, xy)
    return marks if video.joints_per_person is None else _people_marks(marks, names)
