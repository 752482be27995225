"""The task of tracking masks of objects: DAVIS, MOSE, YouTube-VOS, Kubric, and a user's own masks."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import zarr

from ....propagate.targets.mask_target import MaskTarget
from ....store.durable import canonical_json, explain_os_errors
from ....store.errors import ConfigError, LabelError
from ...choices.hints import plural
from ...datasets.video import Video
from ..base import AnnotatedTarget, EvalCase, Evaluation, EvaluationTables, Labels, Task, TaskRun
from ..tables import as_number, known_mean, read_table, text_table, video_means
from ..timing import Seconds, timed
from .davis import DavisScore, SequenceScore, score_sequence, write_tables
from .frames import MaskFrames
from .png import write_mask
from .scores import MASKS, MaskScore, summarize
from .truth import SequenceTruth, scored_frames

__all__ = ["MaskEvaluator", "MaskRun", "MaskTask", "PngTask", "digest_of_masks", "missing_masks"]


class MaskRun(TaskRun):
    """Masks of a video: a palette PNG for each written frame, and optionally soft labels.

    Parameters
    ----------
    video
        The video, with masks of some frames.
    save_soft
        Whether to write the soft labels, (frame, channel, y, x), float32, as a Zarr array ``soft.zarr``.
    """

    def __init__(self, video: Video, *, save_soft: bool = False) -> None:
        self.target = MaskTarget(masks=video.read_annotated_masks())
        self.targets = [AnnotatedTarget(tuple(self.target.masks), self.target)]
        digests = {str(frame): hashlib.sha256(mask.tobytes()).hexdigest() for frame, mask in self.target.masks.items()}
        given = {"first_mask": digests["0"]} if list(digests) == ["0"] else {"given_masks": digests}
        self.record = {**given, "soft": save_soft}
        if self.target.late_objects:
            # Results of earlier versions, which took them for background before they join, are made again.
            self.record["unknown_before_joining"] = list(self.target.late_objects)
        self._names, self._written = video.frames.names, set(video.written_frames())
        self.files = [f"{name}.png" for name in self._names if name in self._written]
        self._save_soft = save_soft

    def begin(self, folder: Path, grid: tuple[int, int], frame_size: tuple[int, int]) -> None:
        """Create the array of soft labels."""
        self._folder = folder
        if self._save_soft:
            shape = (len(self.target.object_ids) + 1, *grid)
            self._soft: Any = zarr.create_array(
                store=str(folder / "soft.zarr"),
                shape=(len(self._names), *shape),
                chunks=(1, *shape),
                dtype="float32",
                dimension_names=("frame", "channel", "y", "x"),
                attributes={"object_ids": list(self.target.object_ids), "frame_size": list(frame_size)},
                zarr_format=3,
            )

    def collect(self, number: int, frame: int, value: Any, label: torch.Tensor) -> None:
        """Write a frame's mask, (height, width), uint8, and its soft label."""
        if self._save_soft:
            self._soft[frame] = label.cpu().numpy()
        name = self._names[frame]
        if name in self._written:
            write_mask(self._folder / f"{name}.png", value)

    def write(self, folder: Path) -> None:
        """Do nothing: `collect` writes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskEvaluator:
    """Scores soft labels of masks.

    Attributes
    ----------
    video
        Name of the video.
    frame_names
        Names of its frames.
    annotations
        Ground truth by name of the frame, in order.
    object_frames
        Names of the frames in which each object is scored; None for DAVIS' rule (`SequenceTruth`).
    masks
        The annotated masks.
    contours
        Whether F is measured beside J.
    """

    video: str
    frame_names: tuple[str, ...]
    annotations: Mapping[str, Path]
    object_frames: Mapping[int, tuple[str, ...]] | None = None
    masks: MaskTarget
    contours: bool

    def score(
        self, labels: Iterable[Labels], count: int, frame_size: tuple[int, int], seconds: Seconds
    ) -> list[MaskScore]:
        """Score labels frame by frame, up to the last scored frame; see `Evaluator`.

        The numbers are those of `score_sequence`.
        """
        (of_masks,) = labels
        truth = SequenceTruth(self.video, self.annotations, self.object_frames)
        columns = {self.frame_names.index(name): column for column, name in enumerate(truth.frames)}
        j, f = np.empty((2, count, len(truth.object_ids), len(columns)))  # (setting, object, frame) each
        for frame, of_settings in of_masks:
            if frame in columns:
                column = columns.pop(frame)
                with timed(seconds, "metrics"):
                    true = truth.read(self.frame_names[frame])
                for number, label in enumerate(of_settings):
                    with timed(seconds, "decoding"):
                        ids = self.masks.decode(frame, label, frame_size)
                    with timed(seconds, "metrics"):
                        j[number, :, column] = true.region_similarity(ids)
                        if self.contours:
                            f[number, :, column] = true.contour_accuracy(ids)
            if not columns:
                break
        return [summarize(truth, j[number], f[number] if self.contours else None) for number in range(count)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PngTask(Task):
    """A task whose results are palette PNGs of object numbers.

    Attributes
    ----------
    save_soft
        Whether results contain the soft labels, too.
    """

    save_soft: bool = False

    def start(self, video: Video) -> MaskRun:
        """Read the annotated masks."""
        return MaskRun(video, save_soft=self.save_soft)

    def annotated_frames(self, video: Video) -> list[tuple[int, ...]]:
        """Return the indices of the frames with an annotated mask."""
        return [video.annotated_frames()]

    def has_results(self, folder: Path) -> bool:
        """Return whether a folder holds masks."""
        return any(folder.glob("*.png"))

    def open_frames(self, video: Video, folder: Path) -> MaskFrames:
        """Open a video's masks for drawing."""
        return MaskFrames(video, folder)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskTask(PngTask):
    """Masks of objects, scored by J and F.

    Attributes
    ----------
    metrics
        ``"jf"`` for J and F, ``"j"`` for J alone, in sweeps.
    """

    name = "masks"
    noun = "masks"
    metric_spec = MASKS
    score_type = MaskScore
    tables = ("global_results-*", "per-sequence_results-*")

    metrics: Literal["jf", "j"] = "jf"

    def used_options(self, video: Video) -> dict[str, Any]:
        """Return which metrics are measured."""
        return {"metrics": self.metrics}

    def missing_truth(self, video: Video) -> str | None:
        """Return which ground truth a video lacks for J and F; see `Task`."""
        return missing_masks(video)

    def eval_case(self, video: Video) -> EvalCase:
        """Read the annotated masks, and the size and objects of the ground truth; see `Task`."""
        masks = MaskTarget(masks=video.read_annotated_masks())
        annotations, object_frames = video.annotations(), video.scored_frames()
        truth = SequenceTruth(video.name, annotations, object_frames)
        largest, known = max(masks.object_ids), max(object_frames or truth.object_ids)
        if largest > known or truth.size != video.frames.size:
            raise LabelError(
                f"the annotated masks of video {video.name!r} have object {largest} and frames of {video.frames.size}, "
                f"but its ground truth has objects up to {known} and masks of {truth.size} (height, width)"
            )
        evaluator = MaskEvaluator(
            video=video.name,
            frame_names=video.frames.names,
            annotations={name: path.absolute() for name, path in annotations.items()},
            object_frames=object_frames,
            masks=masks,
            contours=self.metrics == "jf",
        )
        key = {"masks": digest_of_masks(video, masks, truth.frames), "metrics": self.metrics}
        return EvalCase(targets=[AnnotatedTarget(tuple(masks.masks), masks)], evaluator=evaluator, key=key)

    def score_video(self, video: Video, folder: Path) -> SequenceScore:
        """Score a video's masks; see `score_sequence`."""
        return score_sequence(video.name, video.annotations(), folder, scored_frames(video, folder))

    def evaluation(self, scores: Mapping[str, SequenceScore], results: Path, set_name: str) -> Evaluation:
        """Summarise J and F, and write the two official tables."""
        score = DavisScore(sequences=tuple(scores.values()))
        tables = write_tables(score, results, set_name)
        rows = [
            (f"{item.name}_{each.object_id}", (each.j.mean, each.f.mean))
            for item in score.sequences
            for each in item.objects
        ]
        lines = text_table(("object", "J-Mean", "F-Mean"), rows)
        lines.append("  ".join(f"{name} {value:.3f}" for name, value in score.means.items()))
        lines.append(f"tables: {tables[0]} {tables[1]}")
        values = {"means": score.means, "sequences": [dataclasses.asdict(item) for item in score.sequences]}
        return Evaluation(values=values, lines=lines)

    def read_table(self, name: str, path: Path, other: Path | None) -> EvaluationTables:
        """Read the two official tables; see `Task`."""
        overall = read_table(path)
        if len(overall.rows) != 1:
            raise ConfigError(f"table {path} has {plural(len(overall.rows), 'row')}, but `ted evaluate` writes one")
        objects = None if other is None else read_table(other, ["Sequence", "J-Mean", "F-Mean"])
        texts = {} if objects is None else {row["Sequence"]: row for row in objects.records}
        scores = {key: [as_number(row[column]) for column in ("J-Mean", "F-Mean")] for key, row in texts.items()}
        return EvaluationTables(
            metric_spec=MASKS,
            name=name,
            means=overall.records[0],
            objects=texts,
            by_video=video_means({key: known_mean(values) for key, values in scores.items()}),
            tables=(overall,) if objects is None else (overall, objects),
        )


def missing_masks(video: Video) -> str | None:
    """Return which ground truth masks a video lacks for J and F, judged by file names; None if it has all."""
    annotations, of_objects = video.annotations(), video.scored_frames()
    if of_objects is None:
        if len(annotations) < 3:
            return f"has {plural(len(annotations), 'annotated frame')}, and J&F needs three"
        return (
            "has no ground truth beside the annotated masks" if set(annotations) <= set(video.annotated_masks) else None
        )
    wanted = {frame for frames in of_objects.values() for frame in frames}
    if not wanted:
        return "has no frame after the annotated ones"
    missing = len(wanted - annotations.keys())
    return f"has no ground truth for {plural(missing, 'frame')} after the annotated ones" if missing else None


def digest_of_masks(video: Video, annotated: MaskTarget, scored: Iterable[str]) -> str:
    """Return a SHA-256 over a video's annotated masks and the ground truth files of the scored frames."""
    digest = hashlib.sha256()
    for frame, mask in annotated.masks.items():
        digest.update((f"{frame} " if frame else "").encode() + mask.tobytes())
    if annotated.late_objects:  # scores of earlier versions took them for background before they join
        digest.update(b"unknown before joining ")
    object_frames, annotations = video.scored_frames(), video.annotations()
    if object_frames is not None:
        digest.update(canonical_json({str(number): list(frames) for number, frames in object_frames.items()}))
    for name in scored:
        with explain_os_errors(f"read {annotations[name]}"):
            content = annotations[name].read_bytes()
        digest.update(f"{video.frames.names.index(name)} {hashlib.sha256(content).hexdigest()} ".encode())
    return digest.hexdigest()
