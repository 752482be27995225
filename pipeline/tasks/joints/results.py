"""Results of joints: ``joints.npz`` and ``joints.csv``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..archives import ArchiveResult, format_coordinate, write_rows

__all__ = ["JointResult"]


@dataclass(frozen=True, kw_only=True)
class JointResult(ArchiveResult):
    """Joints of a person through a video.

    Attributes
    ----------
    joints
        Names of the joints.
    points
        (frame, joint, 2), float64, x and y in pixels of the original frames, counted from 0; -1 for an absent joint.
    """

    archive = "joints.npz"
    texts = ("frames", "joints")

    joints: tuple[str, ...]
    points: npt.NDArray[np.float64]

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of `points`."""
        return {"points": (len(self.frames), len(self.joints), 2)}

    def write(self, folder: Path) -> None:
        """Write both files.

        The table has a row for each frame and joint: frame, joint, x, y. Coordinates of absent joints are empty.
        """
        self.save(folder)
        rows = (
            (frame, joint, *(format_coordinate(value if xy[0] >= 0 else np.nan) for value in xy))
            for frame, of_frame in zip(self.frames, self.points, strict=True)
            for joint, xy in zip(self.joints, of_frame, strict=True)
        )
        write_rows(folder / "joints.csv", ("frame", "joint", "x", "y"), rows)
