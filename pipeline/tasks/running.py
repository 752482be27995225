"""The work of a task on one video: its targets, and what becomes of their decoded values."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ...propagate import AnnotatedLabel, Target


class AnnotatedTarget(NamedTuple):
    """A target that is propagated in one pass, and the indices of its annotated frames, rising."""

    frames: tuple[int, ...]
    target: Target[Any]


class TaskRun(ABC):
    """One video's targets; collects what they decode, and writes the result.

    Attributes
    ----------
    targets
        Each is propagated on its own.
    backward
        Whether targets are propagated to the frames before their first annotation, too.
    record
        Description of the annotations that the result depends on, JSON-compatible: part of ``ted.json``.
    files
        Names of the files that a complete result has.
    """

    targets: Sequence[AnnotatedTarget]
    backward: bool = True
    record: Mapping[str, Any]
    files: Sequence[str] = ()

    def begin(self, folder: Path, grid: tuple[int, int], frame_size: tuple[int, int]) -> None:  # noqa: B027
        """Prepare for `collect` of a result that will be written to a folder; by default there is nothing to do.

        `grid` is (y, x) of the features, `frame_size` (height, width) of the frames that they were computed from.
        """

    @abstractmethod
    def collect(self, number: int, frame: int, value: Any, label: torch.Tensor) -> None:
        """Take the value that a target, by its number, decoded in a frame, and its soft label, (channel, y, x)."""

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Write the collected values, unless `collect` has written them."""


class EncodedTarget(NamedTuple):
    """A target of a run on a grid: its labels by annotated frame, and the channels that are not background."""

    labels: Mapping[int, AnnotatedLabel]
    channels: range


def encode_targets(targets: Sequence[AnnotatedTarget], grid: tuple[int, int]) -> list[EncodedTarget]:
    """Encode the targets of a run on a grid (y, x)."""
    encoded = []
    for frames, target in targets:
        labels = target.encode(grid)
        first = labels[frames[0]]
        background = getattr(target, "first_channel", int(first.exclusive))
        encoded.append(EncodedTarget(labels, range(background, len(first.label))))
    return encoded


def target_names(targets: Sequence[AnnotatedTarget], encoded: Sequence[EncodedTarget]) -> list[str]:
    """Return a name for each tracked channel of all targets in their order, such as ``"object 2"``."""
    names: list[str] = []
    for (_, target), (_, channels) in zip(targets, encoded, strict=True):
        noun = getattr(target, "noun", "target")
        ids = getattr(target, "object_ids", range(len(names) + 1, len(names) + 1 + len(channels)))
        names += [f"{noun} {number}" for number in ids]
    return names


def describe_targets(run: TaskRun, grid: tuple[int, int]) -> dict[str, Any]:
    """Describe what a run tracks, JSON-compatible, for artifacts that are made for it.

    Returns
    -------
    dict
        ``targets``: the names of `target_names`; ``annotations``: digests of what is annotated.
    """
    names = target_names(run.targets, encode_targets(run.targets, grid))
    return {"targets": names, "annotations": {key: value for key, value in run.record.items() if key != "soft"}}
