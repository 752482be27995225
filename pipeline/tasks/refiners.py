"""Refiners: improve what a target decodes, frame by frame, before it is written (for example a segmentation model)."""

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ...store.errors import ConfigError

_GROUP = "ted.refiners"


class Refiner(Protocol):
    """Improves decoded values. Packages offer classes or functions without arguments as entry points ``ted.refiners``.

    Attributes
    ----------
    identity
        Everything that refined results depend on (name, version, hash of weights), JSON-compatible: part of
        ``ted.json``.
    """

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name, version and hash of the refiner; see above."""

    def refine(self, frame: int, pixels: Callable[[], npt.NDArray[np.uint8]], value: Any, label: torch.Tensor) -> Any:
        """Return a better value, of the same type and shape, for a frame without annotations.

        Parameters
        ----------
        frame
            Index of the frame.
        pixels
            Reads the frame, (height, width, 3), RGB, when it is called.
        value
            The decoded value: for masks (height, width), uint8, object numbers.
        label
            The soft label that it was decoded from, (channel, y, x), float32, on the feature grid.
        """


def get_refiner(name: str) -> Refiner:
    """Create the refiner that an installed package offers; raises ConfigError, with the known names, for another."""
    for offer in entry_points(group=_GROUP, name=name):
        refiner: Refiner = offer.load()()
        return refiner
    known = ", ".join(sorted(offer.name for offer in entry_points(group=_GROUP)))
    raise ConfigError(
        f"unknown refiner {name!r}; "
        + (f"there are: {known}" if known else f"no installed package offers any (entry points {_GROUP!r})")
    )
