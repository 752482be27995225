"""Identity accuracy: how often a tracker shows the right one of several objects, regardless of outlines."""

import numpy as np
import numpy.typing as npt


def identity_accuracy(truth: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer]) -> float:
    """Return the share of pixels with the right object among those where both masks show any object.

    With objects of equal size, chance is one over their number. Objects that are lost do not count; J measures that.

    Masks are (..., height, width), object numbers, 0 for the background. The share is NaN where no pixel shows an
    object in both.
    """
    both = (truth > 0) & (predicted > 0)
    count = np.count_nonzero(both)
    return np.count_nonzero(both & (truth == predicted)) / count if count else float("nan")
