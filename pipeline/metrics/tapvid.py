"""TAP-Vid's metrics of tracked points: arrays in, numbers out.

The conventions are those of `compute_tapvid_metrics` of Doersch et al., "TAP-Vid: A Benchmark for Tracking Any Point in
a Video" (NeurIPS 2022).
"""

import numpy as np
import numpy.typing as npt

from ..datasets.point_queries import QueryMode

#: A point is correct if its error is below this distance, in pixels of a 256x256 raster.
THRESHOLDS = (1, 2, 4, 8, 16)


def score_tracks(
    query_frames: npt.NDArray[np.integer],
    true_tracks: npt.NDArray[np.floating],
    true_occluded: npt.NDArray[np.bool_],
    tracks: npt.NDArray[np.floating],
    occluded: npt.NDArray[np.bool_],
    mode: QueryMode,
) -> dict[str, float]:
    """Score the predicted tracks of one video's queries.

    Parameters
    ----------
    query_frames
        (query,), the frame in which each point was queried.
    true_tracks, tracks
        (query, frame, 2), x and y in pixels of a 256x256 raster.
    true_occluded, occluded
        (query, frame): where the point is not visible.
    mode
        ``"first"``: the frames after the query's are scored; ``"strided"``: all but the query's.

    Returns
    -------
    dict
        Values by official name, in [0, 1]; NaN where there is nothing to measure. By threshold, ``pts_within_*`` is the
        share of visible points whose error is below it, whatever their predicted visibility, and ``jaccard_*`` is true
        positives / (true positives + false positives + false negatives): a point is a true positive if it is visible,
        predicted visible, and its error is below the threshold. ``average_jaccard`` and ``average_pts_within_thresh``
        (delta_avg in papers) are their means, and ``occlusion_accuracy`` is the share of points and frames whose
        visibility is predicted correctly.
    """
    frames = np.arange(true_tracks.shape[1])
    queried = np.asarray(query_frames)[:, None]
    scored = frames > queried if mode == "first" else frames != queried  # (query, frame)
    visible, seen = ~true_occluded & scored, ~occluded & scored
    distance = ((tracks - true_tracks) ** 2).sum(-1)  # squared
    points_within, jaccard = [], []
    for limit in THRESHOLDS:
        near = distance < limit**2
        correct = near & visible
        # True positives and false negatives are together the visible points.
        wrong = seen & ~correct
        points_within.append(_share(correct, visible.sum()))
        jaccard.append(_share(correct & seen, visible.sum() + wrong.sum()))
    averages = {
        "average_jaccard": float(np.mean(jaccard)),
        "average_pts_within_thresh": float(np.mean(points_within)),
        "occlusion_accuracy": _share((occluded == true_occluded) & scored, scored.sum()),
    }
    within = {f"pts_within_{limit}": value for limit, value in zip(THRESHOLDS, points_within, strict=True)}
    return averages | within | {f"jaccard_{limit}": value for limit, value in zip(THRESHOLDS, jaccard, strict=True)}


def _share(hits: npt.NDArray[np.bool_], total: int) -> float:
    return float(hits.sum() / total) if total else float("nan")
