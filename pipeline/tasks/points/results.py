"""Results of points: ``tracks.npz`` and ``tracks.csv``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from ...datasets.point_queries import QueryMode
from ..archives import ArchiveResult, format_coordinate, write_rows

__all__ = ["TrackMode", "TrackResult"]

#: How the points of a result were chosen: as TAP-Vid's queries, or by a user.
TrackMode = QueryMode | Literal["given"]


@dataclass(frozen=True, kw_only=True)
class TrackResult(ArchiveResult):
    """Points through a video.

    Attributes
    ----------
    mode
        How the points were chosen.
    query_frames, tracks
        (query,), the frame in which each point was first annotated, and its track in the dataset, or its id.
    places
        (query, frame, 2), float64, x and y in pixels of the original frames: pixel i covers [i, i + 1). NaN where the
        point is lost, and in frames before the query's if the mode is ``first``.
    mass
        (query, frame), float64: the remaining label of the point, which began as 1.
    visible
        (query, frame), bool.
    """

    archive = "tracks.npz"

    mode: TrackMode
    query_frames: npt.NDArray[np.integer]
    tracks: npt.NDArray[np.integer]
    places: npt.NDArray[np.float64]
    mass: npt.NDArray[np.float64]
    visible: npt.NDArray[np.bool_]

    @classmethod
    def from_array(cls, name: str, array: npt.NDArray[Any]) -> Any:
        """Return the value of a field from its array in the archive."""
        if name == "mode":
            return next((mode for mode in (*get_args(QueryMode), "given") if mode == str(array)), "strided")
        return super().from_array(name, array)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of `places` and `visible`."""
        shape = len(self.query_frames), len(self.frames)
        return {"places": (*shape, 2), "visible": shape}

    def write(self, folder: Path) -> None:
        """Write both files.

        The table has a row for each frame and query: frame, point (number of the query), track, x, y, visible (0 or 1)
        and mass. Unknown coordinates are empty.
        """
        self.save(folder)
        rows = (
            (
                name,
                query,
                int(self.tracks[query]),
                *map(format_coordinate, self.places[query, frame]),
                int(self.visible[query, frame]),
                f"{self.mass[query, frame]:.4f}",
            )
            for frame, name in enumerate(self.frames)
            for query in range(len(self.tracks))
        )
        write_rows(folder / "tracks.csv", ("frame", "point", "track", "x", "y", "visible", "mass"), rows)
