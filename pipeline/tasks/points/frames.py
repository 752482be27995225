"""Joints and points, frame by frame: scored by PCK and by TAP-Vid's average Jaccard in the frame."""

import math
from dataclasses import replace
from pathlib import Path

from ....store.errors import LabelError
from ...datasets.point_queries import Tracks
from ...datasets.tapvid import TrackVideo
from ...datasets.video import Video
from ...metrics.pck import PCK_THRESHOLDS
from ...pictures.marks import found_points, true_marks
from ..drawn_frames import DrawnFrames
from ..metric_specs import JOINTS, POINTS
from .results import TrackResult
from .scoring import score_track_result

__all__ = ["TrackFrames"]


# What joints are ranked by, as an index of the thresholds.
_NEAR = PCK_THRESHOLDS.index(float(JOINTS.order[0].removeprefix("pck_")))


class TrackFrames(DrawnFrames):
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
        self._result = result = TrackResult.read(folder)
        super().__init__(video, folder, result.frames)
        self.found = found_points(result).draw
        true = true_marks(video, result.frames)
        self.true = None if true is None else true.draw
        self._size = video.frames.size
        self._tracks: Tracks | None = None
        if isinstance(video, TrackVideo) and result.mode != "given":
            self._tracks = video.tracks.read(result.frames, self._size)
            if len(result.tracks) and int(result.tracks.max()) >= len(self._tracks.places):
                raise LabelError(f"{folder} is of more tracks than the {len(self._tracks.places)} of the ground truth")

    @property
    def ranked(self) -> tuple[str, ...]:
        """Names of all frames, where there is a truth."""
        return () if self._tracks is None else self._result.frames

    def score(self, frame: str) -> float | None:
        """Return the average Jaccard in a frame, over the points that are asked for there."""
        result, tracks = self._result, self._tracks
        if tracks is None or result.mode == "given" or frame not in self.index:
            return None
        index = self.index[frame]
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
    return None if math.isnan(value) else value
