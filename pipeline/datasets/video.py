"""What a dataset gives: a video, with the masks that are known for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...extract.frames import FrameSource
from ...store.errors import LabelError
from .masks_io import read_first_mask

__all__ = ["Video"]


@dataclass(frozen=True, kw_only=True)
class Video:
    """One video of a dataset. Making it opens no frame.

    Attributes
    ----------
    dataset, name
        What it is called; the two together are unique in a run.
    frames
        Its frames, after any selection.
    first_mask
        Mask of its first frame, if there is one.
    frame_masks
        Masks by name of the frame, for all frames of the unselected video that have one; in the order of the frames.
    """

    dataset: str
    name: str
    frames: FrameSource
    first_mask: Path | None = None
    frame_masks: Mapping[str, Path] = field(default_factory=dict)

    def read_first_mask(self) -> npt.NDArray[np.uint8]:
        """Object numbers in the first frame: (height, width), 0 for the background.

        Raises
        ------
        LabelError
            When there is no such mask, or it cannot be used with these frames.
        """
        if self.first_mask is None:
            raise LabelError(
                f"video {self.name!r} has no mask for its first frame, from which propagation starts: give it with "
                "--mask, or put it into the Annotations of the DAVIS root"
            )
        return read_first_mask(self.first_mask, self.frames.size)

    def annotations(self) -> dict[str, Path]:
        """Masks of the selected frames that have one, by name of the frame, in order: the ground truth."""
        return {name: self.frame_masks[name] for name in self.frames.names if name in self.frame_masks}
