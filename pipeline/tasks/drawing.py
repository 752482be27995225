"""Results frame by frame: drawn over pictures of any size and, with ground truth, scored."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...store.errors import LabelError
from ..choices.hints import plural
from ..datasets.video import Video
from ..pictures.marks import Marks

#: (height, width, 3), RGB.
Picture = npt.NDArray[np.uint8]


class ResultFrames(ABC):
    """A video's results, frame by frame, to be drawn and, with ground truth, scored.

    Attributes
    ----------
    noun
        Noun for the results, in the plural.
    metric
        Name of the metric that `score` returns.
    has_truth
        Whether `draw_truth` draws anything.
    frames
        Names of the frames with a result.
    ranked
        Names of the frames that a report may call the best or the worst.
    """

    noun: str
    metric: str = ""
    has_truth: bool = False
    frames: Sequence[str]
    ranked: Sequence[str] = ()

    @abstractmethod
    def draw(self, picture: Picture, frame: str) -> Picture | None:
        """Draw a frame's result over a picture of it, at any size: a new picture, or None without a result."""

    def draw_truth(self, picture: Picture, frame: str) -> Picture | None:
        """Draw a frame's ground truth over a picture of it; None where there is none. See `draw`."""
        return None

    def legend(self, frames: Sequence[str], *, truth: bool = False) -> Mapping[int, str]:
        """Return the meaning of the colours in some frames, by index of the palette.

        With `truth`, include colours that only the ground truth shows.
        """
        return {}

    def score(self, frame: str) -> float | None:
        """Return the score of a frame, the larger the better; None where there is nothing to score."""
        return None


class DrawnFrames(ResultFrames):
    """Frames of a result that is read as a whole; `index` has the indices of its frames, by name.

    Raises LabelError for a frame that is not a selected frame of the video.
    """

    def __init__(self, video: Video, folder: Path, names: Sequence[str]) -> None:
        check_selected(video, folder, names)
        self.index = {name: index for index, name in enumerate(names)}
        self.frames = tuple(names)
        self._width = video.frames.size[1]

    def draw(self, picture: Picture, frame: str) -> Picture | None:
        return self._layer(picture, frame, truth=False) if frame in self.index else None

    def draw_truth(self, picture: Picture, frame: str) -> Picture | None:
        return self._layer(picture, frame, truth=True) if self.has_truth and frame in self.index else None

    @abstractmethod
    def draw_layer(self, picture: Picture, index: int, scale: float, *, truth: bool) -> Picture:
        """Draw the result of a frame, by its index, or its ground truth; `scale` is picture size / frame size."""

    def _layer(self, picture: Picture, frame: str, *, truth: bool) -> Picture:
        return self.draw_layer(picture, self.index[frame], picture.shape[1] / self._width, truth=truth)


class MarkFrames(DrawnFrames):
    """Frames of a result that is drawn as points.

    `found` and `true` are the points in the frames of the result, and `score` scores a ranked frame by its index.
    """

    def __init__(
        self,
        video: Video,
        folder: Path,
        *,
        noun: str,
        metric: str,
        found: Marks,
        true: Marks | None,
        ranked: Sequence[str],
        score: Callable[[int], float | None],
    ) -> None:
        super().__init__(video, folder, found.frames)
        self.noun, self.metric, self.ranked, self.has_truth = noun, metric, ranked, true is not None
        self._found, self._true, self._score = found, true, score

    def legend(self, frames: Sequence[str], *, truth: bool = False) -> Mapping[int, str]:
        """Return the names of the points by colour; empty if there are too many."""
        true = self._true.legend if truth and self._true else {}
        return dict(sorted({**true, **self._found.legend}.items()))

    def draw_layer(self, picture: Picture, index: int, scale: float, *, truth: bool) -> Picture:
        """Draw the points of a frame; see `DrawnFrames`."""
        marks = self._true if truth and self._true else self._found
        return marks.draw(picture, index, scale)

    def score(self, frame: str) -> float | None:
        """Return the score of a ranked frame; see `ResultFrames`."""
        return self._score(self.index[frame]) if frame in self.ranked else None


def check_selected(video: Video, folder: Path, names: Sequence[str]) -> None:
    """Raise LabelError unless the frames of a result are selected frames of the video."""
    unknown = set(names) - set(video.frames.names)
    if unknown:
        raise LabelError(
            f"{folder} has frame {min(unknown)}, which is not selected in video {video.name!r}: the result has "
            f"{plural(len(names), 'frame')}, the selection {len(video.frames)}; select the same frames as for "
            "propagation"
        )
