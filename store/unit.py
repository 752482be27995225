"""Reading a feature unit: its features, lazily."""

from functools import cached_property, partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from .encoding import decode
from .forms import Form
from .kinds import ArrayLayout
from .layout import GROUP
from .request import FeatureRequest, UnitSpec
from .stored import StoredUnit

__all__ = ["Unit"]


class Unit(StoredUnit[UnitSpec]):
    """One complete feature unit: a video's features from one backbone at one timestep and tap, in any form.

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
        When it was written in a newer format, or in a form that this version does not know.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, UnitSpec)
        self._reader = self._readers["features"]
        sizes: dict[str, int] = {}
        for array in self.spec.kind.arrays:
            shape = self._readers[array.name].shape
            if any(sizes.setdefault(axis, size) != size for axis, size in zip(array.dimensions, shape, strict=True)):
                raise self._damage(GROUP, "describes arrays whose shapes do not fit each other")

    def __repr__(self) -> str:
        return f"<Unit {self.spec.label} {self.shape}>"

    @property
    def request(self) -> FeatureRequest:
        """What determined the features."""
        return self.spec.request

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of `features`."""
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

    @cached_property
    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """The arrays that all frames share (docs/reference/storage-format.md): none in most forms.

        Raises
        ------
        CorruptUnitError
            When they are not what was written.
        """
        return {array.name: self._readers[array.name][...] for array in self.spec.kind.shared_arrays}

    @property
    def features(self) -> da.Array:
        """The features as propagation reads them, lazily: (frame, y, x, channel), one chunk a frame.

        They are float16; in the form ``int8``, float32, decoded as they are read. In a form ``pca`` the last axis holds
        components in an orthonormal basis (`parameters`), float16: their cosines are those of the features that they
        stand for, at a part of the cost. `reconstruction` gives these.

        The name of the dask array derives from the content: dask's own token ignores it, and would serve stale reads
        when a unit is replaced.
        """
        form = self.spec.encoding
        stored = {array.name: self._lazy(array) for array in self.spec.kind.arrays if array.per_frame}
        if form.family != "int8":
            return stored["features"]
        return da.blockwise(
            partial(_decode_block, form, self.parameters),
            "fyxc",
            stored["features"],
            "fyxc",
            stored["scale"],
            "fyx",
            name=f"ted-decoded-{self.content_hash}",
            meta=np.empty((0,) * 4, dtype=np.float32),
        )

    @property
    def reconstruction(self) -> da.Array:
        """The features with all channels of the UNet, lazily: (frame, y, x, channel); as `features`, but of ``pca``.

        What ``pca`` leaves out stays out: float32, the sum of the components.
        """
        features = self.features
        if self.spec.encoding.family != "pca":
            return features
        components = self.parameters["components"]
        return features.map_blocks(
            partial(_expand_block, components),
            chunks=(*features.chunks[:3], (components.shape[1],)),
            name=f"ted-reconstruction-{self.content_hash}",
            meta=np.empty((0,) * 4, dtype=np.float32),
        )

    def _lazy(self, layout: ArrayLayout) -> da.Array:
        reader = self._readers[layout.name]
        return da.from_array(
            reader,
            chunks=(1, *reader.shape[1:]),
            name=f"ted-{layout.name}-{self.content_hash}",
            asarray=False,
            meta=np.empty((0,) * reader.ndim, dtype=reader.dtype),
        )


def _decode_block(
    form: Form, parameters: dict[str, NDArray[np.float32]], features: NDArray[Any], scale: NDArray[np.float32]
) -> NDArray[np.floating[Any]]:
    return decode(form, {"features": features, "scale": scale}, parameters)


def _expand_block(components: NDArray[np.float32], features: NDArray[np.float16]) -> NDArray[np.float32]:
    return features.astype(np.float32) @ components
