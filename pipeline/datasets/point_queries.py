"""Choose query points from true tracks, in TAP-Vid's two modes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

#: Step between query frames in the strided mode.
QUERY_STRIDE = 5

#: Query a point in the first frame that shows it, or in every fifth frame that does.
QueryMode = Literal["first", "strided"]


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """Point tracks through a video."""

    #: (track, frame, 2), float64, x and y in pixels of the video's frames: pixel i covers [i, i + 1).
    xy: npt.NDArray[np.float64]
    occluded: npt.NDArray[np.bool_]  # (track, frame), bool: True where the point is not visible


class TrackSource(Protocol):
    """Source of the true tracks of a video."""

    def read(self, names: Sequence[str], size: tuple[int, int]) -> Tracks:
        """Return the tracks through the frames of these names; `size` is (height, width) of the frames in pixels.

        Raises LabelError if they cannot be read, or do not fit the frames.
        """


@dataclass(frozen=True, kw_only=True)
class Queries:
    """Points to track. Each is tracked on its own, independently of the others."""

    frames: npt.NDArray[np.intp]  # (query,), index of the frame in which each point is annotated
    tracks: npt.NDArray[np.intp]  # (query,), index of its track

    def by_frame(self) -> Iterator[tuple[int, npt.NDArray[np.intp]]]:
        """Yield each frame with queries, in order, and their indices."""
        for frame in np.unique(self.frames):
            yield int(frame), np.flatnonzero(self.frames == frame)


def choose_queries(tracks: Tracks, mode: QueryMode) -> Queries:
    """Choose queries as TAP-Vid's readers do, in their order.

    ``"first"``: each track, in the first frame where it is visible. ``"strided"``: each track that is visible in frame
    0, then each that is visible in frame 5, and so on.
    """
    visible = ~tracks.occluded  # (track, frame)
    if mode == "first":
        seen = np.flatnonzero(visible.any(1))
        return Queries(frames=visible[seen].argmax(1), tracks=seen)
    at, seen = np.nonzero(visible[:, ::QUERY_STRIDE].T)
    return Queries(frames=at * QUERY_STRIDE, tracks=seen)
