"""Reading a feature unit: its features, lazily."""

from pathlib import Path

import dask.array as da
import numpy as np

from .request import FeatureRequest, UnitSpec
from .stored import StoredUnit

__all__ = ["Unit"]


class Unit(StoredUnit[UnitSpec]):
    """One complete feature unit: a video's features from one backbone at one timestep and tap.

    Parameters
    ----------
    folder
        The unit's folder.

    Raises
    ------
    IncompleteUnitError
        When extraction has not finished it.
    CorruptUnitError
        When its files contradict its marker. Features are checked when they are read.
    SchemaError
        When it was written in a newer format.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, UnitSpec)
        self._reader = self._readers["features"]

    def __repr__(self) -> str:
        return f"<Unit {self.spec.label} {self.shape}>"

    @property
    def request(self) -> FeatureRequest:
        """What determined the features."""
        return self.spec.request

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(frame, y, x, channel)."""
        frame, y, x, channel = self._reader.shape
        return frame, y, x, channel

    @property
    def grid(self) -> tuple[int, int]:
        """(y, x) cells of the feature grid."""
        return self.shape[1], self.shape[2]

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) in pixels of the frames that the UNet saw."""
        return self.request.frame_size

    @property
    def features(self) -> da.Array:
        """The features, read lazily: (frame, y, x, channel) float16, one chunk a frame.

        The name of the dask array derives from the content: dask's own token ignores it, and would serve stale reads
        when a unit is replaced.
        """
        return da.from_array(
            self._reader,
            chunks=(1, *self.shape[1:]),
            name=f"ted-features-{self.content_hash}",
            asarray=False,
            meta=np.empty((0,) * 4, dtype=self._reader.dtype),
        )
