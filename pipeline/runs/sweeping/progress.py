"""Progress of a sweep on standard error: a bar for affinities, and one for scores."""

import sys
from types import TracebackType

from tqdm import tqdm

from .planning import SweepPlan

__all__ = ["SweepBars"]


class SweepBars:
    """Two bars; use as a context manager. Lines are printed above them; bars only where stderr is a terminal."""

    def __init__(self, plan: SweepPlan) -> None:
        frames = sum(len(work.legs) * len(work.video.frames) for work in plan.videos)
        settings = sum(work.missing for work in plan.videos if work.grading is not None)
        self._affinities = tqdm(
            total=frames, desc="affinities", unit="frame", disable=None if frames else True, dynamic_ncols=True
        )
        self._scores = tqdm(
            total=settings,
            desc="scores",
            unit="setting",
            disable=None if settings else True,
            dynamic_ncols=True,
            position=1,
        )
        for name, reason in plan.failures.items():
            self.note(f"Error: {name}: {reason}")

    def __enter__(self) -> "SweepBars":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scores.close()
        self._affinities.close()

    def affinities(self, frames: int) -> None:
        """Count frames that have their affinities now."""
        self._affinities.update(frames)

    def scores(self, settings: int) -> None:
        """Count settings that have their scores now, each on one video."""
        self._scores.update(settings)

    def note(self, text: str) -> None:
        """Print a line."""
        tqdm.write(text, file=sys.stderr)
