"""Joints of a video, frame by frame: drawn with limbs, and scored by PCK."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ....store.errors import LabelError
from ...datasets.jhmdb import JointVideo, joint_names
from ...datasets.video import Video
from ...metrics.pck import PCK_THRESHOLDS, PckScore, joint_distances
from ...pictures.marks import Marks
from ..drawn_frames import MarkFrames
from ..tables import known_value
from .results import JointResult
from .scores import JOINTS

__all__ = ["JointFrames", "joint_marks", "true_joints"]

# The limbs of JHMDB's joints.
_LIMBS = (
    ("face", "neck"),
    ("neck", "belly"),
    ("neck", "right shoulder"),
    ("right shoulder", "right elbow"),
    ("right elbow", "right wrist"),
    ("neck", "left shoulder"),
    ("left shoulder", "left elbow"),
    ("left elbow", "left wrist"),
    ("belly", "right hip"),
    ("right hip", "right knee"),
    ("right knee", "right ankle"),
    ("belly", "left hip"),
    ("left hip", "left knee"),
    ("left knee", "left ankle"),
)

# The metric that ranks joints, as an index of the thresholds.
_RANKING = PCK_THRESHOLDS.index(float(JOINTS.order[0].removeprefix("pck_")))


class JointFrames(MarkFrames):
    """Joints of a video.

    Parameters
    ----------
    video
        The video, with its true joints if it has any.
    folder
        Folder of the results.

    Raises
    ------
    LabelError
        For results or ground truth that cannot be read, or have other frames or joints.
    """

    noun = "joints"
    metric = JOINTS.official[JOINTS.order[0]]

    def __init__(self, video: Video, folder: Path) -> None:
        result = JointResult.read(folder)
        found = joint_marks(result.frames, result.joints, result.points.transpose(1, 0, 2))
        super().__init__(
            video,
            folder,
            found,
            lambda: true_joints(video, result.frames) if isinstance(video, JointVideo) else None,
        )
        self._ranked: tuple[str, ...] = ()
        if isinstance(video, JointVideo):
            truth = video.joints.read(result.frames)  # (2, joint, frame)
            if truth.shape[1] != len(result.joints):
                raise LabelError(f"{folder} has {len(result.joints)} joints, the ground truth has {truth.shape[1]}")
            self._distances = joint_distances(truth, result.points.transpose(2, 1, 0)[:, :, : truth.shape[2]])
            self._ranked = result.frames[1 : truth.shape[2]]

    @property
    def ranked(self) -> tuple[str, ...]:
        """Names of the frames after the first that have true joints."""
        return self._ranked

    def score(self, frame: str) -> float | None:
        """Return the percentage of correct joints."""
        if frame not in self.ranked:
            return None
        column = self.index[frame] - 1
        return known_value(float(PckScore.of(self._distances[:, column : column + 1]).mean[_RANKING]))


def joint_marks(frames: Sequence[str], names: Sequence[str], xy: npt.NDArray[np.float64]) -> Marks:
    """Convert joints to marks.

    Parameters
    ----------
    frames, names
        Names of the frames and of the joints.
    xy
        (joint, frame, 2), x and y; the centre of the first pixel is (0, 0), absent joints are negative.
    """
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


def true_joints(video: JointVideo, frames: Sequence[str]) -> Marks:
    """Return the true joints in some frames; possibly known in the first frames only."""
    true = video.joints.read(frames).transpose(1, 2, 0)  # (joint, frame, 2)
    xy = np.full((len(true), len(frames), 2), np.nan)
    xy[:, : true.shape[1]] = true
    return joint_marks(frames, joint_names(len(xy)), xy)
