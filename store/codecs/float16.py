"""float16: features as extraction computes them."""

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..layout import ArrayLayout
from .base import FeatureCodec, Parameters

_NAME = re.compile(r"float16(?:-for-(?P<target>[A-Za-z0-9_.-]+))?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Float16(FeatureCodec):
    """Features in float16.

    Attributes
    ----------
    target
        Name of the codec to which these features will be converted when they are complete; empty if they will not be
        converted. Units with a target are staging units.
    """

    target: str = ""

    family: ClassVar = "float16"
    notation: ClassVar = "float16"
    arrays: ClassVar = (ArrayLayout(name="features", dimensions=("frame", "y", "x", "channel"), dtype="float16"),)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        found = _NAME.fullmatch(text)
        return None if found is None else cls(target=found["target"] or "")

    @property
    def name(self) -> str:
        return f"float16-for-{self.target}" if self.target else "float16"

    @property
    def loss(self) -> tuple[float, float, str]:
        return 0, 0, self.target

    @property
    def is_staging(self) -> bool:
        return bool(self.target)

    def encode(self, features: NDArray[np.float16], parameters: Parameters) -> dict[str, NDArray[Any]]:
        return {"features": features}
