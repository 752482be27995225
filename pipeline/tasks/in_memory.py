"""Scoring in memory, for tasks whose whole result fits there: joints, points, boxes."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .base import Labels, Score, TaskRun
from .timing import Seconds, timed

__all__ = ["ResultEvaluator"]


@dataclass(frozen=True, kw_only=True)
class ResultEvaluator:
    """Collects the result of each setting, then scores it.

    Attributes
    ----------
    run
        The video's run, with nothing collected yet.
    score_run
        Scores a run that has collected all frames; picklable.
    """

    run: TaskRun
    score_run: Callable[[Any], Score]

    def score(self, labels: Iterable[Labels], count: int, frame_size: tuple[int, int], seconds: Seconds) -> list[Score]:
        """Score the labels of several settings; see `Evaluator`."""
        runs = [copy.deepcopy(self.run) for _ in range(count)]
        for number, ((annotated, target), of_target) in enumerate(zip(self.run.targets, labels, strict=True)):
            for frame, of_settings in of_target:
                if frame < annotated[0] and not self.run.backward:
                    break  # these frames come last
                with timed(seconds, "decoding"):
                    for run, label in zip(runs, of_settings, strict=True):
                        run.collect(number, frame, target.decode(frame, label, frame_size), label)
        with timed(seconds, "metrics"):
            return [self.score_run(run) for run in runs]
