"""Mean IoU of classes, as VIP's evaluation takes it: over the pixels of all frames of all videos together."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...store.errors import ConfigError, LabelError
from ..datasets.masks_io import read_mask
from ..runs.files import written_whole

__all__ = ["VIP_CLASSES", "PartsScore", "confusion", "intersection_over_union", "score_parts", "write_parts"]

#: The classes of VIP by their numbers.
VIP_CLASSES = (
    "background", "hat", "hair", "sun-glasses", "upper-clothes", "dress", "coat", "socks", "pants", "gloves", "scarf",
    "skirt", "torso-skin", "face", "right-arm", "left-arm", "right-leg", "left-leg", "right-shoe", "left-shoe",
)  # fmt: skip

_Counts = npt.NDArray[np.int64]


def confusion(truth: npt.NDArray[np.uint8], prediction: npt.NDArray[np.uint8], classes: int) -> _Counts:
    """Count the pixels of each pair of classes.

    Parameters
    ----------
    truth, prediction
        (height, width), class numbers. Pixels whose true number is no class do not count.
    classes
        Number of classes, with the background, which is 0.

    Returns
    -------
    numpy.ndarray
        (true class, predicted class), int64.
    """
    counted = truth < classes
    pairs = truth[counted].astype(np.int64) * classes + prediction[counted]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def intersection_over_union(counts: _Counts) -> npt.NDArray[np.float64]:
    """IoU of each class, from (true class, predicted class); NaN for a class that occurs in neither."""
    both = np.diag(counts).astype(np.float64)
    union = counts.sum(0) + counts.sum(1) - np.diag(counts)
    return np.asarray(np.divide(both, union, out=np.full(len(both), np.nan), where=union > 0))


@dataclass(frozen=True, kw_only=True)
class PartsScore:
    """The pixels of several videos.

    Attributes
    ----------
    counts
        By video: (true class, predicted class).
    classes
        Names of the classes.
    """

    counts: Mapping[str, _Counts]
    classes: tuple[str, ...] = VIP_CLASSES

    @property
    def by_class(self) -> dict[str, float]:
        """IoU of each class over all videos; NaN for one that does not occur."""
        total = np.sum(list(self.counts.values()), axis=0)
        return dict(zip(self.classes, intersection_over_union(total).tolist(), strict=True))

    @property
    def mean(self) -> float:
        """Mean IoU over all classes that occur, with the background: VIP's measure."""
        return _mean(self.by_class.values())

    @property
    def by_video(self) -> dict[str, float]:
        """Mean IoU of each video by itself, over the classes that occur in it."""
        return {name: _mean(intersection_over_union(counts).tolist()) for name, counts in self.counts.items()}


def score_parts(name: str, truth: Mapping[str, Path], results: Path, classes: Sequence[str] = VIP_CLASSES) -> _Counts:
    """Count the pixels of one video. All annotated frames count, as in the evaluation of TimeCycle, UVC and CRW.

    The first, which is given, is among them.

    Parameters
    ----------
    name
        The video's name.
    truth
        Masks by name of the frame, in order. Numbers that are no class do not count.
    results
        Folder of the video's results, ``<frame>.png``.
    classes
        Names of the classes.

    Returns
    -------
    numpy.ndarray
        (true class, predicted class), int64.

    Raises
    ------
    ConfigError
        When no frame is annotated.
    LabelError
        When a mask is missing or cannot be read, differs in size, or a result contains a number that is no class.
    """
    if not truth:
        raise ConfigError(f"video {name!r} has no annotated frames: there is nothing to score")
    total = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for frame, path in truth.items():
        true = read_mask(path)
        result = results / f"{frame}.png"
        if not result.is_file():
            raise LabelError(f"there is no result of frame {frame} of video {name!r}: {result}")
        predicted = read_mask(result, (true.shape[0], true.shape[1]))
        if predicted.max() >= len(classes):
            raise LabelError(f"result {result} contains class {predicted.max()}; there are 0 to {len(classes) - 1}")
        total += confusion(true, predicted, len(classes))
    return total


def write_parts(score: PartsScore, folder: Path, set_name: str) -> tuple[Path, Path]:
    """Write ``parts_results-<set>.csv`` (IoU of each class, then the mean) and ``per-video_results-<set>.csv``."""
    classes, videos = folder / f"parts_results-{set_name}.csv", folder / f"per-video_results-{set_name}.csv"
    _write(classes, ("Class", "IoU"), [*score.by_class.items(), ("mean", score.mean)])
    _write(videos, ("Video", "mIoU"), score.by_video.items())
    return classes, videos


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _write(path: Path, header: Sequence[str], rows: Iterable[tuple[str, float]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows((name, "" if math.isnan(value) else f"{value:.3f}") for name, value in rows)
    with written_whole(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")
