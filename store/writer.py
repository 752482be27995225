"""Writing a feature unit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import CacheError
from .request import UnitSpec
from .writing import StoredWriter

__all__ = ["UnitWriter"]


class UnitWriter(StoredWriter[UnitSpec]):
    """Writes one feature unit; see `StoredWriter`."""

    def write(self, frame: int, features: NDArray[np.floating[Any]]) -> None:
        """Store one frame's features.

        Parameters
        ----------
        frame
            Index of the frame in the video.
        features
            (y, x, channel), any float type; stored as float16.

        Raises
        ------
        CacheError
            For features that are not finite in float16, of a wrong shape, or on a failing disk.
        """
        self._check_frame(frame)
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(features, dtype=np.float16)
        if not np.isfinite(stored).all():
            bad = "NaN" if np.isnan(features).any() else "values too large for float16 (65504), or infinite"
            raise CacheError(
                f"frame {frame} of {self.spec.label} has {bad} among its features; nothing of it was stored. "
                "Check what they come from: the weights, or too low a precision (--dtype float32 is the safest)"
            )
        layout = self.spec.kind.arrays[0]
        shape = self._array(layout, stored.shape).shape[1:]
        if stored.shape != shape:
            raise CacheError(
                f"frame {frame} of {self.spec.label} has features of shape {stored.shape}, the unit's are {shape}"
            )
        self._store(frame, {layout.name: stored})
