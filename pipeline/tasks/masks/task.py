"""The task of tracking masks of objects: DAVIS, MOSE, YouTube-VOS, Kubric, and a user's own masks."""

import csv
import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import zarr

from ....propagate.targets.mask_target import MaskTarget
from ....store.durable import canonical_json, explain_os_errors
from ....store.errors import ConfigError, LabelError
from ...choices.hints import plural
from ...datasets.mots import MotsVideo
from ...datasets.video import Video
from ...metrics.confidence import certainty_of_regions, presence
from ..archives import format_share
from ..base import AnnotatedTarget, EvalCase, Evaluation, EvaluationTables, Task, TaskRun
from ..scoring import official
from ..tables import as_number, known_mean, read_table, text_table, video_means
from .evaluating import MaskEvaluator
from .frames import MaskFrames
from .png import write_mask
from .scores import MASKS, MaskScore, ObjectScore, object_rows, write_tables
from .truth import SequenceTruth, score_sequence, scored_frames

#: Name of the table in a result of masks: frame, object, confidence.
CONFIDENCE = "confidence.csv"


class MaskRun(TaskRun):
    """Masks of a video: a palette PNG for each written frame.

    ``confidence.csv`` has the confidence of each object in each frame. With `save_soft`, also the soft labels, (frame,
    channel, y, x), float32, are written, as a Zarr array ``soft.zarr``.
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
        self.backward = not isinstance(video, MotsVideo)  # its objects enter
        self._size = video.frames.size
        self._names, self._written = video.frames.names, set(video.written_frames())
        self.files = [f"{name}.png" for name in self._names if name in self._written]
        self._save_soft = save_soft
        self.confidence: dict[int, npt.NDArray[np.float64]] = {}  # (object,) by frame
        # Mass of each object's label in its latest annotation, and in the first annotated frame.
        self._mass = self._first_mass = np.zeros(len(self.target.object_ids))

    def begin(self, folder: Path, grid: tuple[int, int], frame_size: tuple[int, int]) -> None:
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
        self.rate(frame, label)
        self.write_mask(frame, value)

    def write_mask(self, frame: int, ids: npt.NDArray[np.uint8]) -> None:
        """Write the mask of a frame if it belongs to the result."""
        name = self._names[frame]
        if name in self._written:
            write_mask(self._folder / f"{name}.png", ids)

    def write(self, folder: Path) -> None:
        """Write the confidences, and empty masks of frames that were not tracked; `collect` has written the others."""
        for frame in range(0 if self.backward else min(self.target.masks)):
            self.write_mask(frame, np.zeros(self._size, np.uint8))
        if self.confidence:
            with (folder / CONFIDENCE).open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(("frame", "object", "confidence"))
                for frame, values in sorted(self.confidence.items()):
                    objects = zip(self.target.object_ids, values, strict=True)
                    writer.writerows((self._names[frame], number, format_share(value)) for number, value in objects)

    def rate(self, frame: int, label: torch.Tensor) -> None:
        """Take the confidences of a frame. Frames before the first annotation come last, and start from it."""
        maps = label.double().cpu().numpy()
        mass, first = maps[1:].sum((1, 2)), min(self.target.masks)
        annotated = np.isin(self.target.object_ids, self.target.masks.get(frame, ()))
        self._mass = np.where(annotated, mass, self._mass)
        self._first_mass = self._mass if frame == first else self._first_mass
        left = presence(mass, self._first_mass if frame < first else self._mass)
        self.confidence[frame] = np.where(annotated, 1.0, certainty_of_regions(maps, exclusive=True) * left)


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
        return MaskRun(video, save_soft=self.save_soft)

    def annotated_frames(self, video: Video) -> list[tuple[int, ...]]:
        return [video.annotated_frames()]

    def has_results(self, folder: Path) -> bool:
        return any(folder.glob("*.png"))

    def open_frames(self, video: Video, folder: Path) -> MaskFrames:
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
        return {"metrics": self.metrics}

    def missing_truth(self, video: Video) -> str | None:
        return missing_masks(video)

    def eval_case(self, video: Video) -> EvalCase:
        masks = MaskTarget(masks=video.read_annotated_masks())
        object_frames, true = video.scored_frames(), video.true_masks()
        true = dataclasses.replace(true, paths={name: path.absolute() for name, path in true.paths.items()})
        truth = SequenceTruth(video.name, true, object_frames, contours=self.metrics == "jf")
        largest, known = max(masks.object_ids), max(object_frames or truth.object_ids)
        if largest > known or truth.size != video.frames.size:
            raise LabelError(
                f"the annotated masks of video {video.name!r} have object {largest} and frames of {video.frames.size}, "
                f"but its ground truth has objects up to {known} and masks of {truth.size} (height, width)"
            )
        return EvalCase(
            targets=[AnnotatedTarget(tuple(masks.masks), masks)],
            evaluator=MaskEvaluator(truth=truth, frame_names=video.frames.names, target=masks),
            key={"masks": digest_of_masks(video, masks, truth.frames), "metrics": self.metrics},
        )

    def score_video(self, video: Video, folder: Path) -> MaskScore:
        """Score a video's masks; see `score_sequence`."""
        return score_sequence(video.name, video.true_masks(), folder, scored_frames(video, folder))

    def evaluation(self, scores: Mapping[str, MaskScore], results: Path, set_name: str) -> Evaluation:
        """Summarise J and F, and write the two official tables."""
        means = official(MASKS, MaskScore.means(list(scores.values())))
        tables = write_tables(scores, results, set_name)
        lines = text_table(("object", "J-Mean", "F-Mean"), ((name, values) for name, *values in object_rows(scores)))
        lines.append("  ".join(f"{name} {value:.3f}" for name, value in means.items()))
        lines.append(f"tables: {tables[0]} {tables[1]}")
        sequences = [
            {"name": name, "frames": score.names, "objects": [_with_names(item) for item in score.objects]}
            for name, score in scores.items()
        ]
        return Evaluation(values={"means": means, "sequences": sequences}, lines=lines)

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


def _with_names(score: ObjectScore) -> dict[str, Any]:
    """Return an object's scores with the names of its frames."""
    values = dataclasses.asdict(score)
    return values | {"frames": values.pop("names")}


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
    if not wanted and video.own_truth:
        return "has no true mask beside those that propagation starts from: give masks of other frames with --truth"
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
