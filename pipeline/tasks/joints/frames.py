"""Joints, frame by frame: scored by PCK."""

import math
from pathlib import Path

from ....store.errors import LabelError
from ...datasets.jhmdb import JointVideo
from ...datasets.video import Video
from ...metrics.pck import PCK_THRESHOLDS, PckScore, joint_distances
from ...pictures.marks import found_joints, true_marks
from ..drawn_frames import DrawnFrames
from ..metric_specs import JOINTS
from .results import JointResult

__all__ = ["JointFrames"]

# What joints are ranked by, as an index of the thresholds.
_NEAR = PCK_THRESHOLDS.index(float(JOINTS.order[0].removeprefix("pck_")))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


class JointFrames(DrawnFrames):
    """The joints of a video.

    Parameters
    ----------
    video
        The video, with its true joints.
    folder
        Of the results.

    Raises
    ------
    LabelError
        For results or a truth that cannot be read, or are of other frames or joints.
    """

    noun = "joints"
    measure = JOINTS.official[JOINTS.order[0]]

    def __init__(self, video: Video, folder: Path) -> None:
        result = JointResult.read(folder)
        super().__init__(video, folder, result.frames)
        self.found = found_joints(result).draw
        true = true_marks(video, result.frames)
        self.true = None if true is None else true.draw
        self._ranked: tuple[str, ...] = ()
        if isinstance(video, JointVideo):
            truth = video.joints.read(result.frames)
            if truth.shape[1] != len(result.joints):
                raise LabelError(f"{folder} has {len(result.joints)} joints, the ground truth has {truth.shape[1]}")
            self._distances = joint_distances(truth, result.points.transpose(2, 1, 0)[:, :, : truth.shape[2]])
            self._ranked = result.frames[1 : truth.shape[2]]

    @property
    def ranked(self) -> tuple[str, ...]:
        """Names of the frames after the first that have true joints."""
        return self._ranked

    def score(self, frame: str) -> float | None:
        """Return the percentage of the joints that are placed correctly."""
        if frame not in self.ranked:
            return None
        column = self.index[frame] - 1
        score = PckScore.of(self._distances[:, column : column + 1])
        return _known(float(score.mean[_NEAR]))
