"""Scoring of results that are masks: from soft labels in memory and from files, with the same numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ....propagate.targets.mask_target import MaskTarget
from ....store.errors import LabelError
from ...choices.hints import plural
from ..scoring import Labels, Score
from ..timing import Seconds, timed


class MaskTruth(Protocol):
    """The ground truth of a video, read and compared frame by frame; picklable.

    Attributes
    ----------
    name
        Name of the video.
    frames
        Names of the scored frames, in order.
    """

    name: str
    frames: tuple[str, ...]

    def read(self, frame: str) -> Any:
        """Read the ground truth of a frame."""

    def read_result(self, path: Path) -> npt.NDArray[np.uint8]:
        """Read a mask of a result; raises LabelError for one that does not fit the ground truth."""

    def measure(self, true: Any, ids: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Compare the mask of a result, (height, width), with the ground truth of its frame."""

    def score(self, measured: Sequence[npt.NDArray[Any]], *, by_frame: bool = False) -> Any:
        """Return the score from what `measure` returned for each of `frames`; with `by_frame`, in detail."""


@dataclass(frozen=True, kw_only=True)
class MaskEvaluator:
    """Scores soft labels of masks frame by frame, up to the last scored frame; paths of `truth` are absolute."""

    truth: MaskTruth
    frame_names: tuple[str, ...]
    target: MaskTarget

    def score(self, labels: Iterable[Labels], count: int, frame_size: tuple[int, int], seconds: Seconds) -> list[Score]:
        """Score the labels of several settings; see `Evaluator`."""
        (of_masks,) = labels
        columns = {self.frame_names.index(name): column for column, name in enumerate(self.truth.frames)}
        measured: list[list[Any]] = [[None] * len(columns) for _ in range(count)]
        for frame, of_settings in of_masks:
            if frame in columns:
                column = columns.pop(frame)
                with timed(seconds, "metrics"):
                    true = self.truth.read(self.frame_names[frame])
                for of_setting, label in zip(measured, of_settings, strict=True):
                    with timed(seconds, "decoding"):
                        ids = self.target.decode(frame, label, frame_size)
                    with timed(seconds, "metrics"):
                        of_setting[column] = self.truth.measure(true, ids)
            if not columns:
                break
        return [self.truth.score(of_setting) for of_setting in measured]


def score_files(truth: MaskTruth, results: Path) -> Any:
    """Score the masks of one video, ``<frame>.png``; raises LabelError for one that is missing or does not fit."""
    if not results.is_dir():
        raise LabelError(f"there are no results for video {truth.name!r}: no folder {results}")
    paths = {frame: results / f"{frame}.png" for frame in truth.frames}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        raise LabelError(
            f"video {truth.name!r} lacks {plural(len(missing), 'result')} in {results}, first {missing[0]}"
        )
    measured = [truth.measure(truth.read(frame), truth.read_result(path)) for frame, path in paths.items()]
    return truth.score(measured, by_frame=True)
