"""Results that are read as a whole, and drawn frame by frame over pictures of any size."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...store.errors import LabelError
from ..choices.hints import plural
from ..datasets.video import Video
from ..pictures.marks import Marks
from .base import ResultFrames

__all__ = ["DrawnFrames", "MarkFrames"]

_Picture = npt.NDArray[np.uint8]


class DrawnFrames(ResultFrames):
    """Frames of a result.

    Parameters
    ----------
    video
        The video.
    folder
        Folder of the result.
    names
        Names of the result's frames.

    Attributes
    ----------
    index
        Indices of the result's frames, by name.

    Raises
    ------
    LabelError
        For a frame that is not a selected frame of the video.
    """

    def __init__(self, video: Video, folder: Path, names: Sequence[str]) -> None:
        self.index = {name: index for index, name in enumerate(names)}
        self._names = tuple(names)
        self._width = video.frames.size[1]
        unknown = self.index.keys() - set(video.frames.names)
        if unknown:
            raise LabelError(
                f"{folder} has frame {min(unknown)}, which is not selected in video {video.name!r}: the result has "
                f"{plural(len(names), 'frame')}, the selection {len(video.frames)}; select the same frames as for "
                "propagation"
            )

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of the result's frames."""
        return self._names

    def draw(self, picture: _Picture, frame: str) -> _Picture | None:
        """Draw the result of a frame; see `ResultFrames`."""
        return self._layer(picture, frame, truth=False) if frame in self.index else None

    def draw_truth(self, picture: _Picture, frame: str) -> _Picture | None:
        """Draw the ground truth of a frame; see `ResultFrames`."""
        return self._layer(picture, frame, truth=True) if self.has_truth and frame in self.index else None

    @abstractmethod
    def draw_layer(self, picture: _Picture, index: int, scale: float, *, truth: bool) -> _Picture:
        """Draw the result of a frame, or its ground truth.

        Parameters
        ----------
        picture
            (height, width, 3), RGB.
        index
            Index of the frame in the result.
        scale
            Size of the picture relative to the frame.
        truth
            Draw the ground truth; only with `has_truth`.
        """

    def _layer(self, picture: _Picture, frame: str, *, truth: bool) -> _Picture:
        return self.draw_layer(picture, self.index[frame], picture.shape[1] / self._width, truth=truth)


class MarkFrames(DrawnFrames):
    """Frames of a result that is drawn as points.

    Parameters
    ----------
    video
        The video.
    folder
        Folder of the result.
    found
        The points of the result.
    read_truth
        Returns the true points in the frames of the result, or None.

    Raises
    ------
    LabelError
        As `DrawnFrames`.
    """

    def __init__(self, video: Video, folder: Path, found: Marks, read_truth: Callable[[], Marks | None]) -> None:
        super().__init__(video, folder, found.frames)
        self._found, self._true = found, read_truth()
        self.has_truth = self._true is not None

    def legend(self, frames: Sequence[str], *, truth: bool = False) -> Mapping[int, str]:
        """Return the names of the points by colour; empty if there are too many."""
        true = self._true.legend if truth and self._true else {}
        return dict(sorted({**true, **self._found.legend}.items()))

    def draw_layer(self, picture: _Picture, index: int, scale: float, *, truth: bool) -> _Picture:
        """Draw the points of a frame; see `DrawnFrames`."""
        marks = self._true if truth and self._true else self._found
        return marks.draw(picture, index, scale)
