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
from ...metrics.confidence import certainty_of_regions
from ..archives import ResultRun
from ..base import AnnotatedTarget, EvalCase, Evaluation, ResultEvaluator, Task
from ..masks.task import missing_masks
from ..scoring import official
from ..tables import TableLayout
from .frames import BoxFrames, result_boxes, true_boxes
from .results import BOXES, BoxesScore, BoxResult


class BoxRun(ResultRun):
    """Boxes of a table, or around annotated masks, in any frames.

    Boxes that are annotated in the same frames form one target; they do not influence each other.
    """

    files = (BoxResult.archive, BoxResult.table)
    result: BoxResult

    def __init__(self, video: Video) -> None:
        places = video.read_table() if isinstance(video, TableVideo) else _boxes_of_masks(video)
        shape = len(places.ids), len(video.frames)
        given = np.zeros(shape, dtype=bool)
        for frame, boxes in places.rows.items():
            given[:, frame] = np.isfinite(boxes).all(1)
        self.result = BoxResult(
            frames=video.frames.names,
            numbers=np.array(frame_numbers(video)),
            ids=np.array(places.ids),
            boxes=np.full((*shape, 4), np.nan),
            mass=np.zeros(shape),
            given=given,
            confidence=np.full(shape, np.nan),
        )
        groups = places.groups()
        self._objects = [objects for objects, _ in groups]
        size = video.frames.size
        self.targets = [AnnotatedTarget(tuple(rows), BoxTarget(rows=rows, size=size)) for _, rows in groups]
        self.backward = not (isinstance(video, TableVideo) and video.first_rows)  # objects of datasets enter and leave
        self.record = {"boxes": len(places.ids), "given": places.digest()}

    def collect(self, number: int, frame: int, value: TrackedBoxes, label: torch.Tensor) -> None:
        """Take the boxes of a target in a frame."""
        objects = self._objects[number]
        self.result.boxes[objects, frame], self.result.mass[objects, frame] = value.boxes, value.mass
        maps = label.double().cpu().numpy()
        self.rate(
            number,
            frame,
            objects,
            lambda: certainty_of_regions(maps, exclusive=False) * np.minimum(value.mass, 1.0),
        )


@dataclass(frozen=True, kw_only=True)
class BoxTask(Task):
    """Boxes around objects, scored by IoU, success and precision."""

    name = "boxes"
    metric_spec = BOXES
    score_type = BoxesScore
    layout = TableLayout(label="Object")

    def used_options(self, video: Video) -> dict[str, Any]:
        return {} if isinstance(video, TableVideo) else {"target": self.name}

    def start(self, video: Video) -> BoxRun:
        return BoxRun(video)

    def missing_truth(self, video: Video) -> str | None:
        if isinstance(video, TableVideo):
            if video.first_rows:
                return "has only one frame" if len(video.frames) < 2 else None
            return (
                "has a table of annotated boxes, but no ground truth: run `ted propagate` for each "
                "setting, and `ted evaluate` with the true boxes as --truth. Where there are masks, --target "
                "boxes sweeps"
            )
        if video.scored_frames() is not None:
            return missing_masks(video)
        count = len(video.annotations())
        return f"has {plural(count, 'annotated frame')}, and boxes need two" if count < 2 else None

    def eval_case(self, video: Video) -> EvalCase:
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
        return BoxResult.exists(folder)

    def score_video(self, video: Video, folder: Path) -> BoxesScore:
        """Score each object's box in the frames to which it is propagated; see `Task`.

        Boxes are propagated to all frames; masks to those after the object's first annotation, and to those before it
        if nothing is annotated earlier. Annotated frames, and frames without truth, do not count. Where the results
        are masks, the boxes around them are scored.
        """
        result = result_boxes(video, folder)
        truth = true_boxes(video, tuple(result.ids.tolist()))
        absent = np.isnan(truth).all((1, 2))
        if absent.any():
            raise LabelError(
                f"object {result.ids[absent][0]} of {folder} has no true box in video {video.name!r}; do the ids match?"
            )
        followed = ~result.given
        if not BoxResult.exists(folder):
            begins = result.given.argmax(1)[:, None]  # (object, 1), its first annotated frame
            followed &= (np.arange(len(result.frames)) >= begins) | (begins == result.given.any(0).argmax())
        score = BoxesScore.of(result, truth, followed)
        if not any(score.counted.values()):
            raise ConfigError(f"video {video.name!r} has no true box in a frame to which boxes are propagated")
        return score

    def evaluation(self, scores: Mapping[str, BoxesScore], results: Path, set_name: str) -> Evaluation:
        """Summarise the metrics of all objects, and write a table of them."""
        found = {
            (video, number): official(BOXES, values)
            for video, score in scores.items()
            for number, values in zip(score.counted, score.objects, strict=True)
        }
        mean = official(BOXES, BoxesScore.means(list(scores.values())))
        rows = {f"{video}_{number}": values for (video, number), values in found.items()}
        table, lines = self.write_rows(rows | {self.layout.total: mean}, results, set_name)
        objects = [
            {"video": video, "object": number, **values, "Frames": scores[video].counted[number]}
            for (video, number), values in found.items()
        ]
        values = {"mean": mean, "objects": objects, "table": str(table)}
        return Evaluation(values=values, lines=[*lines, f"table: {table}"])

    def open_frames(self, video: Video, folder: Path) -> BoxFrames:
        return BoxFrames(video, folder)


def _score_run(run: BoxRun, truth: npt.NDArray[np.float64]) -> BoxesScore:
    return BoxesScore.of(run.result, truth)


def _boxes_of_masks(video: Video) -> TableAnnotations:
    """Return the boxes around the objects of a video's annotated masks."""
    masks = video.read_annotated_masks()
    ids = tuple(sorted({int(number) for mask in masks.values() for number in np.unique(mask) if number}))
    return TableAnnotations(ids=ids, rows={frame: mask_boxes(mask, ids) for frame, mask in masks.items()})
