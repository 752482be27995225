"""Results of keypoints and points: an archive of arrays for this project, and a table for every other tool."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from ...datasets.point_queries import QueryMode
from ..archives import check_shape, number, read_archive, write_table

__all__ = [
    "TrackMode",
    "TrackResult",
    "has_tracks",
]

_TRACKS = "tracks.npz"

#: How the points of a result were chosen: as TAP-Vid's queries, or given by a user.
TrackMode = QueryMode | Literal["given"]

_Array = npt.NDArray[np.float64]


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


def has_tracks(folder: Path) -> bool:
    """Whether a video's folder of results is of points."""
    return (folder / _TRACKS).is_file()
