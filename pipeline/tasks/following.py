"""What is followed in videos of joints, points and boxes, and where it goes: targets to propagate, results to write."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ...propagate import Target
from ...propagate.targets.boxes import BoxTarget, TrackedBoxes
from ...propagate.targets.keypoints import ABSENT, KeypointTarget
from ...propagate.targets.points import PointTarget, TrackedPoints
from ...store.errors import LabelError
from ..datasets.jhmdb import JointVideo, joint_names
from ..datasets.place_video import GivenPlaces, PlaceVideo, frame_numbers, mask_boxes
from ..datasets.point_queries import QueryMode, choose_queries
from ..datasets.tapvid import TrackVideo
from ..datasets.video import Video
from .boxes.results import BoxResult
from .joints.results import JointResult
from .points.results import TrackResult

__all__ = ["Boxes", "Following", "GivenPoints", "Joints", "Points", "following_of"]


class Following(Protocol):
    """Targets in one video, and what is found of them."""

    @property
    def targets(self) -> Sequence[tuple[tuple[int, ...], Target[Any]]]:
        """Targets that are followed each for itself, and the frames in which each is given, rising."""

    @property
    def backward(self) -> bool:
        """Whether targets are followed to the frames before theirs, too."""

    @property
    def record(self) -> dict[str, Any]:
        """What is followed, JSON-compatible: a result of the same need not be made again."""

    def collect(self, number: int, frame: int, value: Any) -> None:
        """Take what one of the targets has decoded in a frame."""

    def write(self, folder: Path) -> None:
        """Write what was found."""


class Joints:
    """The joints of a person, all given in the first frame.

    Raises
    ------
    LabelError
        When the true joints of the first frame cannot be read.
    """

    def __init__(self, video: JointVideo) -> None:
        names = video.frames.names
        first = video.joints.read(names[:1])[:, :, 0].T  # (joint, 2)
        count = len(first)
        self._names = names
        self._joints = joint_names(count)
        self._found = np.full((len(names), count, 2), ABSENT)
        self.targets = [((0,), KeypointTarget(points={0: first}, size=video.frames.size))]
        self.backward = False
        self.record = {"joints": count, "given": hashlib.sha256(first.tobytes()).hexdigest()}

    def collect(self, number: int, frame: int, value: npt.NDArray[np.float64]) -> None:
        """Take the joints of a frame, (joint, 2)."""
        self._found[frame] = value

    @property
    def result(self) -> JointResult:
        """What was found."""
        return JointResult(frames=self._names, joints=self._joints, points=self._found)

    def write(self, folder: Path) -> None:
        """Write a `JointResult`."""
        self.result.write(folder)


class Points:
    """Points that are queried in several frames. Those of one frame are a target; none influences another.

    Raises
    ------
    LabelError
        When the true tracks cannot be read, or none is visible where it would be queried.
    """

    def __init__(self, video: TrackVideo, mode: QueryMode) -> None:
        names, size = video.frames.names, video.frames.size
        tracks = video.tracks.read(names, size)
        queries = choose_queries(tracks, mode)
        if not len(queries.frames):
            raise LabelError(f"video {video.name!r} has no visible point to begin with (queries: {mode})")
        groups = list(queries.by_frame())
        given = tracks.places[queries.tracks, queries.frames]  # (query, 2)
        self._names, self._mode, self._queries = names, mode, queries
        self._indices = [indices for _, indices in groups]
        self._places = np.full((len(given), len(names), 2), np.nan)
        self._mass = np.zeros((len(given), len(names)))
        self._visible = np.zeros((len(given), len(names)), dtype=bool)
        self.targets = [((frame,), PointTarget(points={frame: given[indices]}, size=size)) for frame, indices in groups]
        self.backward = mode == "strided"
        digest = hashlib.sha256(given.tobytes() + queries.frames.tobytes() + queries.tracks.tobytes()).hexdigest()
        self.record = {"queries": mode, "points": len(given), "given": digest}

    def collect(self, number: int, frame: int, value: TrackedPoints) -> None:
        """Take the points of one of the targets in a frame."""
        indices = self._indices[number]
        self._places[indices, frame], self._mass[indices, frame] = value.places, value.mass
        self._visible[indices, frame] = value.visible

    @property
    def result(self) -> TrackResult:
        """What was found."""
        return TrackResult(
            frames=self._names,
            mode=self._mode,
            query_frames=self._queries.frames,
            tracks=self._queries.tracks,
            places=self._places,
            mass=self._mass,
            visible=self._visible,
        )

    def write(self, folder: Path) -> None:
        """Write a `TrackResult`."""
        self.result.write(folder)


class GivenPoints:
    """Points that a user gives in any frames, followed to both ends of the video.

    Those that are given in the same frames are a target; none influences another.

    Raises
    ------
    LabelError
        When the table does not fit the video.
    """

    def __init__(self, video: PlaceVideo) -> None:
        given = video.read_places()
        count, frames = len(given.ids), len(video.frames)
        self._names, self._given = video.frames.names, given
        self._places = np.full((count, frames, 2), np.nan)
        self._mass = np.zeros((count, frames))
        self._visible = np.zeros((count, frames), dtype=bool)
        self._groups = given.groups()
        self.targets = [(tuple(rows), PointTarget(points=rows, size=video.frames.size)) for _, rows in self._groups]
        self.backward = True
        self.record = {"points": count, "given": _digest(given)}

    def collect(self, number: int, frame: int, value: TrackedPoints) -> None:
        """Take the points of one of the targets in a frame."""
        places = self._groups[number][0]
        self._places[places, frame], self._mass[places, frame] = value.places, value.mass
        self._visible[places, frame] = value.visible

    def write(self, folder: Path) -> None:
        """Write a `TrackResult`."""
        known = np.stack([np.isfinite(rows).all(1) for rows in self._given.rows.values()])  # (frame, point)
        TrackResult(
            frames=self._names,
            mode="given",
            query_frames=np.array(list(self._given.rows))[known.argmax(0)],
            tracks=np.array(self._given.ids),
            places=self._places,
            mass=self._mass,
            visible=self._visible,
        ).write(folder)


class Boxes:
    """Boxes in any frames, given by a user or around given masks, followed to both ends of the video.

    Those that are given in the same frames are a target; none influences another.

    Raises
    ------
    LabelError
        When the table, or a mask, does not fit the video.
    """

    def __init__(self, video: Video) -> None:
        given = video.read_places() if isinstance(video, PlaceVideo) else _boxes_of_masks(video)
        count, frames = len(given.ids), len(video.frames)
        self._names, self._numbers, self._given = video.frames.names, frame_numbers(video), given
        self._boxes = np.full((count, frames, 4), np.nan)
        self._mass = np.zeros((count, frames))
        self._groups = given.groups()
        self.targets = [(tuple(rows), BoxTarget(boxes=rows, size=video.frames.size)) for _, rows in self._groups]
        self.backward = True
        self.record = {"boxes": count, "given": _digest(given)}

    def collect(self, number: int, frame: int, value: TrackedBoxes) -> None:
        """Take the boxes of one of the targets in a frame."""
        places = self._groups[number][0]
        self._boxes[places, frame], self._mass[places, frame] = value.boxes, value.mass

    @property
    def result(self) -> BoxResult:
        """What was found."""
        given = np.zeros(self._mass.shape, dtype=bool)
        for frame, boxes in self._given.rows.items():
            given[:, frame] = np.isfinite(boxes).all(1)
        return BoxResult(
            frames=self._names,
            numbers=np.array(self._numbers),
            ids=np.array(self._given.ids),
            boxes=self._boxes,
            mass=self._mass,
            given=given,
        )

    def write(self, folder: Path) -> None:
        """Write a `BoxResult`."""
        self.result.write(folder)


def following_of(video: Video, mode: QueryMode) -> Following:
    """Return what is followed in a video: its joints, its points, its user's points, or the boxes of its objects.

    Raises
    ------
    LabelError
        When what is given cannot be read, or does not fit the video.
    """
    if isinstance(video, JointVideo):
        return Joints(video)
    if isinstance(video, TrackVideo):
        return Points(video, mode)
    if isinstance(video, PlaceVideo) and video.table.kind == "points":
        return GivenPoints(video)
    return Boxes(video)


def _boxes_of_masks(video: Video) -> GivenPlaces:
    """Return the boxes around the objects of a video's given masks."""
    masks = video.read_given_masks()
    ids = tuple(sorted({int(number) for mask in masks.values() for number in np.unique(mask) if number}))
    return GivenPlaces(ids=ids, rows={frame: mask_boxes(mask, ids) for frame, mask in masks.items()})


def _digest(given: GivenPlaces) -> str:
    """Hash what is given."""
    digest = hashlib.sha256(np.array(given.ids).tobytes())
    for frame, rows in given.rows.items():
        digest.update(f"{frame} ".encode() + rows.tobytes())
    return digest.hexdigest()
