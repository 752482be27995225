"""Mean IoU of classes over the pixels of all videos together, as in VIP's evaluation."""

import math

import numpy as np
import numpy.typing as npt

#: The classes of VIP by their numbers.
VIP_CLASSES = (
    "background", "hat", "hair", "sun-glasses", "upper-clothes", "dress", "coat", "socks", "pants", "gloves", "scarf",
    "skirt", "torso-skin", "face", "right-arm", "left-arm", "right-leg", "left-leg", "right-shoe", "left-shoe",
)  # fmt: skip

_Counts = npt.NDArray[np.int64]


def confusion(truth: npt.NDArray[np.uint8], prediction: npt.NDArray[np.uint8], classes: int) -> _Counts:
    """Count the pixels of each pair of classes, 0 (the background) to `classes` - 1: (true class, predicted class).

    Masks are (height, width), class numbers. Pixels whose true number is no class do not count.
    """
    counted = truth < classes
    pairs = truth[counted].astype(np.int64) * classes + prediction[counted]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def intersection_over_union(counts: _Counts) -> npt.NDArray[np.float64]:
    """Return the IoU of each class from counts (true class, predicted class); NaN for a class that never occurs."""
    both = np.diag(counts).astype(np.float64)
    union = counts.sum(0) + counts.sum(1) - np.diag(counts)
    return np.asarray(np.divide(both, union, out=np.full(len(both), np.nan), where=union > 0))


def mean_iou(counts: _Counts) -> float:
    """Return the mean IoU over all classes that occur, including the background: VIP's metric; NaN without any."""
    known = [value for value in intersection_over_union(counts).tolist() if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
