"""What a kind of video says to a sweep: what is followed, what it is scored against, and how scores are joined."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import torch

from ...propagate import Target
from ..datasets.video import Video
from .metric_specs import MetricSpec, Values
from .timing import Seconds

__all__ = ["EvalCase", "Evaluator", "Kind", "Labels", "Score", "ScoreRow"]

#: Frame and soft label, (channel, y, x), under each of several settings, in the order of propagation: first that of the
#: first annotated frame, which is the same under all.
Labels = Iterable[tuple[int, Sequence[torch.Tensor]]]


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """What the tables say of one object of a video, or of the whole video.

    Attributes
    ----------
    object_id
        The object; None for the video.
    frames
        Number of frames that were scored.
    values
        By the columns of the metric_spec.
    """

    object_id: int | None = None
    frames: int
    values: Values


class Score(Protocol):
    """What was measured of one video under one setting: all that means over videos are made of."""

    metric_spec: ClassVar[MetricSpec]

    @property
    def rows(self) -> Sequence[ScoreRow]:
        """What the tables say of the video."""

    def to_json(self) -> Any:
        """Return the score as JSON values, None for what is not a number."""

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Build it from what `to_json` gave; raises TypeError, KeyError or ValueError for something else."""

    @classmethod
    def means(cls, scores: Sequence[Self]) -> Values:
        """Return the values of several videos together, at least one, as ``ted evaluate`` has them."""


class Evaluator(Protocol):
    """Scores labels against the ground truth of a video. It is sent to workers: picklable."""

    def score(
        self, labels: Iterable[Labels], count: int, frame_size: tuple[int, int], seconds: Seconds
    ) -> Sequence[Score]:
        """Score the soft labels of several settings.

        The numbers are those that results would have as files.

        Parameters
        ----------
        labels
            Of each target by itself.
        count
            Number of settings.
        frame_size
            (height, width) of the frames that the features were computed from.
        seconds
            Where the time is added: ``decoding`` and ``metrics``.

        Returns
        -------
        sequence of Score
            The score under each setting.

        Raises
        ------
        ConfigError, LabelError
            For a ground truth that cannot be used.
        """


@dataclass(frozen=True, kw_only=True)
class EvalCase:
    """What is followed in a video, and what it is scored against.

    Attributes
    ----------
    targets
        What is followed, each target by itself: the indices of its annotated frames, rising, and the target.
    grader
        Scores what is found.
    key
        All that scores depend on beside features and parameters, JSON-compatible: digests of what is given and of the
        ground truth, what is measured.
    """

    targets: tuple[tuple[tuple[int, ...], Target[Any]], ...]
    grader: Evaluator
    key: Mapping[str, str]


class Kind(Protocol):
    """A way in which videos are measured."""

    @property
    def metric_spec(self) -> MetricSpec:
        """What is measured."""

    @property
    def options(self) -> Mapping[str, str]:
        """The options of ``ted sweep`` that mean this kind and no other of these videos."""

    def annotated(self, video: Video) -> Sequence[tuple[int, ...]]:
        """Return the indices of the annotated frames of each target; needs no ground truth but what is given."""

    def lacks(self, video: Video) -> str | None:
        """Say what a video lacks to be scored, as far as its lists and file names tell; None if nothing."""

    def grade(self, video: Video) -> EvalCase:
        """Read what is given of a video, and its ground truth.

        Raises
        ------
        ConfigError
            When there is not enough ground truth.
        LabelError
            For what is given, or a ground truth, that cannot be used.
        """
