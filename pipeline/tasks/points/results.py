"""Results of keypoints and points: an archive of arrays for this project, and a table for every other tool."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from ....store.errors import LabelError
from ...datasets.point_queries import QueryMode

__all__ = [
    "JointResult",
    "TrackMode",
    "TrackResult",
    "check_frames",
    "check_shape",
    "has_joints",
    "has_tracks",
    "number",
    "read_archive",
    "write_table",
]

_JOINTS, _TRACKS = "joints.npz", "tracks.npz"

#: How the points of a result were chosen: as TAP-Vid's queries, or given by a user.
TrackMode = QueryMode | Literal["given"]

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class JointResult:
    """The joints of a person through a video: ``joints.npz`` and ``joints.csv``.

    Attributes
    ----------
    frames
        Names of the frames.
    joints
        Names of the joints.
    points
        (frame, joint, 2), float64, x and y in pixels of the original frames, counted from 0; -1 for an absent joint.
    """

    frames: tuple[str, ...]
    joints: tuple[str, ...]
    points: _Array

    def write(self, folder: Path) -> None:
        """Write both files.

        The table has a row for each frame and joint: frame, joint, x, y. The places of absent joints are empty.
        """
        np.savez(folder / _JOINTS, frames=self.frames, joints=self.joints, points=self.points)
        rows = (
            (frame, joint, *(number(value) if place[0] >= 0 else "" for value in place))
            for frame, places in zip(self.frames, self.points, strict=True)
            for joint, place in zip(self.joints, places, strict=True)
        )
        write_table(folder / "joints.csv", ("frame", "joint", "x", "y"), rows)

    @classmethod
    def read(cls, folder: Path) -> "JointResult":
        """Read the archive; raises LabelError when it is absent or damaged."""
        arrays = read_archive(folder / _JOINTS, ("frames", "joints", "points"))
        frames, joints = (tuple(map(str, arrays[key])) for key in ("frames", "joints"))
        check_shape(folder / _JOINTS, arrays["points"], (len(frames), len(joints), 2))
        return cls(frames=frames, joints=joints, points=arrays["points"])


@dataclass(frozen=True, kw_only=True)
class TrackResult:
    """Points through a video: ``tracks.npz`` and ``tracks.csv``.

    Attributes
    ----------
    frames
        Names of the frames.
    mode
        How the points were chosen.
    query_frames, tracks
        (query,), the frame in which each point was first given, and the track of the dataset, or the id, that it is of.
    places
        (query, frame, 2), float64, x and y in pixels of the original frames: pixel i covers [i, i + 1). NaN where the
        point is lost, and where it was not asked for: in frames before the query's, if queries are those of ``first``.
    mass
        (query, frame), float64: what is left of the point's label, which began as 1.
    visible
        (query, frame).
    """

    frames: tuple[str, ...]
    mode: TrackMode
    query_frames: npt.NDArray[np.integer]
    tracks: npt.NDArray[np.integer]
    places: _Array
    mass: _Array
    visible: npt.NDArray[np.bool_]

    def write(self, folder: Path) -> None:
        """Write both files.

        The table has a row for each frame and query: frame, point (number of the query), track, x, y, visible (0 or 1)
        and mass. Places that are not known are empty.
        """
        np.savez(
            folder / _TRACKS,
            frames=self.frames,
            mode=self.mode,
            query_frames=self.query_frames,
            tracks=self.tracks,
            places=self.places,
            mass=self.mass,
            visible=self.visible,
        )
        rows = (
            (
                name,
                query,
                int(self.tracks[query]),
                *("" if np.isnan(value) else number(value) for value in self.places[query, frame]),
                int(self.visible[query, frame]),
                f"{self.mass[query, frame]:.4f}",
            )
            for frame, name in enumerate(self.frames)
            for query in range(len(self.tracks))
        )
        write_table(folder / "tracks.csv", ("frame", "point", "track", "x", "y", "visible", "mass"), rows)

    @classmethod
    def read(cls, folder: Path) -> "TrackResult":
        """Read the archive; raises LabelError when it is absent or damaged."""
        path = folder / _TRACKS
        arrays = read_archive(path, ("frames", "mode", "query_frames", "tracks", "places", "mass", "visible"))
        frames, queries = tuple(map(str, arrays["frames"])), len(arrays["query_frames"])
        check_shape(path, arrays["places"], (queries, len(frames), 2))
        check_shape(path, arrays["visible"], (queries, len(frames)))
        modes: tuple[TrackMode, ...] = (*get_args(QueryMode), "given")
        return cls(
            frames=frames,
            mode=next((mode for mode in modes if mode == str(arrays["mode"])), "strided"),
            query_frames=arrays["query_frames"],
            tracks=arrays["tracks"],
            places=arrays["places"],
            mass=arrays["mass"],
            visible=arrays["visible"],
        )


def has_joints(folder: Path) -> bool:
    """Whether a video's folder of results is of joints."""
    return (folder / _JOINTS).is_file()


def has_tracks(folder: Path) -> bool:
    """Whether a video's folder of results is of points."""
    return (folder / _TRACKS).is_file()


def number(value: float) -> str:
    """Return a place as tables have it."""
    return f"{value:.3f}"


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table; without a header line if `header` is empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if header:
            writer.writerow(header)
        writer.writerows(rows)


def read_archive(path: Path, keys: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Read arrays of an archive; raises LabelError when it is absent or damaged."""
    if not path.is_file():
        raise LabelError(f"there is no {path}; `ted propagate` makes it")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in keys}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise LabelError(f"{path} is damaged ({error}): run `ted propagate` again with --overwrite") from error


def check_shape(path: Path, array: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    """Check an array of an archive; raises LabelError when it has another shape."""
    if array.shape != shape:
        raise LabelError(f"{path} is damaged (an array is {array.shape}, not {shape}): run `ted propagate` again")


def check_frames(folder: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    """Check that a result is of the frames of a video as it is selected; raises LabelError for others."""
    if tuple(found) != tuple(wanted):
        raise LabelError(
            f"{folder} is of {len(found)} frames, the video as selected here has {len(wanted)}, or others: give "
            "--every and --limit as in `ted propagate`"
        )
