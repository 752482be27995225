"""Identity accuracy: whether what is followed is the right one of several objects, however well it is outlined."""

import numpy as np
import numpy.typing as npt

__all__ = ["identity_accuracy"]


def identity_accuracy(truth: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer]) -> float:
    """Return the share of pixels with the right object, among those that both masks say show an object.

    Chance is one over the number of objects of equal size. Objects that are lost altogether do not count: J does that.

    Parameters
    ----------
    truth, predicted
        (..., height, width), object numbers, 0 for the background.

    Returns
    -------
    float
        In [0, 1]; NaN where no pixel is an object's in both.
    """
    both = (truth > 0) & (predicted > 0)
    count = np.count_nonzero(both)
    return np.count_nonzero(both & (truth == predicted)) / count if count else float("nan")
