"""Points through a video, as they are drawn."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .overlay import overlay_points

# A legend with more names would be larger than the pictures, and colours would repeat.
_MOST_NAMES = 40


@dataclass(frozen=True, kw_only=True, eq=False)
class Marks:
    """Points through a video."""

    frames: tuple[str, ...]  # names of the frames
    # (point, frame, 2), float64, x and y in pixels of the frames: pixel i covers [i, i + 1). NaN where not known.
    xy: npt.NDArray[np.float64]
    visible: npt.NDArray[np.bool_]  # (point, frame), bool: the others are drawn as rings
    colours: tuple[int, ...]  # (point,), colour of each, an index of the palette
    names: Mapping[int, str]  # names by index of the palette
    links: tuple[tuple[int, int], ...] = ()  # pairs of points that a line joins

    @property
    def legend(self) -> Mapping[int, str]:
        """Names by colour; none where there are too many."""
        return self.names if len(self.names) <= _MOST_NAMES else {}

    def draw(self, picture: npt.NDArray[np.uint8], frame: int, scale: float = 1.0) -> npt.NDArray[np.uint8]:
        """Draw the points of a frame, by its index, over a picture that is `scale` times as large as the frame."""
        return overlay_points(
            picture, self.xy[:, frame] * scale, self.colours, solid=self.visible[:, frame], links=self.links
        )
