"""pca: coefficients in an orthonormal basis, fitted to each unit or read from a file."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..layout import ArrayLayout
from .base import FeatureCodec, Parameters

_NAME = re.compile(r"pca:?([1-9][0-9]*)(?:[-:]([0-9a-f]{8}))?", re.ASCII)
_FILE = re.compile(r"pca:(.+\.np[yz])")


@dataclass(frozen=True, kw_only=True)
class Pca(FeatureCodec):
    """Coefficients of each pixel in `size` orthonormal components.

    The part of a feature that is orthogonal to the components is lost. Coefficients have the same cosines and lengths
    as the projected features, so propagation reads the coefficients.

    Attributes
    ----------
    size
        Number of components.
    basis
        First 8 hex digits of the SHA-256 of components from a file; empty for components fitted to each unit.
    components
        Components from a file, (component, channel); None if they are fitted, or only their hash is known.
    """

    size: int
    basis: str = ""
    components: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)

    family: ClassVar = "pca"
    notation: ClassVar = "pca:N (N components), pca:FILE (components in a .npy or .npz file)"
    keeps_channels: ClassVar = False
    arrays: ClassVar = (
        ArrayLayout(name="features", dimensions=("frame", "y", "x", "component"), dtype="float16"),
        ArrayLayout(name="components", dimensions=("component", "channel"), dtype="float32"),
    )

    @classmethod
    def parse(cls, text: str) -> Self | None:
        if found := _FILE.fullmatch(text):
            return cls.from_components(_read_components(Path(found[1])))
        found = _NAME.fullmatch(text)
        return None if found is None else cls(size=int(found[1]), basis=found[2] or "")

    @classmethod
    def from_components(cls, components: NDArray[np.floating[Any]]) -> Self:
        """Return the codec with these orthonormal components, (component, channel)."""
        check_components(components)
        values = np.ascontiguousarray(components, dtype=np.float32)
        digest = hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()
        return cls(size=len(values), basis=digest[:8], components=values)

    @property
    def name(self) -> str:
        return f"pca{self.size}-{self.basis}" if self.basis else f"pca{self.size}"

    @property
    def loss(self) -> tuple[float, float, str]:
        return 4, -self.size, self.basis

    def bytes_per_cell(self, channels: int) -> float:
        return 2 * self.size

    def check(self, channels: int) -> None:
        if self.size > channels:
            raise ConfigError(f"{self} has more components than the features have channels, which are {channels}")
        if self.components is not None and self.components.shape[1] != channels:
            raise ConfigError(
                f"the features have {channels} channels; the components of {self} are for {self.components.shape[1]}"
            )
        if self.basis and self.components is None:
            raise ConfigError(f"{self} needs the file with its components: name it as pca:FILE")

    def fit(self, frames: Iterable[NDArray[np.floating[Any]]]) -> dict[str, NDArray[np.float32]]:
        """Compute the leading eigenvectors of the second moment of all pixels, or return the components of the file.

        The second moment is not centred, since subtracting a mean would change all cosines. The largest entry of each
        eigenvector is positive. Sums are in float64.
        """
        moment: Any = 0.0
        for frame in frames:
            self.check(frame.shape[-1])
            if self.components is not None:
                return {"components": self.components}
            pixels = frame.reshape(-1, frame.shape[-1]).astype(np.float64)
            moment = moment + pixels.T @ pixels
        vectors = np.linalg.eigh(moment).eigenvectors[:, ::-1][:, : self.size].T
        largest = np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], axis=1)
        return {"components": (vectors * np.sign(largest)).astype(np.float32)}

    def encode(self, features: NDArray[np.float16], parameters: Parameters) -> dict[str, NDArray[Any]]:
        """Project features; coefficients too large for float16 become infinite."""
        with np.errstate(over="ignore"):
            return {"features": (features.astype(np.float32) @ parameters["components"].T).astype(np.float16)}

    def reconstruct(self, decoded: NDArray[np.floating[Any]], parameters: Parameters) -> NDArray[np.floating[Any]]:
        restored: NDArray[np.float32] = decoded.astype(np.float32) @ parameters["components"]
        return restored

    def decoded_channels(self, sizes: Mapping[str, int]) -> int:
        return sizes["component"]


def check_components(components: NDArray[np.floating[Any]]) -> None:
    """Raise ConfigError unless components (component, channel) are orthonormal; others would change cosines."""
    if components.ndim != 2 or not 0 < components.shape[0] <= components.shape[1]:
        raise ConfigError(f"components must be (component, channel), no more than channels, not {components.shape}")
    with np.errstate(invalid="ignore"):
        rows = components.astype(np.float64)
    if not np.allclose(rows @ rows.T, np.eye(len(rows)), rtol=0, atol=1e-3):
        raise ConfigError("components must be orthonormal: rows of length 1 at right angles (within 0.001)")


def _read_components(path: Path) -> NDArray[np.float32]:
    """Read components from a ``.npy`` file, or from the array ``components`` of a ``.npz`` file."""
    try:
        with path.open("rb") as file:  # numpy would leave a damaged archive open
            found: Any = np.load(file, allow_pickle=False)
            array = found if isinstance(found, np.ndarray) else found["components"]
            components = np.ascontiguousarray(array, dtype=np.float32)
        check_components(components)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except Exception as error:  # a damaged file can raise errors of zipfile, zlib, tokenize, ...
        raise ConfigError(f"cannot read components from {path}: {error}") from error
    return components
