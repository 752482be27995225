"""Contour accuracy by distances between all pairs of contour pixels: slow, and free of morphology."""

import numpy as np
import numpy.typing as npt


def contour_pixels(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Pixels that differ from the right, lower or lower right neighbour; the mask goes on unchanged past its edges."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    height, width = mask.shape
    return [
        (y, x)
        for y in range(height)
        for x in range(width)
        if any(padded[y, x] != padded[y + dy, x + dx] for dy, dx in ((0, 1), (1, 0), (1, 1)))
    ]


def slow_contour_accuracy(truth: npt.NDArray[np.bool_], prediction: npt.NDArray[np.bool_], radius: float) -> float:
    """F of two masks (height, width) with matches up to `radius` pixels apart."""
    wanted, given = contour_pixels(truth), contour_pixels(prediction)
    if not wanted or not given:
        return float(not wanted and not given)

    def share(points: list[tuple[int, int]], others: list[tuple[int, int]]) -> float:
        near = [min((y - v) ** 2 + (x - u) ** 2 for v, u in others) <= radius**2 for y, x in points]
        return sum(near) / len(near)

    precision, recall = share(given, wanted), share(wanted, given)
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)
