"""Meaning of the object ids in a mask."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ...store.errors import LabelError

#: Id of void (undecided) pixels in DAVIS.
VOID = 255


def object_mask(mask: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return the object numbers of an annotated mask.

    0 is the background. 255 is void in DAVIS and becomes background, unless the mask has only 0 and 255: such a binary
    mask, as segmentation tools write it, has one object with number 1.

    Parameters
    ----------
    mask
        (height, width), integers in 0..255.

    Returns
    -------
    numpy.ndarray
        (height, width), uint8: 0, and object numbers in 1..254. A new array.

    Raises
    ------
    LabelError
        When the mask is not a two-dimensional integer array, has values outside 0..255, or shows no object.
    """
    if mask.ndim != 2 or mask.dtype.kind not in "iu" or mask.size == 0:
        raise LabelError(
            f"a mask must be a two-dimensional image of integer object ids (a palette or grey PNG), not "
            f"{mask.dtype} of shape {mask.shape}"
        )
    if mask.min() < 0 or mask.max() > VOID:
        raise LabelError(f"object ids of a mask must lie in 1..254, not in {mask.min()}..{mask.max()}")
    objects = mask.astype(np.uint8)
    if not np.any((objects != 0) & (objects != VOID)):
        objects[objects == VOID] = 1
    objects[objects == VOID] = 0
    if not objects.any():
        raise LabelError("the mask holds no object (every pixel is 0): nothing can be propagated")
    return objects
