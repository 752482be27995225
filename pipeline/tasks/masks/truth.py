"""The ground truth of a video's masks: which objects are scored in which frames, by J and F."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ....store.errors import ConfigError, LabelError
from ...choices.hints import plural
from ...datasets.masks_io import MaskSequence, read_mask
from ...datasets.video import Video
from ...metrics.jf import TrueContour, region_similarity, statistics
from ...runs.result_folders import start_frames
from .evaluating import score_files
from .scores import MaskScore, ObjectScore

# The true masks of a frame's objects, and their contours where F is measured.
_TrueObjects = list[tuple[npt.NDArray[np.bool_], TrueContour | None]]


class SequenceTruth:
    """The ground truth of a video, read frame by frame.

    DAVIS leaves out the first and the last annotated frame, and scores the objects up to the largest number in the
    first annotation. YouTube-VOS scores each object in its own frames.

    Parameters
    ----------
    name
        The video's name.
    truth
        Masks, or their files by name of the frame, in order; see `MaskSequence` for their meaning.
    object_frames
        Names of the frames in which each object is scored, by its number; None for DAVIS' rule.
    contours
        Whether F is measured beside J.

    Attributes
    ----------
    object_ids
        Numbers of the scored objects, rising.
    scored
        (object, frame), bool: whether the object is scored in the frame.

    Raises
    ------
    ConfigError
        When there are fewer than three annotated frames, or no frame in which an object is to be scored.
    LabelError
        When the ground truth of a scored frame is missing, or the first annotation cannot be read or has no object.
    """

    def __init__(
        self,
        name: str,
        truth: Mapping[str, Path] | MaskSequence,
        object_frames: Mapping[int, Collection[str]] | None = None,
        *,
        contours: bool = True,
    ) -> None:
        self.masks = truth if isinstance(truth, MaskSequence) else MaskSequence(dict(truth))
        names = tuple(self.masks.paths)
        if object_frames is None and len(names) < 3:
            raise ConfigError(
                f"video {name!r} has {plural(len(names), 'annotated frame')}; J&F leaves out the first and the last "
                "and needs three"
            )
        self.name, self._contours = name, contours
        if object_frames is None:
            first = self.masks.read(names[0])
            self.frames = names[1:-1]
            self.object_ids = tuple(range(1, int(first.max()) + 1))
            self.scored = np.ones((len(self.object_ids), len(self.frames)), dtype=np.bool_)
            if not self.object_ids:
                raise LabelError(f"the first annotation of video {name!r} has no object: {self.masks.paths[names[0]]}")
        else:
            wanted = {frame for frames in object_frames.values() for frame in frames}
            self._check(wanted)
            self.frames = tuple(frame for frame in names if frame in wanted)
            self.object_ids = tuple(sorted(number for number, frames in object_frames.items() if frames))
            self.scored = np.array(
                [[frame in object_frames[number] for frame in self.frames] for number in self.object_ids]
            )
            first = self.masks.read(self.frames[0])
        self._known = set(self.object_ids if object_frames is None else object_frames)
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

    def read(self, frame: str) -> _TrueObjects:
        """Read a frame's annotation; raises LabelError when it cannot be read or is of another size."""
        ids = self.masks.read(frame, self.size)
        masks = [ids == number for number in self.object_ids]
        return [(mask, TrueContour(mask) if self._contours else None) for mask in masks]

    def read_result(self, path: Path) -> npt.NDArray[np.uint8]:
        """Read a result; if the ground truth is binary, 255 is its object here, too, as in results of other tools."""
        ids = read_mask(path, self.size)
        if self.masks.binary:
            self.masks.meant(ids)
        unknown = set(np.unique(ids).tolist()) - {0, *self._known}
        if unknown:
            raise LabelError(
                f"result {path} contains object {max(unknown)}, but the ground truth has only "
                f"{', '.join(map(str, sorted(self._known)))}"
            )
        return ids

    def measure(self, true: _TrueObjects, ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Return J and, with contours, F of every object, (metric, object); `ids` is (height, width)."""
        found = [ids == number for number in self.object_ids]
        j = [region_similarity(mask, predicted) for (mask, _), predicted in zip(true, found, strict=True)]
        pairs = [(contour, predicted) for (_, contour), predicted in zip(true, found, strict=True) if contour]
        return np.array([j, [contour.accuracy(predicted) for contour, predicted in pairs]] if self._contours else [j])

    def score(self, measured: Sequence[npt.NDArray[np.float64]], *, by_frame: bool = False) -> MaskScore:
        """Return statistics of each object over its scored frames, with `by_frame` also the values of the frames."""
        values = np.stack(measured, -1)  # (metric, object, frame)
        objects = []
        for row, (number, scored) in enumerate(zip(self.object_ids, self.scored, strict=True)):
            j, *f = values[:, row, scored]
            score = ObjectScore(
                object_id=number,
                frames=len(j),
                j=statistics(j),
                f=statistics(f[0]) if f else None,
                j_frames=tuple(j.tolist()) if by_frame else (),
                f_frames=tuple(f[0].tolist()) if by_frame and f else (),
                names=tuple(np.array(self.frames)[scored].tolist()) if by_frame and not scored.all() else None,
            )
            objects.append(score)
        return MaskScore(objects=tuple(objects), names=self.frames if by_frame else ())


def score_sequence(
    name: str,
    truth: Mapping[str, Path] | MaskSequence,
    results: Path,
    object_frames: Mapping[int, Collection[str]] | None = None,
) -> MaskScore:
    """Score the masks of one video.

    The first and the last annotated frame are left out. Objects are numbered from 1 to the largest number in the first
    annotation. An object missing from the results counts as empty; a number that no mask contains scores 1. With
    `object_frames`, each object is scored in its own frames instead.

    `truth` has masks, or their files by name of the frame, in order. Raises ConfigError when there is nothing to score,
    and LabelError when a mask is missing, cannot be read, differs in size, or has an object that the ground truth does
    not have.
    """
    score: MaskScore = score_files(SequenceTruth(name, truth, object_frames), results)
    return score


def scored_frames(video: Video, folder: Path) -> dict[int, tuple[str, ...]] | None:
    """Return the names of the frames in which each object of a result is scored, by its number.

    Masks of a user's own may be in any frames, and propagation can start from any of them. The result's record names
    these, by default the first.

    Raises ConfigError when propagation started from all true masks.
    """
    if not video.own_truth:
        return video.scored_frames()
    names, annotated = video.frames.names, list(video.annotations())
    if not annotated:
        if not video.frame_masks:
            raise ConfigError(f"video {video.name!r} has no true masks: name a folder of them with --truth")
        raise ConfigError(
            f"video {video.name!r} has no true mask: {plural(len(video.frame_masks), 'mask')} named like none of its "
            f"frames, {names[0]} to {names[-1]}"
        )
    started = {names[frame] for frame in start_frames(folder) if frame < len(names)} or set(annotated[:1])
    if started >= set(annotated):
        raise ConfigError(
            f"propagation of video {video.name!r} started from all {plural(len(annotated), 'true mask')}, so none is "
            "left to be scored: give the truth of more frames, or propagate from some of them alone"
        )
    return video.scored_frames(started)
