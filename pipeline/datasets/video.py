"""A video of a dataset, with its annotations and ground truth."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...extract.frames import FrameSource, ImageFrames
from ...store.errors import FrameError, LabelError
from .listing import list_images
from .masks_io import MaskSequence, first_appearances, read_annotated_mask

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AnnotatedMask:
    """A mask that propagation starts from."""

    path: Path  # the file
    object_ids: tuple[int, ...] | None = None  # the objects that are annotated in it; None for all that it holds


@dataclass(frozen=True, kw_only=True)
class Video:
    """One video of a dataset. Creating it opens no frame.

    Attributes
    ----------
    dataset, name
        Names of the dataset and the video, a unique pair in a run.
    frames
        The frames, after any selection.
    annotated_masks
        Masks that propagation starts from, by name of the frame, in the order of the frames of the unselected video.
    frame_masks
        Masks by name of the frame, for all frames of the unselected video that have one, in the order of the frames.
    object_frames
        Names of the frames that contain each object, in order: the object is annotated in the first, and scored in the
        others. Empty where the dataset has no such lists.
    objects_join
        Whether each object is annotated where it first appears in `frame_masks`, and not only in the first frame.
    own_truth
        Whether the masks are a user's own: all of `frame_masks` are scored, except those that propagation starts from.
    result_names
        Names of the frames whose masks are written; None for all.
    result_parent
        Folder between the folder of results and the video's folder.
    tasks
        Names of the tasks that the annotations are for; the first is the default.
    annotation_file
        Annotations in a task's own format (`Task.reads`).
    text
        A sentence of the dataset that describes the object; empty if there is none.
    """

    dataset: str
    name: str
    frames: FrameSource
    annotated_masks: Mapping[str, AnnotatedMask] = field(default_factory=dict)
    frame_masks: Mapping[str, Path] = field(default_factory=dict)
    object_frames: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    objects_join: bool = False
    own_truth: bool = False
    result_names: tuple[str, ...] | None = None
    result_parent: str = ""
    tasks: tuple[str, ...] = ("masks", "boxes")
    annotation_file: Path | None = None
    text: str = ""

    def read_annotated_masks(self) -> dict[int, npt.NDArray[np.uint8]]:
        """Read the masks that propagation starts from; log a warning about objects that are not tracked.

        Returns
        -------
        dict
            Masks (height, width) by index of the frame, rising: object numbers, 0 where no object is annotated.

        Raises
        ------
        LabelError
            When there is none, or one cannot be used with these frames.
        """
        given = self._start_masks()
        index_of = {name: index for index, name in enumerate(self.frames.names)}
        meaning = MaskSequence({name: mask.path for name, mask in given.items()})
        masks = {}
        for name, mask in given.items():
            if name not in index_of:
                _log.warning(
                    "%s: the mask of frame %s is left out: the selected video has no such frame",
                    self.name,
                    name,
                )
                continue
            ids = read_annotated_mask(
                mask.path, self.frames.size, mask.object_ids, binary=meaning.binary if len(given) > 1 else None
            )
            absent = sorted(set(mask.object_ids or ()) - set(np.unique(ids).tolist()))
            if absent:
                _log.warning("%s: objects %s are not in their first mask %s", self.name, absent, mask.path)
            if ids.any():
                masks[index_of[name]] = ids
        if not masks:
            raise LabelError(
                f"video {self.name!r} has no mask to start from: give a mask of its first frame with --mask, or masks "
                "of any frames, boxes or points with --annotations, or put them into the Annotations of the dataset"
            )
        self._log_joining(masks)
        return dict(sorted(masks.items()))

    def annotated_frames(self) -> tuple[int, ...]:
        """Return the indices of the selected frames that have an annotated mask, rising; 0 if none has."""
        given = self._start_masks()
        return tuple(index for index, name in enumerate(self.frames.names) if name in given) or (0,)

    def annotations(self) -> dict[str, Path]:
        """Return the masks of the selected frames that have one, by name of the frame, in order: the ground truth."""
        return {name: self.frame_masks[name] for name in self.frames.names if name in self.frame_masks}

    def true_masks(self) -> MaskSequence:
        """Return the ground truth of the selected frames, to be read frame by frame."""
        return MaskSequence(self.annotations())

    def scored_frames(self, started: Collection[str] = ()) -> dict[int, tuple[str, ...]] | None:
        """Return the names of the selected frames in which each object is scored, by its number.

        None for DAVIS' rule: objects of the first annotation, in all annotated frames except the first and the last.
        An object that joins is scored in the annotated frames after its first one, except the last if DAVIS' rule
        applies to the others. Objects whose first frame is not selected are left out.

        With `own_truth`, masks in the frames that propagation started from are not scored, and all others are,
        including the last.

        Parameters
        ----------
        started
            Names of the frames that propagation started from, with `own_truth`; by default the annotated ones.
        """
        if self.own_truth:
            return self._own_scored_frames(started or self.annotated_masks)
        names = set(self.frames.names)
        if self.object_frames:
            return {
                number: tuple(frame for frame in frames[1:] if frame in names)
                for number, frames in self.object_frames.items()
                if frames[0] in names
            }
        annotated = list(self.annotations())
        if self._start_masks() is self.annotated_masks:
            return None
        return {
            number: tuple(annotated[annotated.index(first) + 1 : -1])
            for number, first in sorted(first_appearances(self.annotations()).items())
        }

    def _own_scored_frames(self, started: Collection[str]) -> dict[int, tuple[str, ...]]:
        true, order = self.annotations(), self.frames.names.index
        left = [name for name in true if name not in started]
        first = first_appearances({name: path for name, path in true.items() if name in started} or true)
        begin = min(map(order, first.values()), default=0)
        return {
            number: tuple(name for name in left if order(frame) == begin or order(name) > order(frame))
            for number, frame in sorted(first.items())
        }

    def written_frames(self) -> tuple[str, ...]:
        """Return the names of the selected frames whose masks are written, in order."""
        names = self.frames.names
        return names if self.result_names is None else tuple(name for name in names if name in self.result_names)

    def first_frame_only(self) -> "Video":
        """Return the video with only its first annotated mask: objects that join later are not tracked or scored."""
        if not self.annotated_masks:
            return self
        frame, mask = next(iter(self.annotated_masks.items()))
        return replace(
            self,
            annotated_masks={frame: mask},
            object_frames={
                number: frames for number, frames in self.object_frames.items() if number in (mask.object_ids or ())
            },
            objects_join=False,
        )

    def _start_masks(self) -> Mapping[str, AnnotatedMask]:
        """Return the masks that propagation starts from; with `objects_join`, those of all first appearances."""
        if not (self.objects_join and self.annotated_masks and len(self.annotations()) > 1):
            return self.annotated_masks
        joining: dict[str, list[int]] = {}
        for number, frame in first_appearances(self.annotations()).items():
            joining.setdefault(frame, []).append(number)
        if set(joining) <= set(self.annotated_masks):
            return self.annotated_masks
        return {
            frame: AnnotatedMask(path=self.frame_masks[frame], object_ids=tuple(sorted(numbers)))
            for frame, numbers in joining.items()
        }

    def _log_joining(self, masks: Mapping[int, npt.NDArray[np.uint8]]) -> None:
        """Log a warning about objects that join later: they are tracked, or left out by the dataset's protocol."""
        if self.object_frames:
            joining = sorted(number for index, mask in list(masks.items())[1:] for number in np.unique(mask[mask > 0]))
            if joining:
                names = ", ".join(map(str, joining))
                objects = f"objects {names} join" if len(joining) > 1 else f"object {names} joins"
                _log.warning("%s: %s after the first frame: followed from there", self.name, objects)
            return
        if "masks" not in self.tasks or len(self.annotations()) < 2:
            return
        first = next(iter(self.annotations()))
        followed = {int(number) for mask in masks.values() for number in np.unique(mask)}
        try:
            appearances = first_appearances(self.annotations())
        except LabelError:
            return  # evaluation reports masks that cannot be read
        for number, frame in appearances.items():
            if frame != first and number in followed and self.objects_join:
                _log.warning("%s: object %d joins in frame %s, and is followed from there", self.name, number, frame)
            elif number not in followed:
                _log.warning(
                    "%s: object %d, first annotated in frame %s, is neither followed nor scored: videos of %s are "
                    "propagated from their first frame alone; give masks of any frames with --annotations to follow it",
                    self.name, number, frame, self.dataset,
                )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Source:
    """A path, and options to open it.

    Attributes
    ----------
    path
        The root of a dataset, a pickle of TAP-Vid, a folder of images, a video file, or an image of several pages.
    first_mask
        Mask of the first frame of a user's own video; datasets have their own.
    annotations
        Instead: a folder of masks of any frames, a table of boxes or points, or a file in a task's own format.
    truth
        Ground truth of a user's own video, in the same forms. Without other annotations, propagation starts from its
        first mask.
    tasks
        Names of the tasks that read the annotations in their own format.
    set_name
        List of a DAVIS or VIP root or of synthetic tracks (default ``val``), or split of a JHMDB root (default
        ``split1``).
    resolution
        Folder between ``JPEGImages`` and the sequences of a DAVIS root.
    """

    path: Path
    first_mask: Path | None = None
    annotations: Path | None = None
    truth: Path | None = None
    tasks: tuple[str, ...] = ()
    set_name: str | None = None
    resolution: str = "480p"

    def set_or(self, default: str) -> str:
        """Return the name of the set, or a dataset's default."""
        return default if self.set_name is None else self.set_name


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A layout of videos on disk: a folder, or a file."""

    kind: str  # description for messages
    matches: Callable[[Path], bool]  # tells whether a path is such a dataset
    names: Callable[[Source], tuple[str, ...]]  # returns the names of its videos
    video: Callable[[Source, str], Video]  # opens one video


def image_video(dataset: str, name: str, folder: Path, masks: Mapping[str, Path], **fields: Any) -> Video:
    """Return a video of the image files in a folder; the mask of its first frame, if any, is the annotation.

    `masks` are by name of the frame, and those of other frames are left out; `fields` are further ones of the `Video`.
    Raises FrameError if the folder is missing or has no images.
    """
    if not folder.is_dir():
        raise FrameError(f"video {name!r} has no folder {folder}; check the root and the list of videos")
    images = list_images(folder)
    if not images:
        raise FrameError(f"video {name!r} has no frames: no images in {folder}")
    stems = [image.stem for image in images]
    defaults: dict[str, Any] = {
        "annotated_masks": {stem: AnnotatedMask(path=masks[stem]) for stem in stems[:1] if stem in masks},
        "frame_masks": {stem: masks[stem] for stem in stems if stem in masks},
    }
    return Video(dataset=dataset, name=name, frames=ImageFrames(images), **defaults | fields)
