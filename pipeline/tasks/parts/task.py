"""The task of tracking parts of people, as classes: VIP."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....propagate.targets.mask_target import MaskTarget
from ....store.errors import ConfigError, LabelError
from ...datasets.masks_io import read_mask
from ...datasets.video import Video
from ...metrics.parts import VIP_CLASSES, PartsScore, confusion
from ..base import AnnotatedTarget, EvalCase, Evaluation, EvaluationTables, Labels
from ..masks.task import PngTask, digest_of_masks
from ..tables import as_number, last_row, read_table, text_table, write_csv
from ..timing import Seconds, timed
from .scores import PARTS, Counts, PartScore

__all__ = ["PartTask", "score_parts", "write_parts"]


@dataclass(frozen=True, kw_only=True)
class _PartEvaluator:
    """Counts pixels against true masks, by index of the frame; see `Evaluator`."""

    truth: Mapping[int, Path]
    size: tuple[int, int]
    masks: MaskTarget

    def score(
        self, labels: Iterable[Labels], count: int, frame_size: tuple[int, int], seconds: Seconds
    ) -> list[PartScore]:
        """Count the pixels of all annotated frames, the first one included."""
        (of_masks,) = labels
        classes = len(VIP_CLASSES)
        totals = np.zeros((count, classes, classes), dtype=np.int64)
        left = set(self.truth)
        for frame, of_settings in of_masks:
            if frame in left:
                left.remove(frame)
                with timed(seconds, "metrics"):
                    true = read_mask(self.truth[frame], self.size)
                for number, label in enumerate(of_settings):
                    with timed(seconds, "decoding"):
                        predicted = self.masks.decode(frame, label, frame_size)
                    with timed(seconds, "metrics"):
                        totals[number] += confusion(true, predicted, classes)
            if not left:
                break
        return [PartScore(counts=counts, frames=len(self.truth)) for counts in totals]


@dataclass(frozen=True, kw_only=True)
class PartTask(PngTask):
    """Parts of people, as classes of masks, scored by the mean IoU over the pixels of all videos."""

    name = "parts"
    noun = "masks"
    metric_spec = PARTS
    score_type = PartScore
    tables = ("parts_results-*", "per-video_results-*")

    def missing_truth(self, video: Video) -> str | None:
        """Return which ground truth a video lacks for parts; see `Task`."""
        others = video.annotations().keys() - video.annotated_masks.keys()
        return None if others else "has ground truth only for the first annotated frame"

    def eval_case(self, video: Video) -> EvalCase:
        """Read the annotated masks, and find the ground truth; see `Task`."""
        masks = MaskTarget(masks=video.read_annotated_masks())
        if max(masks.object_ids) >= len(VIP_CLASSES):
            raise LabelError(
                f"the annotated masks of video {video.name!r} have class {max(masks.object_ids)}; there are 0 to "
                f"{len(VIP_CLASSES) - 1}"
            )
        annotations = video.annotations()
        index = {name: at for at, name in enumerate(video.frames.names)}
        truth = {index[name]: path.absolute() for name, path in annotations.items()}
        return EvalCase(
            targets=[AnnotatedTarget(tuple(masks.masks), masks)],
            evaluator=_PartEvaluator(truth=truth, size=video.frames.size, masks=masks),
            key={"masks": digest_of_masks(video, masks, annotations), "metrics": "parts"},
        )

    def score_video(self, video: Video, folder: Path) -> Counts:
        """Count a video's pixels; see `score_parts`."""
        counts = score_parts(video.name, video.annotations(), folder)
        if not counts.any():
            raise ConfigError(f"no pixel of the true masks of video {video.name!r} has a class")
        return counts

    def evaluation(self, scores: Mapping[str, Counts], results: Path, set_name: str) -> Evaluation:
        """Summarise the IoU of each class, and write tables by class and by video."""
        score = PartsScore(counts=scores)
        tables = write_parts(score, results, set_name)
        lines = text_table(("video", "mIoU"), ((name, [value]) for name, value in score.by_video.items()))
        lines += ["", *text_table(("class", "IoU"), ((name, [value]) for name, value in score.by_class.items()))]
        lines += [f"mIoU {score.mean:.3f}", f"tables: {tables[0]} {tables[1]}"]
        return Evaluation(values={"mIoU": score.mean, "classes": score.by_class, "videos": score.by_video}, lines=lines)

    def read_table(self, name: str, path: Path, other: Path | None) -> EvaluationTables:
        """Read the tables by class and by video; see `Task`."""
        classes = read_table(path, ["Class", "IoU"])
        videos = None if other is None else read_table(other, ["Video", "mIoU"])
        return EvaluationTables(
            metric_spec=PARTS,
            name=name,
            means={"mIoU": last_row(path, classes, "mean")["IoU"]},
            by_video={} if videos is None else {row["Video"]: as_number(row["mIoU"]) for row in videos.records},
            tables=(classes,) if videos is None else (classes, videos),
        )


def score_parts(name: str, truth: Mapping[str, Path], results: Path, classes: tuple[str, ...] = VIP_CLASSES) -> Counts:
    """Count the pixels of one video in all annotated frames including the first, as TimeCycle, UVC and CRW do.

    Parameters
    ----------
    name
        The video's name.
    truth
        Masks by name of the frame, in order. Numbers that are no class do not count.
    results
        Folder of the video's results, ``<frame>.png``.
    classes
        Names of the classes.

    Returns
    -------
    numpy.ndarray
        (true class, predicted class), int64.

    Raises
    ------
    ConfigError
        When no frame is annotated.
    LabelError
        When a mask is missing or cannot be read, differs in size, or a result contains a number that is no class.
    """
    if not truth:
        raise ConfigError(f"video {name!r} has no annotated frames: there is nothing to score")
    total = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for frame, path in truth.items():
        true = read_mask(path)
        result = results / f"{frame}.png"
        if not result.is_file():
            raise LabelError(f"there is no result of frame {frame} of video {name!r}: {result}")
        predicted = read_mask(result, (true.shape[0], true.shape[1]))
        if predicted.max() >= len(classes):
            raise LabelError(f"result {result} contains class {predicted.max()}; there are 0 to {len(classes) - 1}")
        total += confusion(true, predicted, len(classes))
    return total


def write_parts(score: PartsScore, folder: Path, set_name: str) -> tuple[Path, Path]:
    """Write ``parts_results-<set>.csv`` (IoU of each class, then the mean) and ``per-video_results-<set>.csv``."""
    classes = [*score.by_class.items(), ("mean", score.mean)]
    return (
        write_csv(folder / f"parts_results-{set_name}.csv", ("Class", "IoU"), classes),
        write_csv(folder / f"per-video_results-{set_name}.csv", ("Video", "mIoU"), score.by_video.items()),
    )
