"""Results of joints: ``joints.npz`` and ``joints.csv``."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..archives import check_shape, number, read_archive, write_table

__all__ = ["JointResult", "has_joints"]

_JOINTS = "joints.npz"

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class JointResult:
    """The joints of a person through a video: ``joints.npz`` and ``joints.csv``.

    Attributes
    ----------
    frames
        Names of the frames.
    joints
        Names of the joints.
    points
        (frame, joint, 2), float64, x and y in pixels of the original frames, counted from 0; -1 for an absent joint.
    """

    frames: tuple[str, ...]
    joints: tuple[str, ...]
    points: _Array

    def write(self, folder: Path) -> None:
        """Write both files.

        The table has a row for each frame and joint: frame, joint, x, y. The places of absent joints are empty.
        """
        np.savez(folder / _JOINTS, frames=self.frames, joints=self.joints, points=self.points)
        rows = (
            (frame, joint, *(number(value) if place[0] >= 0 else "" for value in place))
            for frame, places in zip(self.frames, self.points, strict=True)
            for joint, place in zip(self.joints, places, strict=True)
        )
        write_table(folder / "joints.csv", ("frame", "joint", "x", "y"), rows)

    @classmethod
    def read(cls, folder: Path) -> "JointResult":
        """Read the archive; raises LabelError when it is absent or damaged."""
        arrays = read_archive(folder / _JOINTS, ("frames", "joints", "points"))
        frames, joints = (tuple(map(str, arrays[key])) for key in ("frames", "joints"))
        check_shape(folder / _JOINTS, arrays["points"], (len(frames), len(joints), 2))
        return cls(frames=frames, joints=joints, points=arrays["points"])


def has_joints(folder: Path) -> bool:
    """Whether a video's folder of results is of joints."""
    return (folder / _JOINTS).is_file()
