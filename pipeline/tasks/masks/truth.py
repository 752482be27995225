"""J and F of one video, frame by frame; masks in files and in memory get the same scores."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ....store.errors import ConfigError, LabelError
from ...choices.hints import plural
from ...datasets.masks_io import MaskSequence, first_appearances
from ...datasets.video import Video
from ...metrics.jf import Statistics, TrueContour, region_similarity, statistics
from ...runs.result_folders import start_frames

__all__ = ["ObjectScore", "SequenceScore", "SequenceTruth", "TrueFrame", "object_scores", "scored_frames"]


@dataclass(frozen=True, kw_only=True)
class ObjectScore:
    """J and F of one object.

    Attributes
    ----------
    object_id
        Number of the object in the masks, from 1.
    j, f
        Statistics over the scored frames.
    j_frames, f_frames
        Values of the scored frames, in [0, 1].
    frames
        Names of the scored frames, if they differ between objects.
    """

    object_id: int
    j: Statistics
    f: Statistics
    j_frames: tuple[float, ...]
    f_frames: tuple[float, ...]
    frames: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class SequenceScore:
    """J and F of the objects of one video.

    Attributes
    ----------
    name
        The video's name.
    frames
        Names of the scored frames.
    objects
        The objects in the order of their numbers.
    """

    name: str
    frames: tuple[str, ...]
    objects: tuple[ObjectScore, ...]


class TrueFrame:
    """The ground truth of one frame.

    Parameters
    ----------
    ids
        (height, width), uint8, object numbers; 0 is background.
    numbers
        Objects that are scored.
    """

    def __init__(self, ids: npt.NDArray[np.uint8], numbers: Sequence[int]) -> None:
        self._masks = {number: ids == number for number in numbers}

    @cached_property
    def _contours(self) -> list[TrueContour]:
        return [TrueContour(mask) for mask in self._masks.values()]

    def region_similarity(self, predicted: npt.NDArray[np.uint8]) -> list[float]:
        """Return J of every object; `predicted` is (height, width), object numbers."""
        return [region_similarity(mask, predicted == number) for number, mask in self._masks.items()]

    def contour_accuracy(self, predicted: npt.NDArray[np.uint8]) -> list[float]:
        """Return F of every object; `predicted` is (height, width), object numbers."""
        pairs = zip(self._masks, self._contours, strict=True)
        return [contour.accuracy(predicted == number) for number, contour in pairs]


class SequenceTruth:
    """The ground truth of a video, read frame by frame.

    DAVIS leaves out the first and the last annotated frame, and scores the objects up to the largest number in the
    first annotation. YouTube-VOS scores each object in its own frames.

    Parameters
    ----------
    name
        The video's name.
    truth
        Masks by name of the frame, in order; see `MaskSequence` for their meaning.
    object_frames
        Names of the frames in which each object is scored, by its number; None for DAVIS' rule.

    Attributes
    ----------
    frames
        Names of the frames in which any object is scored.
    size
        (height, width) in pixels.
    object_ids
        Numbers of the scored objects, rising.
    scored
        (object, frame), bool: whether the object is scored in the frame.
    masks
        The true masks.

    Raises
    ------
    ConfigError
        When there are fewer than three annotated frames, or no frame in which an object is to be scored.
    LabelError
        When the ground truth of a scored frame is missing, or the first annotation cannot be read or has no object.
    """

    def __init__(
        self, name: str, truth: Mapping[str, Path], object_frames: Mapping[int, Collection[str]] | None = None
    ) -> None:
        if object_frames is None and len(truth) < 3:
            raise ConfigError(
                f"video {name!r} has {plural(len(truth), 'annotated frame')}; J&F leaves out the first and the last "
                "and needs three"
            )
        self.name = name
        self.masks = MaskSequence(dict(truth))
        names = tuple(truth)
        if object_frames is None:
            first = self.masks.read(names[0])
            self.frames = names[1:-1]
            self.object_ids = tuple(range(1, int(first.max()) + 1))
            self.scored = np.ones((len(self.object_ids), len(self.frames)), dtype=np.bool_)
            if not self.object_ids:
                raise LabelError(f"the first annotation of video {name!r} has no object: {truth[names[0]]}")
        else:
            wanted = {frame for frames in object_frames.values() for frame in frames}
            self._check(wanted)
            self.frames = tuple(frame for frame in names if frame in wanted)
            self.object_ids = tuple(sorted(number for number, frames in object_frames.items() if frames))
            self.scored = np.array(
                [[frame in object_frames[number] for frame in self.frames] for number in self.object_ids]
            )
            first = self.masks.read(self.frames[0])
        self.size = (first.shape[0], first.shape[1])

    def _check(self, wanted: Collection[str]) -> None:
        if not wanted:
            raise ConfigError(
                f"there is nothing to score of video {self.name!r}: an object is annotated in its first frame, and "
                "scored in later ones"
            )
        missing = sorted(set(wanted) - self.masks.paths.keys())
        if missing:
            raise LabelError(
                f"there is no ground truth for {plural(len(missing), 'frame')} of video {self.name!r}, first "
                f"{missing[0]}: that of YouTube-VOS' validation set is not public, so score a split that has it"
            )

    def read(self, frame: str) -> TrueFrame:
        """Read a frame's annotation; raises LabelError when it cannot be read or is of another size."""
        return TrueFrame(self.masks.read(frame, self.size), self.object_ids)


def object_scores(
    truth: SequenceTruth, j: npt.NDArray[np.float64], f: npt.NDArray[np.float64]
) -> tuple[ObjectScore, ...]:
    """Return J and F of each object over its scored frames; `j` and `f` are (object, frame)."""
    return tuple(
        ObjectScore(
            object_id=number,
            j=statistics(j_frames[scored]),
            f=statistics(f_frames[scored]),
            j_frames=tuple(j_frames[scored].tolist()),
            f_frames=tuple(f_frames[scored].tolist()),
            frames=None if scored.all() else tuple(np.array(truth.frames)[scored].tolist()),
        )
        for number, j_frames, f_frames, scored in zip(truth.object_ids, j, f, truth.scored, strict=True)
    )


def scored_frames(video: Video, folder: Path) -> dict[int, tuple[str, ...]] | None:
    """Return the names of the frames in which each object of a result is scored, by its number.

    In a folder of a user's own masks, propagation can start from any mask. The result's record names the masks that it
    started from, by default the first; the others are scored, including the last. An object that joined is scored after
    its first annotation. For other videos, see `Video.scored_frames`.

    Parameters
    ----------
    video
        The video, with its ground truth.
    folder
        Folder of its results.

    Raises
    ------
    ConfigError
        When propagation started from all true masks.
    """
    annotated = list(video.annotations())
    if len(annotated) < 2 or video.object_frames or not set(annotated) <= set(video.annotated_masks):
        return video.scored_frames()
    names = video.frames.names
    given = {names[frame] for frame in start_frames(folder) if frame < len(names)} or set(annotated[:1])
    left = [name for name in annotated if name not in given]
    if not left:
        raise ConfigError(
            f"propagation of video {video.name!r} started from all {len(annotated)} true masks, so none is left to "
            "be scored: propagate from some of them alone"
        )
    started = {name: path for name, path in video.annotations().items() if name in given}
    first = first_appearances(started or video.annotations())
    begin = names.index(min(first.values(), key=names.index)) if first else 0
    return {
        number: tuple(name for name in left if names.index(frame) == begin or names.index(name) > names.index(frame))
        for number, frame in sorted(first.items())
    }
