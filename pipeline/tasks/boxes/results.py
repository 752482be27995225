"""Results of boxes: ``boxes.npz``, and ``boxes.csv`` in MOTChallenge's layout."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..archives import ArchiveResult, format_coordinate, write_rows

__all__ = ["BoxResult"]


@dataclass(frozen=True, kw_only=True)
class BoxResult(ArchiveResult):
    """Boxes through a video.

    Attributes
    ----------
    numbers
        (frame,), number of each frame in the whole video, from 1.
    ids
        (object,), number of each object.
    boxes
        (object, frame, 4), float64, x, y, width and height in pixels of the original frames: pixel i covers [i, i + 1).
        NaN where the object is absent.
    mass
        (object, frame), float64: the remaining label, as a share of the label that the object began with.
    given
        (object, frame), bool: where its box was annotated.
    """

    archive = "boxes.npz"

    numbers: npt.NDArray[np.integer]
    ids: npt.NDArray[np.integer]
    boxes: npt.NDArray[np.float64]
    mass: npt.NDArray[np.float64]
    given: npt.NDArray[np.bool_]

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of `boxes` and `given`."""
        shape = len(self.ids), len(self.frames)
        return {"boxes": (*shape, 4), "given": shape}

    def write(self, folder: Path) -> None:
        """Write both files.

        The table has no header and a row for each frame and object that is present: frame, id, x, y, width, height,
        confidence (the mass, 1 at most), and three times -1, for MOTChallenge's world coordinates.
        """
        self.save(folder)
        rows = (
            (
                int(self.numbers[frame]),
                int(self.ids[row]),
                *map(format_coordinate, self.boxes[row, frame]),
                f"{min(self.mass[row, frame], 1.0):.4f}",
                *(-1, -1, -1),
            )
            for frame in range(len(self.frames))
            for row in np.flatnonzero(np.isfinite(self.boxes[:, frame]).all(1))
        )
        write_rows(folder / "boxes.csv", (), rows)
