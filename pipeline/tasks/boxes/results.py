"""Results of boxes: an archive of arrays for this project, a table in MOTChallenge's layout for every other tool."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..archives import check_shape, number, read_archive, write_table

__all__ = ["BoxResult", "has_boxes"]

_ARCHIVE = "boxes.npz"


@dataclass(frozen=True, kw_only=True)
class BoxResult:
    """Boxes through a video: ``boxes.npz`` and ``boxes.csv``.

    Attributes
    ----------
    frames
        Names of the frames.
    numbers
        (frame,), number of each in the whole video, from 1.
    ids
        (object,), number of each object.
    boxes
        (object, frame, 4), float64, x, y, width and height in pixels of the original frames: pixel i covers [i, i + 1).
        NaN where the object is absent.
    mass
        (object, frame), float64: what is left of the label, as a share of what the object was given with.
    given
        (object, frame): where its box was given.
    """

    frames: tuple[str, ...]
    numbers: npt.NDArray[np.integer]
    ids: npt.NDArray[np.integer]
    boxes: npt.NDArray[np.float64]
    mass: npt.NDArray[np.float64]
    given: npt.NDArray[np.bool_]

    def write(self, folder: Path) -> None:
        """Write both files.

        The table has no header and a row for each frame and object that is present: frame, id, x, y, width, height,
        confidence (the mass, 1 at most), and three times -1, for what MOTChallenge has of the world.
        """
        np.savez(
            folder / _ARCHIVE,
            frames=self.frames,
            numbers=self.numbers,
            ids=self.ids,
            boxes=self.boxes,
            mass=self.mass,
            given=self.given,
        )
        rows = (
            (
                int(self.numbers[frame]),
                int(self.ids[place]),
                *map(number, self.boxes[place, frame]),
                f"{min(self.mass[place, frame], 1.0):.4f}",
                *(-1, -1, -1),
            )
            for frame in range(len(self.frames))
            for place in np.flatnonzero(np.isfinite(self.boxes[:, frame]).all(1))
        )
        write_table(folder / "boxes.csv", (), rows)

    @classmethod
    def read(cls, folder: Path) -> "BoxResult":
        """Read the archive; raises LabelError when it is absent or damaged."""
        path = folder / _ARCHIVE
        arrays = read_archive(path, ("frames", "numbers", "ids", "boxes", "mass", "given"))
        shape = len(arrays["ids"]), len(arrays["frames"])
        check_shape(path, arrays["boxes"], (*shape, 4))
        check_shape(path, arrays["given"], shape)
        frames = tuple(map(str, arrays.pop("frames")))
        return cls(frames=frames, **arrays)


def has_boxes(folder: Path) -> bool:
    """Whether a video's folder of results is of boxes."""
    return (folder / _ARCHIVE).is_file()
