"""Joints and points, frame by frame: scored by PCK and by TAP-Vid's average Jaccard in the frame."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...store.errors import LabelError
from ..datasets.jhmdb import JointVideo
from ..datasets.point_queries import Tracks
from ..datasets.tapvid import TrackVideo
from ..datasets.video import Video
from ..metrics.pck import PCK_THRESHOLDS, PckScore, joint_distances
from ..metrics.points import score_track_result
from ..point_results import JointResult, TrackResult
from ..show.marks import Marks, result_marks, true_marks
from ..sweeping.yardsticks import JOINTS, POINTS

__all__ = ["JointFrames", "TrackFrames"]


# What joints are ranked by, as an index of the thresholds.
_NEAR = PCK_THRESHOLDS.index(float(JOINTS.order[0].removeprefix("pck_")))


class _Drawn:
    """Marks over the frames of a video, and the true ones."""

    def __init__(self, video: Video, folder: Path) -> None:
        self._marks = result_marks(folder)
        self._index = {name: index for index, name in enumerate(self._marks.frames)}
        self._size = video.frames.size
        unknown = self._index.keys() - set(video.frames.names)
        if unknown:
            raise LabelError(f"{folder} is of frame {min(unknown)}, which video {video.name!r} does not have")
        self._true = true_marks(video, self._marks.frames)

    def draw(self, picture: NDArray[np.uint8], frame: str) -> NDArray[np.uint8] | None:
        """Draw what was found in a frame."""
        return self._over(picture, frame, self._marks)

    def draw_truth(self, picture: NDArray[np.uint8], frame: str) -> NDArray[np.uint8] | None:
        """Draw what is true of a frame."""
        return None if self._true is None else self._over(picture, frame, self._true)

    def _over(self, picture: NDArray[np.uint8], frame: str, marks: Marks) -> NDArray[np.uint8] | None:
        if frame not in self._index:
            return None
        return marks.draw(picture, self._index[frame], scale=picture.shape[1] / self._size[1])


class JointFrames(_Drawn):
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
        super().__init__(video, folder)
        self._distances = np.empty((0, 0))
        result = JointResult.read(folder)
        if isinstance(video, JointVideo):
            truth = video.joints.read(result.frames)
            if truth.shape[1] != len(result.joints):
                raise LabelError(f"{folder} has {len(result.joints)} joints, the ground truth has {truth.shape[1]}")
            self._distances = joint_distances(truth, result.points.transpose(2, 1, 0)[:, :, : truth.shape[2]])

    @property
    def ranked(self) -> Sequence[str]:
        """Names of the frames after the first that have true joints."""
        return self._marks.frames[1 : self._distances.shape[1] + 1]

    def score(self, frame: str) -> float | None:
        """Return the percentage of the joints that are placed correctly."""
        if frame not in self.ranked:
            return None
        column = self._index[frame] - 1
        score = PckScore.of(self._distances[:, column : column + 1])
        return _known(float(score.mean[_NEAR]))


class TrackFrames(_Drawn):
    """The points of a video; those of a user have no score.

    Parameters
    ----------
    video
        The video, with its true points if it has any.
    folder
        Of the results.

    Raises
    ------
    LabelError
        For results or a truth that cannot be read, or are of other frames or tracks.
    """

    noun = "points"
    measure = POINTS.official[POINTS.order[0]]

    def __init__(self, video: Video, folder: Path) -> None:
        super().__init__(video, folder)
        self._result = TrackResult.read(folder)
        self._tracks: Tracks | None = None
        if isinstance(video, TrackVideo) and self._result.mode != "given":
            self._tracks = video.tracks.read(self._result.frames, self._size)
            if len(self._result.tracks) and int(self._result.tracks.max()) >= len(self._tracks.places):
                raise LabelError(f"{folder} is of more tracks than the {len(self._tracks.places)} of the ground truth")

    @property
    def ranked(self) -> Sequence[str]:
        """Names of all frames, where there is a truth."""
        return () if self._tracks is None else self._marks.frames

    def score(self, frame: str) -> float | None:
        """Return the average Jaccard in a frame, over the points that are asked for there."""
        result, tracks = self._result, self._tracks
        if tracks is None or result.mode == "given" or frame not in self._index:
            return None
        index = self._index[frame]
        here = slice(index, index + 1)
        one = replace(
            result,
            frames=(frame,),
            query_frames=result.query_frames - index,
            places=result.places[:, here],
            mass=result.mass[:, here],
            visible=result.visible[:, here],
        )
        true = Tracks(places=tracks.places[:, here], occluded=tracks.occluded[:, here])
        return _known(score_track_result(one, result.mode, true, self._size).values[POINTS.order[0]])


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
