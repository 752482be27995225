"""From values to places on an axis, and the values that are marked on it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Scale", "nice_ticks", "thinned"]

#: Steps between marks, in powers of ten, that people can count in.
_STEPS = (1, 2, 5, 10)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A map from values to places.

    Attributes
    ----------
    values
        (first, last) value of the axis; positive ones if logarithmic.
    places
        Where these two are drawn.
    logarithmic
        Whether equal distances are equal ratios.
    """

    values: tuple[float, float]
    places: tuple[float, float]
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value; of an axis with one value, the middle."""
        first, last, here = (math.log(x) if self.logarithmic else x for x in (*self.values, value))
        part = (here - first) / (last - first) if last != first else 0.5
        return self.places[0] + part * (self.places[1] - self.places[0])


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Choose round values that enclose a range, evenly spaced by 1, 2 or 5 times a power of ten.

    Parameters
    ----------
    low, high
        The range.
    most
        Values to choose at most; at least 3.

    Returns
    -------
    list of float
        Rising; the first is at most `low`, the last at least `high`.
    """
    if high <= low:
        low, high = low - 0.05, high + 0.05
    power = 10.0 ** math.floor(math.log10((high - low) / (most - 1)))
    for size in (*_STEPS, 20, 50):
        step = size * power
        # A value that lies on a mark but for rounding needs no further mark.
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first < most:
            break
    digits = max(0, -math.floor(math.log10(step)))
    return [round(number * step, digits) for number in range(first, last + 1)]


def thinned(places: Sequence[float], least: float) -> list[int]:
    """Choose, of places in rising order, indices of some that are at least so far apart: first and last among them."""
    kept = [0] if places else []
    for index in range(1, len(places)):
        if places[index] - places[kept[-1]] >= least:
            kept.append(index)
    last = len(places) - 1
    if kept and kept[-1] != last:
        while len(kept) > 1 and places[last] - places[kept[-1]] < least:
            kept.pop()
        if places[last] - places[kept[-1]] >= least:
            kept.append(last)
    return kept
