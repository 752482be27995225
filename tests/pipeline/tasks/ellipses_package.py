"""A task of another package: ellipses, annotated in a JSON file, followed through a video and scored by their overlap.

Nothing in the project knows it but for one entry point. Tests copy this file out of the project, and import it there.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import torch

from ted.pipeline.datasets.video import Video
from ted.pipeline.tasks.base import (
    AnnotatedTarget,
    DrawnFrames,
    EvalCase,
    Measure,
    MetricSpec,
    ResultEvaluator,
    Score,
    Task,
    TaskRun,
    Values,
)
from ted.propagate import AnnotatedLabel
from ted.store.errors import LabelError

Ellipses = dict[str, list[float]]  # centre x, y, and half axes, by name of the frame

ELLIPSES = MetricSpec(
    measures=(Measure(column="overlap", title="overlap", official="Overlap"), Measure(column="off", title="off by")),
    shown=("overlap",),
    order=("overlap",),
)


@dataclass(frozen=True)
class EllipseTarget:
    """An ellipse of the first frame; its label is the share of each cell that it covers."""

    ellipse: Sequence[float]
    size: tuple[int, int]

    def encode(self, grid: tuple[int, int]) -> dict[int, AnnotatedLabel]:
        inside = filled(self.ellipse, self.size)
        label = cv2.resize(inside.astype(np.float32), grid[::-1], interpolation=cv2.INTER_AREA)
        return {0: AnnotatedLabel(label=torch.from_numpy(label)[None], exclusive=False)}

    def decode(self, frame: int, label: torch.Tensor, frame_size: tuple[int, int]) -> list[float]:
        if frame == 0:
            return list(self.ellipse)
        weights = label[0].double().cpu().numpy()
        scale = np.array(self.size[::-1]) / weights.shape[::-1]  # pixels in a cell, x and y
        y, x = (np.indices(weights.shape) + 0.5).reshape(2, -1) * scale[::-1, None]
        share = weights.ravel() / max(weights.sum(), 1e-9)
        centre = np.array([(share * x).sum(), (share * y).sum()])
        spread = np.sqrt([(share * (x - centre[0]) ** 2).sum(), (share * (y - centre[1]) ** 2).sum()])
        return [*centre.tolist(), *(2 * spread).tolist()]


class EllipseRun(TaskRun):
    files = ("ellipses.json",)

    def __init__(self, video: Video) -> None:
        given = annotations(video)
        self.names = video.frames.names
        self.found: Ellipses = {}
        first = given[self.names[0]]
        self.targets = [AnnotatedTarget((0,), EllipseTarget(first, video.frames.size))]
        self.record = {"ellipse": first}

    def collect(self, number: int, frame: int, value: list[float], label: torch.Tensor) -> None:
        self.found[self.names[frame]] = value

    def write(self, folder: Path) -> None:
        (folder / "ellipses.json").write_text(json.dumps(self.found))


@dataclass(frozen=True)
class EllipseScore(Score):
    overlaps: tuple[float, ...]
    off: float

    metric_spec: ClassVar[MetricSpec] = ELLIPSES
    json_key: ClassVar[str] = "ellipses"

    @property
    def frames(self) -> int:
        return len(self.overlaps)

    def to_json(self) -> Any:
        return {"ellipses": list(self.overlaps), "off": self.off}

    @classmethod
    def from_json(cls, value: Any) -> "EllipseScore":
        return cls(tuple(map(float, value["ellipses"])), float(value["off"]))

    @classmethod
    def means(cls, scores: "Sequence[EllipseScore]") -> Values:
        every = [overlap for score in scores for overlap in score.overlaps]
        return {"overlap": float(np.mean(every)), "off": float(np.mean([score.off for score in scores]))}

    @classmethod
    def of(cls, found: Ellipses, true: Ellipses, size: tuple[int, int]) -> "EllipseScore":
        later = [name for name in list(true)[1:] if name in found]
        pairs = [(filled(true[name], size), filled(found[name], size)) for name in later]
        off = [float(np.hypot(*np.subtract(true[name][:2], found[name][:2]))) for name in later]
        return cls(tuple((a & b).sum() / (a | b).sum() for a, b in pairs), float(np.mean(off)))


class EllipseFrames(DrawnFrames):
    noun = "ellipses"
    metric = "Overlap"
    has_truth = True

    def __init__(self, video: Video, folder: Path) -> None:
        self._found: Ellipses = json.loads((folder / "ellipses.json").read_text())
        self._true, self._size = annotations(video), video.frames.size
        super().__init__(video, folder, tuple(self._found))
        self.ranked = self.frames[1:]

    def score(self, frame: str) -> float | None:
        true, found = filled(self._true[frame], self._size), filled(self._found[frame], self._size)
        return float((true & found).sum() / (true | found).sum())

    def legend(self, frames: Sequence[str], *, truth: bool = False) -> Mapping[int, str]:
        return {3: "the ellipse"}

    def draw_layer(self, picture: Any, index: int, scale: float, *, truth: bool) -> Any:
        x, y, a, b = (scale * value for value in (self._true if truth else self._found)[self.frames[index]])
        drawn = picture.copy()
        cv2.ellipse(drawn, (round(x), round(y)), (round(a), round(b)), 0, 0, 360, (255, 0, 255), 2)
        return drawn


@dataclass(frozen=True, kw_only=True)
class EllipseTask(Task):
    name = "ellipses"
    metric_spec = ELLIPSES
    score_type = EllipseScore

    @classmethod
    def reads(cls, annotations: Path) -> bool:
        return annotations.suffix == ".json"

    def start(self, video: Video) -> EllipseRun:
        return EllipseRun(video)

    def eval_case(self, video: Video) -> EvalCase:
        run, true = self.start(video), annotations(video)
        digest = hashlib.sha256(json.dumps(true).encode()).hexdigest()
        return EvalCase(
            targets=run.targets,
            evaluator=ResultEvaluator(run=run, score_run=partial(score_run, true=true, size=video.frames.size)),
            key={"truth": digest, "metrics": self.name},
        )

    def has_results(self, folder: Path) -> bool:
        return (folder / "ellipses.json").is_file()

    def score_video(self, video: Video, folder: Path) -> EllipseScore:
        found = json.loads((folder / "ellipses.json").read_text())
        return EllipseScore.of(found, annotations(video), video.frames.size)

    def open_frames(self, video: Video, folder: Path) -> EllipseFrames:
        return EllipseFrames(video, folder)


def annotations(video: Video) -> Ellipses:
    if video.annotation_file is None:
        raise LabelError(f"video {video.name!r} has no ellipses")
    given: Ellipses = json.loads(video.annotation_file.read_text())
    return {name: given[name] for name in video.frames.names if name in given}


def filled(ellipse: Sequence[float], size: tuple[int, int]) -> Any:
    """Pixels inside of an ellipse, (height, width), bool."""
    y, x = np.indices(size) + 0.5
    return ((x - ellipse[0]) / ellipse[2]) ** 2 + ((y - ellipse[1]) / ellipse[3]) ** 2 <= 1


def score_run(run: EllipseRun, true: Ellipses, size: tuple[int, int]) -> EllipseScore:
    return EllipseScore.of(run.found, true, size)
