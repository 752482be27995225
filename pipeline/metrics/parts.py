"""Mean IoU of classes over the pixels of all videos together, as in VIP's evaluation."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["VIP_CLASSES", "PartsScore", "confusion", "intersection_over_union"]

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
        Number of classes, including the background, class 0.

    Returns
    -------
    numpy.ndarray
        (true class, predicted class), int64.
    """
    counted = truth < classes
    pairs = truth[counted].astype(np.int64) * classes + prediction[counted]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def intersection_over_union(counts: _Counts) -> npt.NDArray[np.float64]:
    """Return the IoU of each class from counts (true class, predicted class); NaN for a class that never occurs."""
    both = np.diag(counts).astype(np.float64)
    union = counts.sum(0) + counts.sum(1) - np.diag(counts)
    return np.asarray(np.divide(both, union, out=np.full(len(both), np.nan), where=union > 0))


@dataclass(frozen=True, kw_only=True)
class PartsScore:
    """Pixels of several videos.

    Attributes
    ----------
    counts
        (true class, predicted class), by video.
    classes
        Names of the classes.
    """

    counts: Mapping[str, _Counts]
    classes: tuple[str, ...] = VIP_CLASSES

    @property
    def by_class(self) -> dict[str, float]:
        """IoU of each class over all videos; NaN for a class that does not occur."""
        total = np.sum(list(self.counts.values()), axis=0)
        return dict(zip(self.classes, intersection_over_union(total).tolist(), strict=True))

    @property
    def mean(self) -> float:
        """Mean IoU over all classes that occur, including the background: VIP's metric."""
        return _mean(self.by_class.values())

    @property
    def by_video(self) -> dict[str, float]:
        """Mean IoU of each video alone, over the classes that occur in it."""
        return {name: _mean(intersection_over_union(counts).tolist()) for name, counts in self.counts.items()}


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
