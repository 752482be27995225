"""Refiners: improve what a target decodes, frame by frame, before it is written (for example a segmentation model)."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ...store import Cache
from ...store.errors import ConfigError
from ...store.plugins import entry_points
from ..datasets.video import Video

_GROUP = "ted.refiners"

#: ``module:function`` by name. The function takes the options' text and a device, and returns a `MakeRefiner`.
_BUILT_IN = {"sam": f"{__package__}.masks.sam:prepare"}


class Refiner(Protocol):
    """Improves decoded values. Packages offer classes or functions without arguments as entry points ``ted.refiners``.

    A refiner may also have `counts`, numbers of what it did by name, which ``ted propagate`` prints; and `feedback`, a
    function that returns the label of the value that was refined last, on the same grid, from the propagated one. That
    label is then the context of later frames.

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


#: Creates the refiner of a video; built-in ones read the video's units in the cache.
MakeRefiner = Callable[[Cache, Video], Refiner]


def get_refiner(text: str, device: torch.device) -> MakeRefiner:
    """Return the function that creates a video's refiner, from ``NAME`` or ``NAME:option=value,option=value``.

    Raises
    ------
    ConfigError
        For an unknown name (the message lists the known ones), and for options that the refiner does not take.
    WeightsError
        When its weights are missing or of another family.
    """
    name, _, options = text.partition(":")
    if name in _BUILT_IN:
        module, _, function = _BUILT_IN[name].partition(":")
        made: MakeRefiner = getattr(importlib.import_module(module), function)(options, device)
        return made
    for offer in entry_points(group=_GROUP, name=name):
        if options:
            raise ConfigError(f"refiner {name!r} of another package takes no options")
        refiner: Refiner = offer.load()()
        return lambda cache, video: refiner
    known = ", ".join([*_BUILT_IN, *sorted(offer.name for offer in entry_points(group=_GROUP))])
    raise ConfigError(f"unknown refiner {name!r}; there are: {known} (installed packages offer more as {_GROUP!r})")
