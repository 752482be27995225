"""The task of tracking parts of people, as classes: VIP."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ....propagate.targets.mask_target import MaskTarget
from ....store.errors import ConfigError, LabelError
from ...datasets.masks_io import read_mask
from ...datasets.video import Video
from ...metrics.parts import VIP_CLASSES, confusion, intersection_over_union, mean_iou
from ..base import AnnotatedTarget, EvalCase, Evaluation, EvaluationTables
from ..masks.evaluating import MaskEvaluator, score_files
from ..masks.task import PngTask, digest_of_masks
from ..scoring import Measure, MetricSpec, Score, Values
from ..tables import TableLayout, as_number, known_value, read_table, text_table, write_csv

#: Metrics of parts of people: ranked by the mean IoU over classes.
PARTS = MetricSpec(measures=(Measure(column="miou", title="mIoU"),), shown=("miou",), order=("miou",))

#: Pixels, (true class, predicted class), int64.
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class PartScore(Score):
    """Pixels of a video.

    Attributes
    ----------
    counts
        (true class, predicted class), int64.
    frames
        Number of counted frames.
    """

    counts: Counts
    frames: int
    metric_spec: ClassVar[MetricSpec] = PARTS
    json_key: ClassVar[str] = "parts"

    def to_json(self) -> dict[str, Any]:
        pairs = np.argwhere(self.counts)
        return {"parts": np.column_stack([pairs, self.counts[tuple(pairs.T)]]).tolist(), "frames": self.frames}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "PartScore":
        counts = np.zeros((len(VIP_CLASSES),) * 2, dtype=np.int64)
        for true, predicted, pixels in value["parts"]:
            counts[true, predicted] = pixels
        return cls(counts=counts, frames=int(value["frames"]))

    @classmethod
    def means(cls, scores: "Sequence[PartScore]") -> Values:
        """Return the mean IoU over classes, from the pixels of all videos together."""
        return {"miou": known_value(mean_iou(np.sum([score.counts for score in scores], axis=0)))}


class PartTruth:
    """The true masks of a video, compared in all annotated frames including the first, as TimeCycle, UVC and CRW do.

    Masks are given by name of the frame; all have `size`, by default that of the first. Numbers that are no class do
    not count. Raises ConfigError when no frame is annotated. See `MaskTruth`.
    """

    def __init__(self, name: str, paths: Mapping[str, Path], size: tuple[int, int] | None = None) -> None:
        if not paths:
            raise ConfigError(f"video {name!r} has no annotated frames: there is nothing to score")
        self.name, self.frames, self._paths = name, tuple(paths), dict(paths)
        height, width = size or read_mask(self._paths[self.frames[0]]).shape
        self._size = height, width

    def read(self, frame: str) -> npt.NDArray[np.uint8]:
        return read_mask(self._paths[frame], self._size)

    def read_result(self, path: Path) -> npt.NDArray[np.uint8]:
        predicted = read_mask(path, self._size)
        if predicted.max() >= len(VIP_CLASSES):
            raise LabelError(f"result {path} contains class {predicted.max()}; there are 0 to {len(VIP_CLASSES) - 1}")
        return predicted

    def measure(self, true: npt.NDArray[np.uint8], ids: npt.NDArray[np.uint8]) -> Counts:
        return confusion(true, ids, len(VIP_CLASSES))

    def score(self, measured: Sequence[Counts], *, by_frame: bool = False) -> PartScore:
        return PartScore(counts=np.sum(measured, axis=0), frames=len(measured))


@dataclass(frozen=True, kw_only=True)
class PartTask(PngTask):
    """Parts of people, as classes of masks, scored by the mean IoU over the pixels of all videos."""

    name = "parts"
    noun = "masks"
    metric_spec = PARTS
    score_type = PartScore
    tables = ("parts_results-*", "per-video_results-*")
    layout = TableLayout(label="Class", titles={"miou": "IoU"})

    def missing_truth(self, video: Video) -> str | None:
        others = video.annotations().keys() - video.annotated_masks.keys()
        return None if others else "has ground truth only for the first annotated frame"

    def eval_case(self, video: Video) -> EvalCase:
        masks = MaskTarget(masks=video.read_annotated_masks())
        if max(masks.object_ids) >= len(VIP_CLASSES):
            raise LabelError(
                f"the annotated masks of video {video.name!r} have class {max(masks.object_ids)}; there are 0 to "
                f"{len(VIP_CLASSES) - 1}"
            )
        annotations = video.annotations()
        paths = {name: path.absolute() for name, path in annotations.items()}
        truth = PartTruth(video.name, paths, video.frames.size)
        return EvalCase(
            targets=[AnnotatedTarget(tuple(masks.masks), masks)],
            evaluator=MaskEvaluator(truth=truth, frame_names=video.frames.names, target=masks),
            key={"masks": digest_of_masks(video, masks, annotations), "metrics": "parts"},
        )

    def score_video(self, video: Video, folder: Path) -> PartScore:
        """Count a video's pixels; see `PartTruth`."""
        score: PartScore = score_files(PartTruth(video.name, video.annotations()), folder)
        if not score.counts.any():
            raise ConfigError(f"no pixel of the true masks of video {video.name!r} has a class")
        return score

    def evaluation(self, scores: Mapping[str, PartScore], results: Path, set_name: str) -> Evaluation:
        """Summarise the IoU of each class, and write tables by class and by video."""
        mean = _mean(*scores.values())
        videos = {name: _mean(score) for name, score in scores.items()}
        by_class = intersection_over_union(np.sum([score.counts for score in scores.values()], axis=0))
        classes = dict(zip(VIP_CLASSES, by_class.tolist(), strict=True))
        first, second = (results / f"{name.replace('*', set_name)}.csv" for name in self.tables)
        write_csv(first, ("Class", "IoU"), [*classes.items(), (self.layout.total, mean)])
        write_csv(second, ("Video", "mIoU"), videos.items())
        lines = text_table(("video", "mIoU"), ((name, [value]) for name, value in videos.items()))
        lines += ["", *text_table(("class", "IoU"), ((name, [value]) for name, value in classes.items()))]
        lines += [f"mIoU {mean:.3f}", f"tables: {first} {second}"]
        return Evaluation(values={"mIoU": mean, "classes": classes, "videos": videos}, lines=lines)

    def read_table(self, name: str, path: Path, other: Path | None) -> EvaluationTables:
        """Read the tables by class and by video; see `Task`."""
        found = super().read_table(name, path, None)
        if other is None:
            return replace(found, by_video={})
        videos = read_table(other, ["Video", "mIoU"])
        by_video = {row["Video"]: as_number(row["mIoU"]) for row in videos.records}
        return replace(found, by_video=by_video, tables=(*found.tables, videos))


def _mean(*scores: PartScore) -> float:
    mean = PartScore.means(scores)["miou"]
    return math.nan if mean is None else mean
