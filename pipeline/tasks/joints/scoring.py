"""PCK of the joints of a video."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ....store.errors import LabelError
from ...datasets.jhmdb import JointVideo
from ...metrics.pck import PckScore, joint_distances
from ..archives import check_frames
from .results import JointResult

__all__ = ["VideoPck", "score_joint_result", "score_joint_video"]


@dataclass(frozen=True, kw_only=True)
class VideoPck:
    """PCK of one video.

    Attributes
    ----------
    name
        The video's name.
    joints
        Names of the joints.
    score
        Their PCK.
    """

    name: str
    joints: tuple[str, ...]
    score: PckScore


def score_joint_video(video: JointVideo, folder: Path) -> VideoPck:
    """Score the joints of one video, in the frames that have true ones.

    Raises
    ------
    LabelError
        When the result or the truth cannot be read, or they are of other frames or joints.
    """
    result = JointResult.read(folder)
    check_frames(folder, result.frames, video.frames.names)
    truth = video.joints.read(video.frames.names)  # (2, joint, frame)
    if truth.shape[1] != len(result.joints):
        raise LabelError(f"{folder} has {len(result.joints)} joints, the ground truth has {truth.shape[1]}")
    return VideoPck(name=video.name, joints=result.joints, score=score_joint_result(result, truth))


def score_joint_result(result: JointResult, truth: npt.NDArray[np.float64]) -> PckScore:
    """Score joints against true ones, (2, joint, frame) in the same pixels, which may be of the first frames alone."""
    predicted = result.points.transpose(2, 1, 0)[:, :, : truth.shape[2]]
    return PckScore.of(joint_distances(truth, predicted))
