"""Masks of objects: J and F, without a file in between."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....propagate.targets.mask_target import MaskTarget
from ....store.durable import canonical_json, explain_os_errors
from ....store.errors import LabelError
from ...datasets.video import Video
from ..base import EvalCase, Labels
from ..metric_specs import MASKS, MetricSpec
from ..timing import Seconds, timed
from .scores import MaskScore, summarize
from .truth import SequenceTruth

__all__ = ["MaskGrader", "Masks", "digest_of_masks"]


@dataclass(frozen=True, kw_only=True)
class MaskGrader:
    """What the labels of a video are held against, and how they become masks.

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
        What is given.
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
        """Score labels frame by frame, up to the last frame that counts; see `Evaluator`.

        The numbers are those that the masks would have as files (`...metrics.davis.score_sequence`).
        """
        (of_masks,) = labels
        truth = SequenceTruth(self.video, self.annotations, self.object_frames)
        places = {self.frame_names.index(name): at for at, name in enumerate(truth.frames)}
        j, f = np.empty((2, count, len(truth.object_ids), len(places)))  # (setting, object, frame) each
        for frame, of_settings in of_masks:
            if frame in places:
                at = places.pop(frame)
                with timed(seconds, "metrics"):
                    true = truth.read(self.frame_names[frame])
                for number, label in enumerate(of_settings):
                    with timed(seconds, "decoding"):
                        ids = self.masks.decode(frame, label, frame_size)
                    with timed(seconds, "metrics"):
                        j[number, :, at] = true.region_similarity(ids)
                        if self.contours:
                            f[number, :, at] = true.contour_accuracy(ids)
            if not places:
                break
        return [summarize(truth, j[number], f[number] if self.contours else None) for number in range(count)]


@dataclass(frozen=True, kw_only=True)
class Masks:
    """DAVIS, MOSE, Kubric, YouTube-VOS.

    Attributes
    ----------
    contours
        Whether F is measured beside J.
    """

    contours: bool = True

    @property
    def metric_spec(self) -> MetricSpec:
        """J and F."""
        return MASKS

    @property
    def options(self) -> Mapping[str, str]:
        """Whether F is measured."""
        return {"metrics": "jf" if self.contours else "j"}

    def annotated(self, video: Video) -> tuple[tuple[int, ...]]:
        """Return the frames of the given masks."""
        return (video.annotated_frames(),)

    def lacks(self, video: Video) -> str | None:
        """Say that there are not the frames that J and F are measured in."""
        annotations, of_objects = video.annotations(), video.scored_frames()
        if of_objects is None:
            few = len(annotations) < 3
            return f"has {len(annotations)} annotated frames, and J&F needs three" if few else None
        wanted = {frame for frames in of_objects.values() for frame in frames}
        missing = len(wanted - annotations.keys())
        if wanted and not missing:
            return None
        return (
            f"has no ground truth of {missing} frames behind those in which objects are given"
            if wanted
            else ("has no frame behind those in which objects are given")
        )

    def grade(self, video: Video) -> EvalCase:
        """Read a video's given masks, and look at its ground truth; see `Kind`."""
        masks = MaskTarget(masks=video.read_given_masks())
        annotations, object_frames = video.annotations(), video.scored_frames()
        truth = SequenceTruth(video.name, annotations, object_frames)
        largest, known = max(masks.object_ids), max(object_frames or truth.object_ids)
        if largest > known or truth.size != video.frames.size:
            raise LabelError(
                f"the given masks of video {video.name!r} have object {largest} and frames of {video.frames.size}, "
                f"but its ground truth has objects up to {known} and masks of {truth.size} (height, width)"
            )
        grader = MaskGrader(
            video=video.name,
            frame_names=video.frames.names,
            annotations={name: path.absolute() for name, path in annotations.items()},
            object_frames=object_frames,
            masks=masks,
            contours=self.contours,
        )
        digest = digest_of_masks(video, masks, truth.frames)
        return EvalCase(targets=((tuple(masks.masks), masks),), grader=grader, key={"masks": digest, **self.options})


def digest_of_masks(video: Video, given: MaskTarget, scored: Iterable[str]) -> str:
    """Return a SHA-256 over a video's given masks, and the files of its ground truth of some frames."""
    digest = hashlib.sha256()
    for frame, mask in given.masks.items():
        digest.update((f"{frame} " if frame else "").encode() + mask.tobytes())
    object_frames, annotations = video.scored_frames(), video.annotations()
    if object_frames is not None:
        digest.update(canonical_json({str(number): list(frames) for number, frames in object_frames.items()}))
    for name in scored:
        with explain_os_errors(f"read {annotations[name]}"):
            content = annotations[name].read_bytes()
        digest.update(f"{video.frames.names.index(name)} {hashlib.sha256(content).hexdigest()} ".encode())
    return digest.hexdigest()
