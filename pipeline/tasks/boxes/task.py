"""The task of tracking boxes: boxes from a table, and boxes around the objects of masks."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ....propagate.targets.boxes import BoxTarget, TrackedBoxes
from ....store.errors import ConfigError, LabelError
from ...choices.hints import plural
from ...datasets.table_video import TableAnnotations, TableVideo, frame_numbers, mask_boxes
from ...datasets.video import Video
from ...metrics.boxes import BoxScore
from ..base import AnnotatedTarget, EvalCase, Evaluation, EvaluationTables, Task, TaskRun
from ..in_memory import ResultEvaluator
from ..masks.task import missing_masks
from ..tables import as_number, last_row, mean_values, read_table, text_table, video_means, write_table
from .frames import BoxFrames, result_boxes, true_boxes
from .results import BoxResult
from .scores import BOXES, BoxesScore, score_box_result

__all__ = ["BoxRun", "BoxTask"]


class BoxRun(TaskRun):
    """Boxes of a table, or around annotated masks, in any frames.

    Boxes that are annotated in the same frames form one target; they do not influence each other.

    Raises
    ------
    LabelError
        When the table, or a mask, does not fit the video.
    """

    files = ("boxes.npz", "boxes.csv")

    def __init__(self, video: Video) -> None:
        places = video.read_table() if isinstance(video, TableVideo) else _boxes_of_masks(video)
        shape = len(places.ids), len(video.frames)
        given = np.zeros(shape, dtype=bool)
        for frame, boxes in places.rows.items():
            given[:, frame] = np.isfinite(boxes).all(1)
        self._result = BoxResult(
            frames=video.frames.names,
            numbers=np.array(frame_numbers(video)),
            ids=np.array(places.ids),
            boxes=np.full((*shape, 4), np.nan),
            mass=np.zeros(shape),
            given=given,
        )
        groups = places.groups()
        self._objects = [objects for objects, _ in groups]
        size = video.frames.size
        self.targets = [AnnotatedTarget(tuple(rows), BoxTarget(boxes=rows, size=size)) for _, rows in groups]
        self.record = {"boxes": len(places.ids), "given": places.digest()}

    def collect(self, number: int, frame: int, value: TrackedBoxes, label: torch.Tensor) -> None:
        """Take the boxes of a target in a frame."""
        objects = self._objects[number]
        self._result.boxes[objects, frame], self._result.mass[objects, frame] = value.boxes, value.mass

    @property
    def result(self) -> BoxResult:
        """The boxes collected so far."""
        return self._result

    def write(self, folder: Path) -> None:
        """Write a `BoxResult`."""
        self._result.write(folder)


@dataclass(frozen=True, kw_only=True)
class BoxTask(Task):
    """Boxes around objects, scored by IoU, success and precision."""

    name = "boxes"
    noun = "boxes"
    metric_spec = BOXES
    score_type = BoxesScore
    tables = ("boxes_results-*", None)

    def used_options(self, video: Video) -> dict[str, Any]:
        """Return the target if the video has annotated masks: their boxes are tracked."""
        return {} if isinstance(video, TableVideo) else {"target": self.name}

    def start(self, video: Video) -> BoxRun:
        """Read the annotated boxes."""
        return BoxRun(video)

    def missing_truth(self, video: Video) -> str | None:
        """Return which ground truth a video lacks for boxes; see `Task`."""
        if isinstance(video, TableVideo):
            return (
                "has a table of annotated boxes, but no ground truth: run `ted propagate` for each "
                "setting, and `ted evaluate` with the true boxes as --annotations. Where there are masks, --target "
                "boxes sweeps"
            )
        if video.scored_frames() is not None:
            return missing_masks(video)
        count = len(video.annotations())
        return f"has {plural(count, 'annotated frame')}, and boxes need two" if count < 2 else None

    def eval_case(self, video: Video) -> EvalCase:
        """Read the annotated masks, and the boxes around the true ones; see `Task`."""
        run = self.start(video)
        ids = tuple(run.result.ids.tolist())
        truth = true_boxes(video, ids)
        absent = [number for number, rows in zip(ids, truth, strict=True) if np.isnan(rows).all()]
        if absent:
            raise LabelError(
                f"object {absent[0]} of the annotated masks of video {video.name!r} is in none of its true masks"
            )
        digest = hashlib.sha256(f"{run.record['given']} {truth.shape} {video.frames.size} ".encode())
        digest.update(truth.tobytes())
        return EvalCase(
            targets=run.targets,
            evaluator=ResultEvaluator(run=run, score_run=partial(_score_run, truth=truth)),
            key={"truth": digest.hexdigest(), "metrics": "boxes"},
        )

    def has_results(self, folder: Path) -> bool:
        """Return whether a folder holds boxes."""
        return BoxResult.exists(folder)

    def score_video(self, video: Video, folder: Path) -> dict[int, BoxScore]:
        """Score each object's box in the frames to which it is propagated, by the object's number; see `Task`.

        Boxes are propagated to all frames; masks to those after the object's first annotation, and to those before it
        if nothing is annotated earlier. Annotated frames, and frames without truth, do not count. Where the results
        are masks, the boxes around them are scored.
        """
        result = result_boxes(video, folder)
        ids = tuple(result.ids.tolist())
        truth = true_boxes(video, ids)
        first = 0 if BoxResult.exists(folder) else int(result.given.any(0).argmax())
        followed = ~result.given
        for row, number in enumerate(ids):
            if np.isnan(truth[row]).all():
                raise LabelError(
                    f"object {number} of {folder} has no true box in video {video.name!r}; do the ids match?"
                )
            begins = 0 if BoxResult.exists(folder) else int(result.given[row].argmax())
            followed[row, : 0 if begins == first else begins] = False
        scores = score_box_result(result, truth, followed)
        if not any(len(score.overlaps) for score in scores.values()):
            raise ConfigError(f"video {video.name!r} has no true box in a frame to which boxes are propagated")
        return scores

    def evaluation(self, scores: Mapping[str, Mapping[int, BoxScore]], results: Path, set_name: str) -> Evaluation:
        """Summarise the metrics of all objects, and write a table of them."""
        columns = {title: column for column, title in BOXES.official.items()}
        found = {
            (video, number): {title: getattr(score, column) for title, column in columns.items()}
            | {"Frames": len(score.overlaps)}
            for video, objects in scores.items()
            for number, score in objects.items()
        }
        mean = mean_values([{title: values[title] for title in columns} for values in found.values()])
        rows = {f"{video}_{number}": [values[title] for title in columns] for (video, number), values in found.items()}
        rows["mean"] = list(mean.values())
        table = write_table(results / f"boxes_results-{set_name}.csv", ["Object", *columns], rows)
        objects = [{"video": video, "object": number} | values for (video, number), values in found.items()]
        lines = [*text_table(("object", *columns), rows.items()), f"table: {table}"]
        return Evaluation(values={"mean": mean, "objects": objects, "table": str(table)}, lines=lines)

    def read_table(self, name: str, path: Path, other: Path | None) -> EvaluationTables:
        """Read the table of objects; see `Task`."""
        objects = read_table(path, ["Object", *BOXES.official.values()])
        total = last_row(path, objects, "mean")
        ranked = BOXES.official[BOXES.order[0]]
        return EvaluationTables(
            metric_spec=BOXES,
            name=name,
            means={title: total[title] for title in BOXES.official.values()},
            by_video=video_means({row["Object"]: as_number(row[ranked]) for row in objects.records[:-1]}, skip=True),
            tables=(objects,),
        )

    def open_frames(self, video: Video, folder: Path) -> BoxFrames:
        """Open a video's boxes, or those around its masks, for drawing."""
        return BoxFrames(video, folder)


def _score_run(run: BoxRun, truth: npt.NDArray[np.float64]) -> BoxesScore:
    return BoxesScore.of(run.result, truth)


def _boxes_of_masks(video: Video) -> TableAnnotations:
    """Return the boxes around the objects of a video's annotated masks."""
    masks = video.read_annotated_masks()
    ids = tuple(sorted({int(number) for mask in masks.values() for number in np.unique(mask) if number}))
    return TableAnnotations(ids=ids, rows={frame: mask_boxes(mask, ids) for frame, mask in masks.items()})
