"""Scoring results of keypoints and points against a dataset's ground truth, and the tables of it."""

from pathlib import Path

import numpy as np

from ....store.errors import LabelError
from ...datasets.point_queries import QueryMode, Tracks
from ...datasets.tapvid import TrackVideo
from ...metrics.tapvid import TapVidScore, score_tracks
from ..archives import check_frames
from .results import TrackResult

__all__ = [
    "score_track_result",
    "score_track_video",
]

# TAP-Vid measures on frames of this size, whatever the size of the video.
_RASTER = 256


def score_track_video(video: TrackVideo, folder: Path) -> tuple[QueryMode, TapVidScore]:
    """Score the points of one video, on a raster of 256x256.

    Returns
    -------
    (QueryMode, TapVidScore)
        The queries that the result is of, and its score.

    Raises
    ------
    LabelError
        When the result or the truth cannot be read, or they are of other frames or tracks.
    """
    result = TrackResult.read(folder)
    check_frames(folder, result.frames, video.frames.names)
    if result.mode == "given":
        raise LabelError(f"{folder} is of points that a user gave, not of the queries of TAP-Vid")
    size = video.frames.size
    truth = video.tracks.read(video.frames.names, size)
    if len(result.tracks) and int(result.tracks.max()) >= len(truth.places):
        raise LabelError(f"{folder} is of more tracks than the {len(truth.places)} of the ground truth")
    return result.mode, score_track_result(result, result.mode, truth, size)


def score_track_result(result: TrackResult, mode: QueryMode, truth: Tracks, size: tuple[int, int]) -> TapVidScore:
    """Score queried tracks against true ones through the same frames, (height, width), on a raster of 256x256."""
    scale = np.array([_RASTER / size[1], _RASTER / size[0]])
    return score_tracks(
        result.query_frames,
        truth.places[result.tracks] * scale,
        truth.occluded[result.tracks],
        result.places * scale,
        ~result.visible,
        mode,
    )
