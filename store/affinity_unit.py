"""Reading an affinity unit: a frame's sources and their cosines."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .affinities import AffinitySpec
from .errors import CacheError
from .layout import GROUP
from .stored import StoredUnit

__all__ = ["AffinityUnit"]


class AffinityUnit(StoredUnit[AffinitySpec]):
    """One complete affinity unit: what a search found for every pixel of a video. Can be pickled.

    It holds all that is needed to propagate labels: the features may be gone.

    Parameters
    ----------
    folder
        The unit's folder.

    Raises
    ------
    IncompleteUnitError
        When the search has not finished it.
    CorruptUnitError
        When its files contradict its marker. Frames are checked when they are read.
    SchemaError
        When it was written in a newer format.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, AffinitySpec)
        if any(self._readers[name].shape != shape for name, shape in self.spec.shapes.items()):
            raise self._damage(GROUP, "describes arrays of another shape than are stored")

    def __repr__(self) -> str:
        return f"<AffinityUnit {self.spec.label} {self.spec.summary}>"

    def read(self, frame: int) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
        """Read what was found for one frame.

        Returns
        -------
        sources
            (pixel, slot) int32: flat indices into (frame, y, x) of the frame's context, rising along the slots, then -1
            in the empty ones.
        cosines
            (part, pixel, slot) float32: of each part of the features, 0 in empty slots.
        bounds
            (fusion, pixel) float32: no source that is not listed is more similar than this, for each fusion of the
            search.

        Raises
        ------
        CacheError
            When there is no such frame, or it cannot be read (CorruptUnitError: is not what was written).
        """
        if not 0 <= frame < self.spec.frame_count:
            raise CacheError(f"{self.spec.label} has {self.spec.frame_count} frames; there is no frame {frame}")
        sources, cosines, bounds = (self._readers[array.name][frame] for array in self.spec.kind.arrays)
        return sources, cosines, bounds
