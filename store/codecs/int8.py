"""int8: quantised deviations from each channel's mean, with one step size per pixel."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..layout import ArrayLayout
from .base import FeatureCodec, Parameters

_LEVELS = 127
_TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True, kw_only=True)
class Int8(FeatureCodec):
    """One byte per value: ``feature = features * scale * channel_scale + channel_mean``.

    ``features`` lies in -127..127; ``scale`` is one number per pixel; all frames share ``channel_mean`` and
    ``channel_scale``, (channel,).
    """

    family: ClassVar = "int8"
    notation: ClassVar = "int8"
    dtype: ClassVar = np.float32
    arrays: ClassVar = (
        ArrayLayout(name="features", dimensions=("frame", "y", "x", "channel"), dtype="int8"),
        ArrayLayout(name="scale", dimensions=("frame", "y", "x"), dtype="float32"),
        ArrayLayout(name="channel_mean", dimensions=("channel",), dtype="float32"),
        ArrayLayout(name="channel_scale", dimensions=("channel",), dtype="float32"),
    )

    @classmethod
    def parse(cls, text: str) -> Self | None:
        return cls() if text == cls.family else None

    @property
    def name(self) -> str:
        return self.family

    @property
    def loss(self) -> tuple[float, float, str]:
        return 2, 0, ""

    def bytes_per_cell(self, channels: int) -> float:
        return channels + 4  # and the pixel's scale

    def fit(self, frames: Iterable[NDArray[np.floating[Any]]]) -> dict[str, NDArray[np.float32]]:
        """Compute each channel's mean, and the square root of its standard deviation, over all pixels of all frames.

        A channel's rounding error changes a cosine in proportion to the channel's size. The total error is smallest if
        the steps are proportional to the square root of the standard deviation. Sums are in float64.
        """
        total: Any = 0.0
        squares: Any = 0.0
        count = 0
        for frame in frames:
            pixels = frame.reshape(-1, frame.shape[-1]).astype(np.float64)
            total = total + pixels.sum(0)
            squares = squares + np.einsum("pc,pc->c", pixels, pixels)
            count += len(pixels)
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean * mean, 0))
        # A constant channel is stored as its mean; its deviation is only a rounding error.
        constant = deviation <= 1e-7 * np.abs(mean)
        scale = np.sqrt(np.where(constant, 1, deviation))
        return {"channel_mean": mean.astype(np.float32), "channel_scale": scale.astype(np.float32)}

    def encode(self, features: NDArray[np.float16], parameters: Parameters) -> dict[str, NDArray[Any]]:
        units = features.astype(np.float32)
        units -= parameters["channel_mean"]
        units /= parameters["channel_scale"]
        scale = np.maximum(np.abs(units).max(-1) / np.float32(_LEVELS), _TINY)
        units /= scale[..., None]
        np.rint(units, out=units)
        # Rounding must not give a vector of zeros a direction: set its scale to 0.
        scale[~features.any(-1)] = 0
        units *= (scale != 0)[..., None]
        return {"features": np.clip(units, -_LEVELS, _LEVELS, out=units).astype(np.int8), "scale": scale}

    def decode(self, stored: Mapping[str, NDArray[Any]], parameters: Parameters) -> NDArray[np.floating[Any]]:
        scale = stored["scale"][..., None]
        features: NDArray[np.float32] = stored["features"].astype(np.float32)
        features *= scale
        features *= parameters["channel_scale"]
        features += parameters["channel_mean"]
        features *= scale != 0
        return features
