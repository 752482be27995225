"""Writing a feature unit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import CacheError, Hint
from .request import UnitSpec
from .writing import StoredWriter

__all__ = ["UnitWriter"]


class UnitWriter(StoredWriter[UnitSpec]):
    """Writes one feature unit, in the form that its spec names; see `StoredWriter`."""

    _parameters: dict[str, NDArray[np.float32]] | None = None

    @property
    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """The arrays that all frames share, as `set_parameters` got them or an interrupted writer left them; or {}."""
        if self._parameters is None:
            self._parameters = self._read_shared()
        return self._parameters

    def set_parameters(self, values: Mapping[str, NDArray[np.floating[Any]]]) -> None:
        """Store the arrays that all frames share, before the first of them: what `fit` gives of the unit's form.

        Raises
        ------
        CacheError
            When they are stored already, others than the form's, or not finite, or on a failing disk.
        """
        wanted = {array.name for array in self.spec.kind.shared_arrays}
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
            (y, x, channel), any float type; brought to float16, and that to the unit's form.

        Raises
        ------
        CacheError
            For features that are not finite in float16, of a wrong shape, or on a failing disk; before the parameters
            of the form are set.
        """
        self._check_frame(frame)
        with np.errstate(over="ignore"):
            half = np.ascontiguousarray(features, dtype=np.float16)
        if not np.isfinite(half).all():
            bad = "NaN" if np.isnan(features).any() else "values too large for float16 (65504), or infinite"
            raise CacheError(
                f"frame {frame} of {self.spec.label} has {bad} among its features; nothing of it was stored. "
                "Check what they come from: the weights, or too low a precision",
                hint=Hint("raise-precision"),
            )
        stored = self.spec.codec.encode(half, self._parameters_for(half))
        for layout in self.spec.kind.arrays:
            if not layout.per_frame:
                continue
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
        """Return the parameters, checked to be there and of the features' channels."""
        for array in self.spec.kind.shared_arrays:
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

    def _fits(self, there: UnitSpec) -> bool:
        # Frames converted from other features, of the same request, must not be mixed with ours.
        return there.source == self.spec.source
