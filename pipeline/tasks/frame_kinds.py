"""What a video's folder of results has of single frames: to be ranked by their scores, and drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..datasets.video import Video
from .boxes.frames import BoxFrames
from .boxes.results import has_boxes
from .joints.frames import JointFrames
from .joints.results import has_joints
from .masks.frames import MaskFrames
from .points.frames import TrackFrames
from .points.results import has_tracks

__all__ = ["ShownFrames", "open_frames"]


class ShownFrames(Protocol):
    """The results of a video, frame by frame, and the truth where there is any."""

    @property
    def noun(self) -> str:
        """What they are, in the plural."""

    @property
    def measure(self) -> str:
        """What `score` measures."""

    @property
    def ranked(self) -> Sequence[str]:
        """Names of the frames that can be the best or the worst: neither given nor left out by the evaluation."""

    def score(self, frame: str) -> float | None:
        """Return how good a frame is, the larger the better; None where nothing is to be measured."""

    def draw(self, picture: NDArray[np.uint8], frame: str) -> NDArray[np.uint8] | None:
        """Draw the result of a frame over a picture of it, of any size; None where there is none."""

    def draw_truth(self, picture: NDArray[np.uint8], frame: str) -> NDArray[np.uint8] | None:
        """Draw the truth over a picture of a frame; None where there is none."""


def open_frames(video: Video, folder: Path) -> ShownFrames:
    """Open a video's folder of results.

    Raises
    ------
    LabelError
        For results or a truth that cannot be read, or do not fit each other. Masks are read when they are asked for.
    """
    if has_joints(folder):
        return JointFrames(video, folder)
    if has_tracks(folder):
        return TrackFrames(video, folder)
    if has_boxes(folder):
        return BoxFrames(video, folder)
    return MaskFrames(video, folder)
