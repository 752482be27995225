"""A reader that looks at all units all the time while they are being written."""

import random
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ted.store import Unit, open_cache
from ted.store.errors import IncompleteUnitError

__all__ = ["Reader", "features_of"]


def features_of(cache: Path) -> dict[Path, NDArray[Any]]:
    """Read all complete units of a cache, by their folders relative to it."""
    units = open_cache(cache).units()
    return {unit.folder.relative_to(cache): unit.features.compute(scheduler="synchronous") for unit in units}


class Reader(threading.Thread):
    """Opens units and reads them; use as a context manager, which raises what was wrong.

    Parameters
    ----------
    cache
        Folder of the cache.
    expected
        What the units must hold, by their folders relative to the cache.

    Attributes
    ----------
    accepted, refused
        How often a unit was read, and how often it was refused because it was not complete.
    """

    def __init__(self, cache: Path, expected: Mapping[Path, NDArray[Any]]) -> None:
        super().__init__(daemon=True)
        self.accepted = self.refused = 0
        self._cache = cache
        self._expected = expected
        self._stopped = threading.Event()
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self.join()
        if self._error is not None:
            raise self._error

    def run(self) -> None:
        try:
            rng = random.Random(0)
            seen: set[Path] = set()
            while not self._stopped.is_set():
                for folder in self._expected:
                    if folder not in seen or rng.random() < 0.05:
                        seen |= self._look(folder, was_whole=folder in seen)
                time.sleep(0.002)
        except BaseException as error:  # raised in the thread that waits
            self._error = error

    def _look(self, folder: Path, *, was_whole: bool) -> set[Path]:
        try:
            unit = Unit(self._cache / folder)
        except IncompleteUnitError:
            assert not was_whole, f"{folder} was complete, and is not any more"
            self.refused += 1
            return set()
        found = unit.features.compute(scheduler="synchronous")
        np.testing.assert_array_equal(found, self._expected[folder], err_msg=f"{folder} was accepted too early")
        self.accepted += 1
        return {folder}
