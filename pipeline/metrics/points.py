"""Scoring results of keypoints and points against a dataset's ground truth, and the tables of it."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...store.errors import LabelError
from ..datasets.jhmdb import JointVideo
from ..datasets.point_queries import QueryMode, Tracks
from ..datasets.tapvid import TrackVideo
from ..runs.files import written_whole
from ..tasks.points.results import JointResult, TrackResult, check_frames
from .pck import PckScore, joint_distances
from .tapvid import TapVidScore, score_tracks

__all__ = [
    "VideoPck",
    "mean_values",
    "score_joint_result",
    "score_joint_video",
    "score_track_result",
    "score_track_video",
    "write_table",
]

# TAP-Vid measures on frames of this size, whatever the size of the video.
_RASTER = 256


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


def mean_values(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean over videos of each measure; those that are not a number, for lack of points, are left out."""
    means = {}
    for name in scores[0]:
        values = [score[name] for score in scores if not math.isnan(score[name])]
        means[name] = sum(values) / len(values) if values else math.nan
    return means


def write_table(path: Path, header: Sequence[str], rows: Mapping[str, Sequence[float]]) -> Path:
    """Write a table of figures by name; a cell is left empty that is not a number. Return where it is."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for name, values in rows.items():
        writer.writerow([name, *("" if math.isnan(value) else f"{value:.4f}" for value in values)])
    with written_whole(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")
    return path
