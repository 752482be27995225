"""What a dataset gives: a video, with the masks that are known for it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...extract.frames import FrameSource
from ...store.errors import LabelError
from .masks_io import read_given_mask

__all__ = ["GivenMask", "Scoring", "Video"]

#: How results are scored. ``davis``: J&F of the objects of the first frame, without the first and the last frame.
#: ``objects``: J&F of each object, in frames of its own. ``parts``: IoU of classes, over the pixels of all videos.
#: ``pck``: share of joints placed correctly. ``tapvid``: TAP-Vid's measures of points. ``boxes``: overlap of boxes.
#: ``none``: not at all.
Scoring = Literal["davis", "objects", "parts", "pck", "tapvid", "boxes", "none"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class GivenMask:
    """A mask that propagation starts from.

    Attributes
    ----------
    path
        The file.
    object_ids
        The objects that it gives; None for all that it holds.
    """

    path: Path
    object_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Video:
    """One video of a dataset. Making it opens no frame.

    Attributes
    ----------
    dataset, name
        What it is called; the two together are unique in a run.
    frames
        Its frames, after any selection.
    given
        Masks that propagation starts from, by name of the frame, in the order of the frames of the unselected video.
    frame_masks
        Masks by name of the frame, for all frames of the unselected video that have one; in the order of the frames.
    object_frames
        Names of the frames in which each object is, in order; the first of them is given, the others are scored. Empty
        where that is not known.
    result_names
        Names of the frames whose masks are written; None for all.
    result_parent
        Folder between the results and the video's.
    scoring
        How results are scored.
    """

    dataset: str
    name: str
    frames: FrameSource
    given: Mapping[str, GivenMask] = field(default_factory=dict)
    frame_masks: Mapping[str, Path] = field(default_factory=dict)
    object_frames: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    result_names: tuple[str, ...] | None = None
    result_parent: str = ""
    scoring: Scoring = "davis"

    def read_given_masks(self) -> dict[int, npt.NDArray[np.uint8]]:
        """Read the masks that propagation starts from.

        Returns
        -------
        dict
            By index of the frame, rising: (height, width), object numbers, 0 where no object is given.

        Raises
        ------
        LabelError
            When there is none, or one cannot be used with these frames.
        """
        index_of = {name: index for index, name in enumerate(self.frames.names)} if self.given else {}
        masks = {}
        for name, mask in self.given.items():
            if name not in index_of:
                _log.warning(
                    "%s: the mask of frame %s is left out: the video, or what is selected of it, has no such frame",
                    self.name,
                    name,
                )
                continue
            ids = read_given_mask(mask.path, self.frames.size, mask.object_ids)
            absent = sorted(set(mask.object_ids or ()) - set(np.unique(ids).tolist()))
            if absent:
                _log.warning("%s: objects %s are not in their first mask %s", self.name, absent, mask.path)
            if ids.any():
                masks[index_of[name]] = ids
        if not masks:
            raise LabelError(
                f"video {self.name!r} has no mask to start from: give that of its first frame with --mask, or masks of "
                "any frames, boxes or points with --annotations, or put them into the Annotations of the dataset"
            )
        return dict(sorted(masks.items()))

    def annotated_frames(self) -> tuple[int, ...]:
        """Return the indices of the selected frames that have a given mask, rising; that of the first if none has."""
        return tuple(index for index, name in enumerate(self.frames.names) if name in self.given) or (0,)

    def annotations(self) -> dict[str, Path]:
        """Masks of the selected frames that have one, by name of the frame, in order: the ground truth."""
        return {name: self.frame_masks[name] for name in self.frames.names if name in self.frame_masks}

    def scored_frames(self) -> dict[int, tuple[str, ...]] | None:
        """Return the names of the selected frames in which each object is scored, by its number.

        Those are its own, but for the first, in which it is given. Objects whose first frame is not selected are left
        out. None where objects have no frames of their own.
        """
        if self.scoring != "objects":
            return None
        names = set(self.frames.names)
        return {
            number: tuple(frame for frame in frames[1:] if frame in names)
            for number, frames in self.object_frames.items()
            if frames[0] in names
        }

    def written_frames(self) -> tuple[str, ...]:
        """Return the names of the selected frames whose masks are written, in order."""
        names = self.frames.names
        return names if self.result_names is None else tuple(name for name in names if name in self.result_names)
