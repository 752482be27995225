"""Interface of feature codecs."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..layout import ArrayLayout

#: The arrays that all frames of a unit share, by name.
Parameters = Mapping[str, NDArray[np.float32]]


class FeatureCodec(ABC):
    """An encoding of features on disk: a family, and its parameters such as a number of bits.

    Subclasses are frozen dataclasses; equal codecs store features in the same way. Register a codec with
    `ted.store.codecs.register_codec`, or offer it as an entry point of the group ``ted.codecs`` whose name is its
    `family`.

    Attributes
    ----------
    family
        Name of the family, the beginning of the notation and of names on disk.
    notation
        Notation for help and messages, for example ``"bitround:N (N bits of the mantissa, 1 to 10)"``.
    arrays
        Arrays of a unit. The first is named ``"features"`` and has the axis ``"frame"``; an array without that axis is
        shared by all frames.
    dtype
        Type of decoded features.
    keeps_channels
        Whether decoded features have the channels of the network. If not, `reconstruct` restores them.
    """

    family: ClassVar[str]
    notation: ClassVar[str]
    arrays: ClassVar[tuple[ArrayLayout, ...]]
    dtype: ClassVar[type[np.floating[Any]]] = np.float16
    keeps_channels: ClassVar[bool] = True

    @classmethod
    @abstractmethod
    def parse(cls, text: str) -> Self | None:
        """Parse a codec's notation or its name on disk; return None for the text of another family.

        Raises
        ------
        ConfigError
            For a text of this family with invalid parameters.
        """

    @property
    @abstractmethod
    def name(self) -> str:
        """Name on disk, of letters, digits and ``_ . -`` only; `parse` reads it."""

    @property
    @abstractmethod
    def loss(self) -> tuple[float, float, str]:
        """Sort key of codecs by their loss; if several units fit a choice, the one with the lowest key is read.

        The first number is a level: 0 float16, 1 ``bitround`` with 10 to 6 bits, 2 int8, 3 ``bitround`` with fewer
        bits, 4 ``pca``. The other two values order codecs within a level.
        """

    @abstractmethod
    def encode(self, features: NDArray[np.float16], parameters: Parameters) -> dict[str, NDArray[Any]]:
        """Encode features.

        Parameters
        ----------
        features
            (..., channel), finite.
        parameters
            As `fit` returned them.

        Returns
        -------
        dict
            The arrays with the axis ``"frame"``, by name.
        """

    def decode(self, stored: Mapping[str, NDArray[Any]], parameters: Parameters) -> NDArray[np.floating[Any]]:
        """Decode stored arrays to the features that propagation reads: (..., channel), of type `dtype`.

        The result may be a cheaper representation with the same cosines, such as coefficients in an orthonormal basis.
        By default it is the array ``"features"`` as stored.
        """
        return stored["features"]

    def fit(self, frames: Iterable[NDArray[np.floating[Any]]]) -> dict[str, NDArray[np.float32]]:
        """Compute the arrays that all frames of a unit share, from an iterable of its frames (y, x, channel).

        Raises
        ------
        ConfigError
            If the codec cannot store these features.
        """
        return {}

    def reconstruct(self, decoded: NDArray[np.floating[Any]], parameters: Parameters) -> NDArray[np.floating[Any]]:
        """Restore all channels from decoded features, (..., channel), as far as the codec stores them."""
        return decoded

    def check(self, channels: int) -> None:
        """Raise ConfigError if the codec cannot store features with this number of channels."""
        return

    def decoded_channels(self, sizes: Mapping[str, int]) -> int:
        """Return the number of channels of decoded features, from the sizes of the arrays' axes by name."""
        return sizes["channel"]

    def bytes_per_cell(self, channels: int) -> float:
        """Return the size in bytes of one cell of the feature grid, before compression."""
        return 2 * channels

    @property
    def is_staging(self) -> bool:
        """Whether features are stored in this form only until they are converted. Readers ignore such units."""
        return False

    def staging(self) -> "FeatureCodec":
        """Return the float16 codec that stores features until they are converted to this codec."""
        from .float16 import Float16

        return Float16(target=self.name)

    def __str__(self) -> str:
        return self.name
