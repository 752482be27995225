"""JHMDB's joint_positions.mat: the joints of a clip."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...store.errors import LabelError

__all__ = ["JointFile"]


@dataclass(frozen=True, kw_only=True)
class JointFile:
    """The joints of a clip, in a MATLAB file that is not read before they are asked for.

    Attributes
    ----------
    path
        A file with ``pos_img``: (2, joint, frame), x and y in pixels counted from 1.
    frame_names
        Names of the clip's frames. The file may cover only the first of them.
    """

    path: Path
    frame_names: tuple[str, ...]

    def read(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return the joints of some frames: (2, joint, frame), x and y in pixels counted from 0.

        Joints may lie outside the frame. Frames that the file does not cover are left out.

        Parameters
        ----------
        names
            Names of frames, in order; the first of them must be covered.

        Raises
        ------
        LabelError
            When the file cannot be read, holds no such array, or does not cover the first frame.
        """
        positions = _read_positions(self.path)
        index = {name: at for at, name in enumerate(self.frame_names[: positions.shape[2]])}
        if names[0] not in index:
            raise LabelError(f"{self.path} has joints of {positions.shape[2]} frames, and not of frame {names[0]}")
        return positions[:, :, [index[name] for name in names if name in index]] - 1


def _read_positions(path: Path) -> npt.NDArray[np.float64]:
    from scipy.io import loadmat  # only here: it takes a quarter of a second to import

    if not path.is_file():
        raise LabelError(f"there are no joints: no file {path}")
    try:
        content = loadmat(path, variable_names=["pos_img"], appendmat=False)
    except Exception as error:  # of many kinds, by where in the file the damage is
        raise LabelError(f"cannot read joints from {path}: {str(error) or type(error).__name__}") from error
    positions = content.get("pos_img")
    if positions is not None and positions.ndim == 2:  # MATLAB drops a last axis of one frame
        positions = positions[:, :, None]
    if positions is None or positions.ndim != 3 or positions.dtype.kind not in "iuf" or positions.shape[0] != 2:
        found = "none" if positions is None else f"{positions.dtype} of shape {positions.shape}"
        raise LabelError(f"{path} must hold pos_img, numbers of shape (2, joint, frame); found: {found}")
    if not positions.size or not np.isfinite(positions).all():
        raise LabelError(f"{path}: pos_img is empty, or holds values that are not finite")
    return np.asarray(positions, dtype=np.float64)
