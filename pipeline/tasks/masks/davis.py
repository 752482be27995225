"""The semi-supervised evaluation of DAVIS-2017: a folder of results against the ground truth, and its two tables.

YouTube-VOS differs in the scored frames: each object has its own (`SequenceTruth`).
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ....store.errors import LabelError
from ...choices.hints import plural
from ...datasets.masks_io import read_mask
from ..tables import write_csv
from .scores import MASKS, columns, means_of_objects
from .truth import ObjectScore, SequenceScore, SequenceTruth, object_scores

__all__ = ["DavisScore", "ObjectScore", "SequenceScore", "score_sequence", "write_tables"]


@dataclass(frozen=True, kw_only=True)
class DavisScore:
    """J and F of several videos.

    Attributes
    ----------
    sequences
        The videos, at least one.
    """

    sequences: tuple[SequenceScore, ...]

    @property
    def means(self) -> dict[str, float]:
        """Means over all objects of all videos (not over videos), by official name, in the official order."""
        means = means_of_objects([columns(each.j, each.f) for item in self.sequences for each in item.objects])
        return {
            title: math.nan if (value := means[column]) is None else value for column, title in MASKS.official.items()
        }


def score_sequence(
    name: str, truth: Mapping[str, Path], results: Path, object_frames: Mapping[int, Collection[str]] | None = None
) -> SequenceScore:
    """Score the masks of one video.

    The first and the last annotated frame are left out. Objects are numbered from 1 to the largest number in the first
    annotation. An object missing from the results counts as empty; a number that no mask contains scores 1. With
    `object_frames`, each object is scored in its own frames instead.

    Parameters
    ----------
    name
        The video's name.
    truth
        Ground truth by name of the frame, in order; see `MaskSequence`.
    results
        Folder of the video's results, ``<frame>.png``.
    object_frames
        Names of the frames in which each object is scored, by its number (`Video.scored_frames`).

    Raises
    ------
    ConfigError
        When there are fewer than three annotated frames, or nothing to score.
    LabelError
        When a mask is missing or cannot be read, differs in size, or contains an object that the ground truth does not
        have; also when the first annotation has no object.
    """
    expected = SequenceTruth(name, truth, object_frames)
    known = set(expected.object_ids if object_frames is None else object_frames)
    if not results.is_dir():
        raise LabelError(f"there are no results for video {name!r}: no folder {results}")
    missing = [frame for frame in expected.frames if not (results / f"{frame}.png").is_file()]
    if missing:
        raise LabelError(f"video {name!r} lacks {plural(len(missing), 'result')} in {results}, first {missing[0]}.png")
    j, f = np.empty((2, len(expected.object_ids), len(expected.frames)))  # (object, frame) each
    for column, frame in enumerate(expected.frames):
        true = expected.read(frame)
        predicted = _read_result(results / f"{frame}.png", expected, known)
        j[:, column], f[:, column] = true.region_similarity(predicted), true.contour_accuracy(predicted)
    return SequenceScore(name=name, frames=expected.frames, objects=object_scores(expected, j, f))


def write_tables(score: DavisScore, folder: Path, set_name: str) -> tuple[Path, Path]:
    """Write the tables that the official evaluation writes, byte for byte.

    Parameters
    ----------
    score
        The scores.
    folder
        Folder of the tables; made if absent.
    set_name
        Name of the set of videos: part of the files' names.

    Returns
    -------
    (Path, Path)
        ``global_results-<set>.csv`` and ``per-sequence_results-<set>.csv``.
    """
    overall, per_object = folder / f"global_results-{set_name}.csv", folder / f"per-sequence_results-{set_name}.csv"
    write_csv(overall, score.means, [score.means.values()])
    rows = [
        (f"{sequence.name}_{scored.object_id}", scored.j.mean, scored.f.mean)
        for sequence in score.sequences
        for scored in sequence.objects
    ]
    write_csv(per_object, ["Sequence", "J-Mean", "F-Mean"], rows)
    return overall, per_object


def _read_result(path: Path, truth: SequenceTruth, known: Collection[int]) -> npt.NDArray[np.uint8]:
    """Read a result; if the ground truth is binary, 255 is its object here, too, as in results of other tools."""
    ids = read_mask(path, truth.size)
    if truth.masks.binary:
        truth.masks.meant(ids)
    unknown = set(np.unique(ids).tolist()) - {0, *known}
    if unknown:
        raise LabelError(
            f"result {path} contains object {max(unknown)}, but the ground truth has only "
            f"{', '.join(map(str, sorted(known)))}"
        )
    return ids
