"""Progress bars on standard error, one for each video."""

import sys
from collections.abc import Callable

from tqdm import tqdm

from ...store.layout import printable


class FrameBars:
    """Progress bars that count frames, one bar at a time, drawn on terminals only; use as a context manager."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def __enter__(self) -> "FrameBars":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def start(self, title: str, count: int, *, unit: str = "frame") -> Callable[[int], None]:
        """Begin a bar; return a function that takes the number of frames (or other units) just done."""
        self._close()
        self._bar = tqdm(total=count, desc=printable(title), unit=unit, disable=None, dynamic_ncols=True)
        update: Callable[[int], None] = self._bar.update
        return update

    def note(self, text: str) -> None:
        """Print a line on standard error, above a bar that is not at its end."""
        if self._bar is not None and self._bar.n >= (self._bar.total or 0):
            self._close()
        tqdm.write(printable(text, keep="\n"), file=sys.stderr)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
