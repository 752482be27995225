"""What is found and what is true of a video, drawn over pictures of its frames, which are smaller than these."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...store.errors import LabelError
from ..datasets.video import Video

__all__ = ["DrawnFrames", "Layer"]

#: Draws what there is in a frame, by its index in the result, over a picture of it that is so many times as large.
Layer = Callable[[NDArray[np.uint8], int, float], NDArray[np.uint8]]


class DrawnFrames:
    """The frames of a result.

    Parameters
    ----------
    video
        The video.
    folder
        Of the result.
    names
        Names of the result's frames.

    Attributes
    ----------
    index
        Their indices, by name.
    found, true
        What draws the result, and the truth if there is one; to be set.

    Raises
    ------
    LabelError
        For a frame that the video does not have.
    """

    found: Layer
    true: Layer | None = None

    def __init__(self, video: Video, folder: Path, names: Sequence[str]) -> None:
        self.index = {name: index for index, name in enumerate(names)}
        self._width = video.frames.size[1]
        unknown = self.index.keys() - set(video.frames.names)
        if unknown:
            raise LabelError(f"{folder} is of frame {min(unknown)}, which video {video.name!r} does not have")

    def draw(self, picture: NDArray[np.uint8], frame: str) -> NDArray[np.uint8] | None:
        """Draw what was found in a frame; None where the result has no such frame."""
        return self._over(picture, frame, self.found)

    def draw_truth(self, picture: NDArray[np.uint8], frame: str) -> NDArray[np.uint8] | None:
        """Draw what is true of a frame; None where that is not known."""
        return None if self.true is None else self._over(picture, frame, self.true)

    def _over(self, picture: NDArray[np.uint8], frame: str, layer: Layer) -> NDArray[np.uint8] | None:
        return layer(picture, self.index[frame], picture.shape[1] / self._width) if frame in self.index else None
