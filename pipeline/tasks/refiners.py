"""Refiners: improve what a target decodes, frame by frame, before it is written (for example a segmentation model)."""

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ...extract.frames import FrameSource
from ...propagate import AnnotatedLabel, Target
from ...store.errors import ConfigError

__all__ = ["RefinedTarget", "Refiner", "get_refiner"]

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
        """Return a better value for a frame without annotations.

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

        Returns
        -------
        Any
            A value of the same type and shape.
        """


class RefinedTarget:
    """A target whose decoded values are refined. Annotated frames stay as they were annotated.

    Parameters
    ----------
    target
        The target.
    annotated
        Indices of its annotated frames.
    refiner
        Improves the values of the other frames.
    frames
        The video's frames.
    """

    def __init__(self, target: Target[Any], annotated: tuple[int, ...], refiner: Refiner, frames: FrameSource) -> None:
        self._target, self._annotated, self._refiner, self._frames = target, annotated, refiner, frames

    def encode(self, grid: tuple[int, int]) -> Mapping[int, AnnotatedLabel]:
        """Return the labels of the annotated frames; see `Target`."""
        return self._target.encode(grid)

    def decode(self, frame: int, label: torch.Tensor, frame_size: tuple[int, int]) -> Any:
        """Decode a frame's label, and refine the value; see `Target`."""
        value = self._target.decode(frame, label, frame_size)
        if frame in self._annotated:
            return value
        return self._refiner.refine(frame, lambda: self._frames.read(frame), value, label)


def get_refiner(name: str) -> Refiner:
    """Create the refiner that an installed package offers under a name.

    Raises
    ------
    ConfigError
        For an unknown name; the message lists the known ones.
    """
    for offer in entry_points(group=_GROUP, name=name):
        refiner: Refiner = offer.load()()
        return refiner
    known = ", ".join(sorted(offer.name for offer in entry_points(group=_GROUP)))
    raise ConfigError(
        f"unknown refiner {name!r}; "
        + (f"there are: {known}" if known else f"no installed package offers any (entry points {_GROUP!r})")
    )
