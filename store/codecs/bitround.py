"""bitround: float16 with fewer bits of the mantissa, compressed without further loss."""

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numcodecs.bitround import BitRound as _Rounding
from numpy.typing import NDArray

from ..errors import ConfigError
from ..layout import ArrayLayout
from .base import FeatureCodec, Parameters

_NAME = re.compile(r"bitround:?([1-9][0-9]*)", re.ASCII)
_MANTISSA_BITS = 10  # of float16


@dataclass(frozen=True, kw_only=True)
class BitRound(FeatureCodec):
    """float16 rounded to the nearest number with `bits` bits of the mantissa (1 to 10), ties to even."""

    bits: int

    family: ClassVar = "bitround"
    notation: ClassVar = "bitround:N (N bits of the mantissa, 1 to 10)"
    arrays: ClassVar = (
        ArrayLayout(name="features", dimensions=("frame", "y", "x", "channel"), dtype="float16", compressor="blosc"),
    )

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= _MANTISSA_BITS:
            raise ConfigError(f"bitround keeps 1 to {_MANTISSA_BITS} bits of the mantissa, not {self.bits}")

    @classmethod
    def parse(cls, text: str) -> Self | None:
        found = _NAME.fullmatch(text)
        return None if found is None else cls(bits=int(found[1]))

    @property
    def name(self) -> str:
        return f"bitround{self.bits}"

    @property
    def loss(self) -> tuple[float, float, str]:
        return (1 if self.bits > 5 else 3), -self.bits, ""

    def encode(self, features: NDArray[np.float16], parameters: Parameters) -> dict[str, NDArray[Any]]:
        codec = _Rounding(keepbits=self.bits)
        rounded: NDArray[np.float16] = codec.decode(codec.encode(np.ascontiguousarray(features)))
        # The largest values would round up to infinity: clip them to the largest finite value with this many bits.
        largest = np.float16((2 - 2.0**-self.bits) * 2**15)
        return {"features": np.clip(rounded.reshape(features.shape), -largest, largest)}
