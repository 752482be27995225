"""Metrics of multi-object tracking: CLEAR MOT, identity and HOTA metrics. Arrays in, numbers out.

CLEAR MOT: Bernardin and Stiefelhagen (EURASIP JIVP 2008); sMOTSA: Voigtlaender et al., "MOTS" (CVPR 2019). Identity:
Ristani et al. (ECCV Workshops 2016). HOTA: Luiten et al. (IJCV 2021). Where these leave something open, the rules are
those of TrackEval 1.3, whose numbers tests compare with.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

#: Smallest IoU of a match in CLEAR MOT and identity metrics.
MATCH_IOU = 0.5

#: Thresholds of the IoU that HOTA is averaged over: 0.05, 0.1, ... 0.95.
HOTA_THRESHOLDS = np.arange(0.05, 0.99, 0.05)

_EPS = float(np.finfo(float).eps)

_Ids = npt.NDArray[np.integer]
_Array = npt.NDArray[np.float64]
_Flags = npt.NDArray[np.bool_]


class MotFrame(NamedTuple):
    """True and predicted objects of one frame; each id occurs once."""

    true_ids: _Ids  # (true,)
    found_ids: _Ids  # (found,)
    overlaps: _Array  # (true, found), IoU in [0, 1]


@dataclass(frozen=True, kw_only=True)
class MotCounts:
    """Counts of one video, or sums of several: every metric is computed from these.

    Attributes
    ----------
    true, found
        Number of true and predicted objects over all frames.
    matched, switches, overlap
        CLEAR MOT: number of matches, number of identity switches, sum of the matches' IoU.
    id_matched
        Number of matches under the best one-to-one assignment of whole tracks, IDTP.
    hota_matched, association, localisation
        (threshold,), HOTA: number of matches TP; sum of A(c) over the matches c; sum of their IoU.
    """

    true: int
    found: int
    matched: int
    switches: int
    overlap: float
    id_matched: int
    hota_matched: _Array
    association: _Array
    localisation: _Array

    @classmethod
    def joined(cls, counts: "Sequence[MotCounts]") -> "MotCounts":
        """Return the counts of several videos together, at least one; every object weighs the same."""
        return cls(**{item.name: sum(getattr(one, item.name) for one in counts) for item in fields(cls)})

    def metrics(self) -> dict[str, float]:
        """Return the metrics by name; shares are 0 where the denominator is 0, as in TrackEval.

        ``mota`` = 1 - (misses + false positives + switches) / true objects; ``smota`` has the sum of IoU in place of
        the number of matches; ``motp`` is the mean IoU of matches. ``hota``, ``deta``, ``assa`` and ``loca`` are means
        over `HOTA_THRESHOLDS`. Counts are whole numbers.
        """
        tp = self.hota_matched
        extra = self.found - self.matched
        detection = tp / np.maximum(1, self.true + self.found - tp)
        association = self.association / np.maximum(1, tp)
        return {
            "hota": float(np.sqrt(detection * association).mean()),
            "deta": float(detection.mean()),
            "assa": float(association.mean()),
            # TrackEval gives 1 to thresholds without a match.
            "loca": float((np.maximum(1e-10, self.localisation) / np.maximum(1e-10, tp)).mean()),
            "mota": (self.matched - extra - self.switches) / max(1, self.true),
            "motp": self.overlap / max(1, self.matched),
            "smota": (self.overlap - extra - self.switches) / max(1, self.true),
            "idf1": 2 * self.id_matched / max(1, self.true + self.found),
            "idp": self.id_matched / max(1, self.found),
            "idr": self.id_matched / max(1, self.true),
            "idsw": self.switches,
            "fp": extra,
            "fn": self.true - self.matched,
        }


def count_matches(frames: Iterable[MotFrame]) -> MotCounts:
    """Compare the tracks of a video, frame by frame in order, with the true ones."""
    frames = list(frames)
    true_ids, true_at = np.unique(np.concatenate([[], *(frame.true_ids for frame in frames)]), return_inverse=True)
    found_ids, found_at = np.unique(np.concatenate([[], *(frame.found_ids for frame in frames)]), return_inverse=True)
    rows = np.split(true_at, np.cumsum([len(frame.true_ids) for frame in frames])[:-1])
    columns = np.split(found_at, np.cumsum([len(frame.found_ids) for frame in frames])[:-1])
    numbered = [MotFrame(*item) for item in zip(rows, columns, (frame.overlaps for frame in frames), strict=True)]
    shape = len(true_ids), len(found_ids)
    matched, switches, overlap = _clear(numbered, shape[0])
    tp, association, localisation = _hota(numbered, shape)
    return MotCounts(
        true=len(true_at),
        found=len(found_at),
        matched=matched,
        switches=switches,
        overlap=overlap,
        id_matched=_identity(numbered, shape),
        hota_matched=tp,
        association=association,
        localisation=localisation,
    )


def _assign(scores: _Array) -> tuple[_Ids, _Ids]:
    """Return the rows and columns of the one-to-one assignment with the largest sum."""
    from scipy.optimize import linear_sum_assignment  # only here: it takes a quarter of a second to import

    rows, columns = linear_sum_assignment(-scores)
    return rows, columns


def _clear(frames: Sequence[MotFrame], count: int) -> tuple[int, int, float]:
    """Count matches, switches and the IoU of matches; a match of the last frame is kept while its IoU suffices.

    A switch is a match with another track than the object's last one, however long ago. As in TrackEval, frames
    without true or without predicted objects do not end what the last frame is.
    """
    last = np.full(count, -1)  # track of each object's last match
    before = np.full(count, -1)  # track of each object in the last frame; -1 if it was not matched there
    matched, switches, total = 0, 0, 0.0
    for true, found, overlaps in frames:
        if not overlaps.size:
            continue
        scores = 1000.0 * (found == before[true][:, None]) + overlaps
        scores[overlaps < MATCH_IOU - _EPS] = 0
        rows, columns = _assign(scores)
        rows, columns = (at[scores[rows, columns] > _EPS] for at in (rows, columns))
        objects, tracks = true[rows], found[columns]
        switches += int(((last[objects] >= 0) & (last[objects] != tracks)).sum())
        last[objects] = tracks
        before[:] = -1
        before[objects] = tracks
        matched += len(rows)
        total += float(overlaps[rows, columns].sum())
    return matched, switches, total


def _identity(frames: Sequence[MotFrame], shape: tuple[int, int]) -> int:
    """Return IDTP: the largest number of matches when each object has one track and each track one object."""
    together = np.zeros(shape)
    for true, found, overlaps in frames:
        together[np.ix_(true, found)] += overlaps >= MATCH_IOU
    return int(together[_assign(together)].sum())


def _hota(frames: Sequence[MotFrame], shape: tuple[int, int]) -> tuple[_Array, _Array, _Array]:
    """Return TP, the sum of A(c) and the sum of IoU at each threshold, (threshold,) each."""
    length_true, length_found = np.zeros((shape[0], 1)), np.zeros((1, shape[1]))
    together = np.zeros(shape)  # soft count of common frames of an object and a track
    for true, found, overlaps in frames:
        union = overlaps.sum(0)[None] + overlaps.sum(1)[:, None] - overlaps
        together[np.ix_(true, found)] += np.divide(overlaps, union, out=np.zeros_like(overlaps), where=union > _EPS)
        length_true[true] += 1
        length_found[0, found] += 1
    alignment = together / (length_true + length_found - together)
    matches = np.zeros((len(HOTA_THRESHOLDS), *shape), dtype=np.int32)
    localisation = np.zeros(len(HOTA_THRESHOLDS))
    for true, found, overlaps in frames:
        if not overlaps.size:
            continue
        rows, columns = _assign(alignment[np.ix_(true, found)] * overlaps)
        reached = overlaps[rows, columns]
        good = reached >= HOTA_THRESHOLDS[:, None] - _EPS  # (threshold, pair)
        matches[:, true[rows], found[columns]] += good
        localisation += (good * reached).sum(1)
    # One threshold at a time: a video may have a thousand objects and tracks.
    association = [(of / np.maximum(1, length_true + length_found - of) * of).sum() for of in matches]
    return matches.sum((1, 2)).astype(np.float64), np.array(association), localisation


def without_distractors(frame: MotFrame, distractors: _Flags, counted: _Flags) -> MotFrame:
    """Apply MOTChallenge's rules of classes to a frame with true objects of all classes.

    Predicted objects whose match is a distractor are removed; then all true objects that do not count are.

    Parameters
    ----------
    distractors
        (true,), whether the object is of a class such as people in cars or reflections.
    counted
        (true,), whether the object is evaluated.
    """
    rows, columns = _matches(frame.overlaps)
    kept = ~np.isin(np.arange(len(frame.found_ids)), columns[distractors[rows]])
    return MotFrame(frame.true_ids[counted], frame.found_ids[kept], frame.overlaps[counted][:, kept])


def without_ignored(frame: MotFrame, inside: _Array) -> MotFrame:
    """Remove predicted masks without a match of which more than half lies in the ignored region of MOTS.

    `inside` is (found,): the share of each mask in the region.
    """
    matched = np.isin(np.arange(len(frame.found_ids)), _matches(frame.overlaps)[1])
    kept = matched | (inside <= 0.5 + _EPS)
    return MotFrame(frame.true_ids, frame.found_ids[kept], frame.overlaps[:, kept])


def _matches(overlaps: _Array) -> tuple[_Ids, _Ids]:
    """Return rows and columns of the pairs with an IoU of at least `MATCH_IOU` under the best assignment."""
    scores = np.where(overlaps < MATCH_IOU - _EPS, 0, overlaps)
    rows, columns = _assign(scores)
    good = scores[rows, columns] > _EPS
    return rows[good], columns[good]
