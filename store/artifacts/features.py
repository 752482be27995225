"""Feature units: reading them lazily, and writing them."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import ArrayReader, damage
from ..codecs import FeatureCodec, Parameters
from ..errors import CacheError, Hint, SchemaError
from ..layout import GROUP, UnitLayout
from ..request import FLOAT16_LAYOUT, FeatureRequest, UnitSpec, check_codec, feature_layout
from ..stored import StoredUnit
from ..writing import StoredWriter
from .registry import ArtifactKind, register_artifact

if TYPE_CHECKING:
    import dask.array as da


class Unit(StoredUnit[UnitSpec]):
    """One complete feature unit: features of one backbone at one timestep and tap, with any codec; see `StoredUnit`."""

    spec_type = UnitSpec

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._sizes: dict[str, int] = {}
        for array in self.spec.layout.arrays:
            axes = zip(array.dimensions, self._readers[array.name].shape, strict=True)
            if any(self._sizes.setdefault(axis, size) != size for axis, size in axes):
                raise damage(folder, GROUP, "describes arrays whose shapes do not fit each other")

    def __repr__(self) -> str:
        return f"<Unit {self.spec.label} {self.shape}>"

    @property
    def request(self) -> FeatureRequest:
        """The request: everything that determined the features."""
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
        """(height, width) in pixels of the frames that the network saw."""
        return self.request.frame_size

    @cached_property
    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """The arrays that all frames share, by name; empty for most codecs.

        Raises
        ------
        CorruptUnitError
            When they are damaged.
        """
        return {array.name: self._readers[array.name][...] for array in self.spec.layout.shared_arrays}

    @property
    def features(self) -> "da.Array":
        """The features as propagation reads them, lazily: (frame, y, x, channel), one chunk a frame.

        float16 for most codecs, float32 for ``int8``. With the codec ``pca`` the last axis holds coefficients in an
        orthonormal basis (`parameters`), which have the same cosines as the features projected onto that basis and are
        cheaper to compare. `reconstruction` restores all channels.
        """
        return self._lazy("features", reconstruct=False)

    @property
    def reconstruction(self) -> "da.Array":
        """The features with all channels of the network, lazily: (frame, y, x, channel).

        The codec's losses remain.
        """
        return self.features if self.spec.codec.keeps_channels else self._lazy("reconstruction", reconstruct=True)

    def _lazy(self, name: str, *, reconstruct: bool) -> "da.Array":
        import dask.array as da  # it takes most of the time of importing the store

        reader = DecodedReader(self.spec.codec, self._readers, self.parameters, self._sizes, reconstruct=reconstruct)
        return da.from_array(
            reader,
            chunks=(1, *reader.shape[1:]),
            # Name the array by its content: with dask's default name, a replaced unit would give stale values.
            name=f"ted-{name}-{self.content_hash}",
            asarray=False,
            meta=np.empty((0,) * reader.ndim, dtype=reader.dtype),
        )


class DecodedReader:
    """A lazy reader of decoded features (frame, y, x, channel), which dask can slice and pickle."""

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


class UnitWriter(StoredWriter[UnitSpec]):
    """Writes one feature unit with the codec that its spec names; see `StoredWriter`."""

    _parameters: dict[str, NDArray[np.float32]] | None = None

    @property
    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """The arrays that all frames share, from `set_parameters` or an interrupted writer; empty if there are none."""
        if self._parameters is None:
            self._parameters = self._read_shared()
        return self._parameters

    def set_parameters(self, values: Mapping[str, NDArray[np.floating[Any]]]) -> None:
        """Store the arrays that all frames share, before the first frame: the result of the codec's `fit`.

        Raises
        ------
        CacheError
            When they are stored already, are not the codec's, are not finite, or the disk fails.
        """
        wanted = {array.name for array in self.spec.layout.shared_arrays}
        stored = {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in values.items()}
        if self.parameters or stored.keys() != wanted or not all(np.isfinite(value).all() for value in stored.values()):
            raise CacheError(
                f"{self.spec.label} takes {', '.join(sorted(wanted)) or 'no parameters'}, once and finite, not "
                f"{', '.join(sorted(stored)) or 'none'}"
            )
        self._store_shared(stored)
        self._parameters = stored

    def write(self, frame: int, features: NDArray[np.floating[Any]]) -> None:
        """Store one frame's features.

        Parameters
        ----------
        frame
            Index of the frame in the video.
        features
            (y, x, channel), any float type; rounded to float16, then encoded.

        Raises
        ------
        CacheError
            For features that are not finite in float16 or have a wrong shape, when the codec's parameters are not set
            yet, or when the disk fails.
        """
        self._check_frame(frame)
        with np.errstate(over="ignore"):
            half = np.ascontiguousarray(features, dtype=np.float16)
        if not np.isfinite(half).all():
            bad = "NaN" if np.isnan(features).any() else "values too large for float16 (65504), or infinite"
            raise CacheError(
                f"frame {frame} of {self.spec.label} has {bad} among its features; nothing of it was stored. "
                "The weights may be damaged, or the precision too low",
                hint=Hint("raise-precision"),
            )
        stored = self.spec.codec.encode(half, self._parameters_for(half))
        for layout in self.spec.layout.frame_arrays:
            values = stored[layout.name]
            if values is not half and values.dtype.kind == "f" and not np.isfinite(values).all():
                raise CacheError(
                    f"frame {frame} of {self.spec.label} has features too large for {self.spec.form}; nothing was "
                    "stored. Use another codec for features as large as these"
                )
            shape = self._array(layout, values.shape).shape[1:]
            if values.shape != shape:
                raise CacheError(
                    f"frame {frame} of {self.spec.label} has {layout.name} of shape {values.shape}; the unit's "
                    f"are {shape}"
                )
        self._store(frame, stored)

    def _parameters_for(self, features: NDArray[np.float16]) -> dict[str, NDArray[np.float32]]:
        """Return the parameters; raise CacheError unless they are set and fit the features' channels."""
        for array in self.spec.layout.shared_arrays:
            if array.name not in self.parameters:
                raise CacheError(f"the writer of {self.spec.label} needs `set_parameters` before the first frame")
            if "channel" not in array.dimensions:
                continue
            channels = self.parameters[array.name].shape[array.dimensions.index("channel")]
            if features.shape[-1] != channels:
                raise CacheError(
                    f"{array.name} of {self.spec.label} is for {channels} channels; its features have "
                    f"{features.shape[-1]}"
                )
        return self.parameters

    def _can_resume(self, there: UnitSpec) -> bool:
        # The same request may have been extracted twice: do not mix frames converted from different sources.
        return there.source == self.spec.source


class _Features(ArtifactKind):
    """The kind of features, whose folders are nested deeper: BACKBONE@DIGEST/tTIMESTEP/TAP/FORM."""

    @property
    def unit_type(self) -> type[Unit]:
        return Unit

    @property
    def pattern(self) -> str:
        return "[!.]*@*/t*/[!.]*/[!.]*"

    def is_at(self, unit: Path) -> bool:
        return len(unit.parents) > 3 and unit.parents[3].name.endswith(".zarr")

    def layout_at(self, unit: Path) -> UnitLayout:
        try:
            return feature_layout(check_codec(unit.name, unit))
        except SchemaError:  # unknown codec; all codecs have their records in the same folder
            return FLOAT16_LAYOUT


FEATURES = _Features(name=UnitSpec.kind, arrays=FLOAT16_LAYOUT.arrays, maker=FLOAT16_LAYOUT.maker)
register_artifact(FEATURES)
