"""Reading a feature unit: its features, lazily."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from .codecs import FeatureCodec, Parameters
from .layout import GROUP
from .request import FeatureRequest, UnitSpec
from .stored import ArrayReader, StoredUnit

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
        self._sizes: dict[str, int] = {}
        for array in self.spec.kind.arrays:
            shape = self._readers[array.name].shape
            if any(
                self._sizes.setdefault(axis, size) != size for axis, size in zip(array.dimensions, shape, strict=True)
            ):
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
        sizes = self._sizes
        return sizes["frame"], sizes["y"], sizes["x"], self.spec.codec.decoded_channels(sizes)

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

        float16 for most codecs, float32 for ``int8``. With the codec ``pca`` the last axis holds coefficients in an
        orthonormal basis (`parameters`): their cosines are those of the features that they stand for, at a part of the
        cost. `reconstruction` restores all channels.
        """
        return self._lazy("features", reconstruct=False)

    @property
    def reconstruction(self) -> da.Array:
        """The features with all channels of the network, lazily: (frame, y, x, channel).

        What the codec dropped stays lost.
        """
        return self.features if self.spec.codec.keeps_channels else self._lazy("reconstruction", reconstruct=True)

    def _lazy(self, name: str, *, reconstruct: bool) -> da.Array:
        reader = DecodedReader(self.spec.codec, self._readers, self.parameters, self._sizes, reconstruct=reconstruct)
        return da.from_array(
            reader,
            chunks=(1, *reader.shape[1:]),
            # Derived from the content: dask's own token ignores it, and would serve stale reads of a replaced unit.
            name=f"ted-{name}-{self.content_hash}",
            asarray=False,
            meta=np.empty((0,) * reader.ndim, dtype=reader.dtype),
        )


class DecodedReader:
    """An array-like of decoded features (frame, y, x, channel) that dask can slice and pickle."""

    ndim = 4

    def __init__(
        self,
        codec: FeatureCodec,
        readers: Mapping[str, ArrayReader],
        parameters: Parameters,
        sizes: Mapping[str, int],
        *,
        reconstruct: bool,
    ) -> None:
        self._codec = codec
        self._stored = {layout.name: readers[layout.name] for layout in codec.arrays if layout.per_frame}
        self._parameters = parameters
        self._reconstruct = reconstruct
        self.dtype = np.dtype(np.float32 if reconstruct else codec.dtype)
        channels = sizes["channel"] if reconstruct else codec.decoded_channels(sizes)
        self.shape = (sizes["frame"], sizes["y"], sizes["x"], channels)

    def __getitem__(self, index: Any) -> NDArray[np.floating[Any]]:
        frames, *rest = index if isinstance(index, tuple) else (index,)
        features = self._codec.decode({name: array[frames] for name, array in self._stored.items()}, self._parameters)
        if self._reconstruct:
            features = self._codec.reconstruct(features, self._parameters)
        return features[tuple(rest) if isinstance(frames, int | np.integer) else (slice(None), *rest)]
