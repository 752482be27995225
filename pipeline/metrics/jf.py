"""J and F of masks, and their statistics over a video: arrays in, numbers out.

J is the region similarity and F the contour accuracy of Perazzi et al., "A Benchmark Dataset and Evaluation
Methodology for Video Object Segmentation" (CVPR 2016), with the conventions of the official DAVIS-2017 evaluation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Mean of one object's values over frames, share of frames strictly above 0.5, first minus last quarter's mean."""

    mean: float
    recall: float
    decay: float


def region_similarity(truth: _Mask, prediction: _Mask) -> float:
    """Return J of two masks, (height, width), bool: intersection over union, 1 where both are empty."""
    union = np.count_nonzero(truth | prediction)
    return np.count_nonzero(truth & prediction) / union if union else 1.0


def contour_radius(size: tuple[int, int], share: float = 0.008) -> int:
    """Return the largest distance of matching contours in pixels: `share` of the image's diagonal, rounded up."""
    return math.ceil(share * math.hypot(*size))


def boundary(mask: _Mask) -> _Mask:
    """Return a mask's contour, one pixel wide: pixels that differ from their right, lower or lower right neighbour.

    It is offset by half a pixel towards the origin, as in the official evaluation: a pixel in the last row is compared
    with its right neighbour only, one in the last column with its lower neighbour only, and the last corner never
    belongs to the contour.

    """
    contour = np.zeros_like(mask)
    contour[:, :-1] = mask[:, :-1] ^ mask[:, 1:]
    contour[:-1] |= mask[:-1] ^ mask[1:]
    contour[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return contour


def contour_accuracy(truth: _Mask, prediction: _Mask, radius: int | None = None) -> float:
    """Return F: the harmonic mean of the shares of each contour within a radius of the other one.

    Masks are (height, width), bool. F is 1 where neither has a contour, 0 where only one has. See `TrueContour`.
    """
    return TrueContour(truth, radius).accuracy(prediction)


class TrueContour:
    """The contour of a true mask, (height, width), bool, prepared once for many predictions.

    `radius` is a Euclidean distance in pixels, inclusive; by default `contour_radius` of the size.
    """

    def __init__(self, truth: _Mask, radius: int | None = None) -> None:
        size = (truth.shape[0], truth.shape[1])
        self._radius = contour_radius(size) if radius is None else radius
        contour = boundary(truth)
        self._length = np.count_nonzero(contour)
        x, y, width, height = cv2.boundingRect(contour.view(np.uint8))
        # Only pixels within the radius of the contour can match.
        rows = slice(max(y - self._radius, 0), y + height + self._radius)
        columns = slice(max(x - self._radius, 0), x + width + self._radius)
        self._inside = rows, columns
        self._contour = contour[self._inside]
        self._near = _within(self._contour, self._radius) if self._length else self._contour

    def accuracy(self, prediction: _Mask) -> float:
        """Return F of a predicted mask; see `contour_accuracy`."""
        contour = boundary(prediction)
        length = np.count_nonzero(contour)
        if not self._length and not length:
            return 1.0
        if not self._length or not length:
            return 0.0
        contour = contour[self._inside]
        precision = np.count_nonzero(contour & self._near) / length
        recall = np.count_nonzero(self._contour & _within(contour, self._radius)) / self._length
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def statistics(values: Sequence[float] | npt.NDArray[np.float64]) -> Statistics:
    """Return mean, recall and decay over the frames of a video, as the official evaluation computes them.

    The official quarters share their edge frames, and store frame indices in 8 bits: with more than 256 scored frames,
    indices wrap around. The decay then compares other frames, or is NaN if a quarter is empty.

    """
    series = np.asarray(values, dtype=np.float64)
    edges = [int(edge) % 256 for edge in np.round(np.linspace(1, len(series), 5) + 1e-10) - 1]
    first, last = series[edges[0] : edges[1] + 1], series[edges[3] : edges[4] + 1]
    decay = float(first.mean() - last.mean()) if first.size and last.size else math.nan
    return Statistics(mean=float(series.mean()), recall=float((series > 0.5).mean()), decay=decay)


def _within(contour: _Mask, radius: int) -> _Mask:
    """Return the pixels whose distance to the contour is at most the radius."""
    offsets = np.arange(-radius, radius + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)
    return cv2.dilate(contour.astype(np.uint8), disk) > 0
