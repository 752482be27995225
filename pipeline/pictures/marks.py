"""Joints and points of a video, found or true, as they are drawn."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...store.errors import LabelError
from ..datasets.jhmdb import JointVideo, joint_names
from ..datasets.place_video import PlaceVideo
from ..datasets.tapvid import TrackVideo
from ..datasets.video import Video
from ..tasks.joints.results import JointResult, has_joints
from ..tasks.points.results import TrackResult, has_tracks
from .overlay import object_colour, overlay_points

__all__ = ["Marks", "found_joints", "found_points", "result_marks", "true_marks"]

_Array = npt.NDArray[np.float64]

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Marks:
    """Points through a video.

    Attributes
    ----------
    frames
        Names of the frames.
    places
        (point, frame, 2), float64, x and y in pixels of the frames: pixel i covers [i, i + 1). NaN where not known.
    visible
        (point, frame): the others are drawn hollow.
    colours
        (point,), what each is drawn with: an index of the palette.
    names
        By index of the palette.
    links
        Pairs of points that a line joins.
    """

    frames: tuple[str, ...]
    places: _Array
    visible: npt.NDArray[np.bool_]
    colours: tuple[int, ...]
    names: Mapping[int, str]
    links: tuple[tuple[int, int], ...] = ()

    def draw(self, picture: npt.NDArray[np.uint8], frame: int, scale: float = 1.0) -> npt.NDArray[np.uint8]:
        """Draw the points of a frame, by its index, over a picture of it, which is `scale` times as large."""
        return overlay_points(
            picture, self.places[:, frame] * scale, self.colours, solid=self.visible[:, frame], links=self.links
        )


def result_marks(folder: Path) -> Marks:
    """Read the joints or points of a video's folder of results; raises LabelError for one that has neither."""
    if has_joints(folder):
        return found_joints(JointResult.read(folder))
    if has_tracks(folder):
        return found_points(TrackResult.read(folder))
    raise LabelError(f"there are no joints or points in {folder}: `ted propagate` makes them")


def found_joints(result: JointResult) -> Marks:
    """Return the joints of a result."""
    return _joint_marks(result.frames, result.joints, result.points.transpose(1, 0, 2))


def found_points(result: TrackResult) -> Marks:
    """Return the points of a result: a dataset's tracks are counted from 0, the ids of a user from 1."""
    first = 1 if result.mode == "given" else 0
    return _point_marks(result.frames, result.places, result.visible, result.tracks.tolist(), counted_from=first)


def true_marks(video: Video, frames: tuple[str, ...]) -> Marks | None:
    """Read the true joints or points of a video in some of its frames; None where it has neither.

    Of a user's own points, the given ones.

    Raises
    ------
    LabelError
        When they cannot be read.
    """
    if isinstance(video, JointVideo):
        true = video.joints.read(frames).transpose(1, 2, 0)  # (joint, frame, 2); it may be of the first frames alone
        places = np.full((len(true), len(frames), 2), np.nan)
        places[:, : true.shape[1]] = true
        return _joint_marks(frames, joint_names(len(places)), places)
    if isinstance(video, TrackVideo):
        tracks = video.tracks.read(frames, video.frames.size)
        numbers = list(range(len(tracks.places)))
        return _point_marks(frames, tracks.places, ~tracks.occluded, numbers, counted_from=0)
    if isinstance(video, PlaceVideo) and video.table.kind == "points":
        given = video.read_places()
        places = np.full((len(given.ids), len(frames), 2), np.nan)
        for index, rows in given.rows.items():
            if (name := video.frames.names[index]) in frames:
                places[:, frames.index(name)] = rows
        return _point_marks(frames, places, np.asarray(np.isfinite(places).all(2)), list(given.ids), counted_from=1)
    return None


def _joint_marks(frames: tuple[str, ...], names: tuple[str, ...], places: _Array) -> Marks:
    """Return joints, whose pixel (0, 0) has its centre there; absent ones are negative."""
    places = np.where(places[..., :1] >= 0, places, np.nan) + 0.5
    place_of = {name: place for place, name in enumerate(names)}
    return Marks(
        frames=frames,
        places=places,
        visible=np.asarray(np.isfinite(places).all(2)),
        colours=tuple(range(1, len(names) + 1)),
        names=dict(enumerate(names, 1)),
        links=tuple((place_of[a], place_of[b]) for a, b in _LIMBS if a in place_of and b in place_of),
    )


def _point_marks(
    frames: tuple[str, ...], places: _Array, visible: npt.NDArray[np.bool_], numbers: list[int], *, counted_from: int
) -> Marks:
    colours = tuple(object_colour(number + 1 - counted_from) for number in numbers)
    names = {colour: f"point {number}" for colour, number in zip(colours, numbers, strict=True)}
    return Marks(frames=frames, places=places, visible=visible, colours=colours, names=names)
