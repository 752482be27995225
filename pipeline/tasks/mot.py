"""Metrics of multi-object tracking, for results of boxes and of masks; these tasks score only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...store.errors import ConfigError, LabelError
from ..choices.hints import plural
from ..datasets.masks_io import read_mask
from ..datasets.mot import MotVideo
from ..datasets.mots import MotsVideo
from ..datasets.table_video import TableVideo
from ..datasets.video import Video
from ..metrics.boxes import intersection_over_union
from ..metrics.mot import MotCounts, MotFrame, count_matches, without_distractors, without_ignored
from ..runs.result_folders import start_frames
from .base import ResultFrames, Task, TaskRun
from .boxes.frames import result_boxes, true_boxes
from .scoring import Measure, MetricSpec, Score, Values

#: Metrics of tracked boxes: shares in [0, 1] (MOTA may be negative), then counts.
MOT = MetricSpec(
    measures=tuple(
        Measure(column=title.lower(), title=title)
        for title in ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1", "IDP", "IDR", "IDSW", "FP", "FN")
    ),
    shown=("hota", "mota", "idf1"),
    order=("hota", "mota"),
)

_OF_MASKS = {"mota": "MOTSA", "motp": "MOTSP"}

#: Metrics of tracked masks: the same, with MOTS' names and sMOTSA.
MOTS = MetricSpec(
    measures=(
        *MOT.measures[:4],
        Measure(column="smota", title="sMOTSA"),
        *(replace(item, title=_OF_MASKS.get(item.column, item.title), official="") for item in MOT.measures[4:]),
    ),
    shown=("hota", "smota", "idf1"),
    order=("hota", "smota"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class MotScore(Score):
    """Counts of a video, over `frames` frames."""

    counts: MotCounts
    frames: int
    metric_spec: ClassVar[MetricSpec] = MOT
    json_key: ClassVar[str] = "mot"

    def to_json(self) -> dict[str, Any]:
        values = {item.name: np.asarray(getattr(self.counts, item.name)).tolist() for item in fields(MotCounts)}
        return {self.json_key: values, "frames": self.frames}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "MotScore":
        found: dict[str, Any] = {
            name: np.array(item) if isinstance(item, list) else item for name, item in value[cls.json_key].items()
        }
        counts = MotCounts(**found)
        return cls(counts=counts, frames=int(value["frames"]))

    @classmethod
    def means(cls, scores: "Sequence[MotScore]") -> Values:
        """Return the metrics of the videos' counts together, as TrackEval combines sequences."""
        values = MotCounts.joined([score.counts for score in scores]).metrics()
        return {column: values[column] for column in cls.metric_spec.columns}


class MotsScore(MotScore):
    """Counts of a video's masks."""

    metric_spec: ClassVar[MetricSpec] = MOTS
    json_key: ClassVar[str] = "mots"


@dataclass(frozen=True, kw_only=True)
class MotTask(Task):
    """Scores boxes, or boxes around masks, by the metrics of multi-object tracking, in all frames with a truth."""

    name = "mot"
    metric_spec = MOT
    score_type = MotScore
    layout = replace(Task.layout, total="all")

    def has_results(self, folder: Path) -> bool:
        return False

    def start(self, video: Video) -> TaskRun:
        raise ConfigError(f"{self.name} is a metric, and nothing that can be tracked")

    def open_frames(self, video: Video, folder: Path) -> ResultFrames:
        raise ConfigError(f"{self.name} is a metric, and nothing that can be drawn")

    def score_video(self, video: Video, folder: Path) -> MotScore:
        """Score all objects of a video, those that are not followed included; see `Task`.

        Frames of a table without rows show no object. Of masks, frames without a mask are not scored.
        """
        result = result_boxes(video, folder)
        ids = _true_ids(video)
        truth = true_boxes(video, ids)
        if isinstance(video, TableVideo):
            scored = list(range(len(video.frames)))
        else:
            scored = [frame for frame, name in enumerate(video.frames.names) if name in video.annotations()]
        given = {number: result.given[row] for row, number in enumerate(result.ids.tolist())}
        started = np.array([given.get(number, np.zeros(len(video.frames), dtype=bool)) for number in ids])
        _check_left(video, bool((np.isfinite(truth).all(2) & ~started).any()))
        uncounted = video.read_uncounted() if isinstance(video, MotVideo) else {}
        frames = []
        for frame in scored:
            there, found = (np.isfinite(boxes[:, frame]).all(1) for boxes in (truth, result.boxes))
            boxes, (others, distractors) = truth[there, frame], uncounted.get(frame, _NOTHING)
            every = np.concatenate([boxes, others])
            overlaps = intersection_over_union(every[:, None], result.boxes[None, found, frame])
            numbers = np.concatenate([np.array(ids)[there], np.full(len(others), -1)])
            counted = np.arange(len(every)) < len(boxes)
            item = MotFrame(numbers, result.ids[found], overlaps)
            frames.append(without_distractors(item, np.concatenate([~counted[: len(boxes)], distractors]), counted))
        return MotScore(counts=count_matches(frames), frames=len(scored))


@dataclass(frozen=True, kw_only=True)
class MotsTask(MotTask):
    """Scores masks by the metrics of multi-object tracking, in all frames that have a true mask."""

    name = "mots"
    metric_spec = MOTS
    score_type = MotsScore

    def score_video(self, video: Video, folder: Path) -> MotsScore:
        """Score all objects of a video's true masks, those that are not followed included; see `Task`."""
        truth = video.true_masks()
        written = set(video.written_frames())
        names = [name for name in truth.paths if name in written]
        missing = [name for name in names if not (folder / f"{name}.png").is_file()]
        if missing:
            raise LabelError(f"{folder} lacks {plural(len(missing), 'result')}, first {missing[0]}.png")
        started = {video.frames.names[frame] for frame in start_frames(folder) if frame < len(video.frames)}
        _check_left(video, bool(set(names) - (started or set(names[:1]))))
        frames = []
        for name in names:
            true = truth.read(name, video.frames.size)
            found = read_mask(folder / f"{name}.png", (true.shape[0], true.shape[1]))
            item, areas = _compare_masks(true, truth.meant(found) if truth.binary else found)
            if isinstance(video, MotsVideo):
                inside = np.bincount(found[video.ignored(name)], minlength=256)[item.found_ids] / areas
                item = without_ignored(item, inside)
            frames.append(item)
        return MotsScore(counts=count_matches(frames), frames=len(frames))


_NOTHING = (np.empty((0, 4)), np.empty(0, dtype=np.bool_))


def mot_task(videos: Sequence[Video], *, boxes: bool) -> Task:
    """Return the task that scores results of boxes, or boxes around masks; or of masks."""
    wrong = next((video for video in videos if not {"masks", "boxes"} & set(video.tasks)), None)
    if wrong is not None:
        raise ConfigError(f"MOT metrics are for boxes and masks, and video {wrong.name!r} has neither")
    return MotTask() if boxes or isinstance(videos[0], TableVideo) else MotsTask()


def has_mot_truth(video: Video) -> bool:
    """Return whether a video is of a dataset of multi-object tracking, which these metrics score by default."""
    return isinstance(video, MotVideo | MotsVideo)


def _true_ids(video: Video) -> tuple[int, ...]:
    if isinstance(video, TableVideo):
        return video.read_truth().ids
    truth = video.true_masks()
    shown = (np.flatnonzero(np.bincount(truth.read(name).ravel())[1:]) + 1 for name in truth.paths)
    return tuple(sorted({number for numbers in shown for number in numbers.tolist()}))


def _check_left(video: Video, left: bool) -> None:
    if not left:
        raise ConfigError(f"video {video.name!r} has no true object beside those that propagation started from")


def _compare_masks(
    true: npt.NDArray[np.uint8], found: npt.NDArray[np.uint8]
) -> tuple[MotFrame, npt.NDArray[np.float64]]:
    """Return the objects of two masks with their IoU, and the areas of the found ones in pixels."""
    both = np.bincount(true.ravel() * np.intp(256) + found.ravel(), minlength=1 << 16).reshape(256, 256)
    rows, columns = (np.flatnonzero(both.sum(axis)[1:]) + 1 for axis in (1, 0))
    shared = both[np.ix_(rows, columns)]
    areas = both.sum(0)[columns]
    union = both.sum(1)[rows][:, None] + areas - shared
    return MotFrame(rows, columns, shared / union), areas.astype(np.float64)
