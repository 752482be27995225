"""TAP-Vid's measures against its own evaluation's figures, a plain reference, and cases worked out by hand."""

import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from ted.pipeline.datasets.point_queries import QueryMode
from ted.pipeline.metrics.tapvid import THRESHOLDS, score_tracks


class Tracks(NamedTuple):
    query_frames: npt.NDArray[np.int64]
    true_tracks: npt.NDArray[np.float64]
    true_occluded: npt.NDArray[np.bool_]
    tracks: npt.NDArray[np.float64]
    occluded: npt.NDArray[np.bool_]


def by_limit(score: dict[str, float], name: str) -> tuple[float, ...]:
    return tuple(score[f"{name}_{limit}"] for limit in THRESHOLDS)


def still(queries: int, frames: int, query_frame: int = 0) -> Tracks:
    """Points that stand still, in sight, and are predicted perfectly."""
    at = np.full((queries, frames, 2), 100.0)
    hidden = np.zeros((queries, frames), dtype=bool)
    return Tracks(np.full(queries, query_frame), at, hidden, at.copy(), hidden.copy())


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_figures_of_the_official_evaluation(shared: Path, mode: QueryMode) -> None:
    inputs = np.load(shared / "fixtures" / "tapvid" / "inputs.npz")
    expected = json.loads((shared / "fixtures" / "tapvid" / "expected.json").read_text())[mode]
    (score,) = [
        score_tracks(
            np.round(inputs["query_points"][video, :, 0]).astype(int),
            inputs["gt_tracks"][video],
            inputs["gt_occluded"][video],
            inputs["pred_tracks"][video],
            inputs["pred_occluded"][video],
            mode,
        )
        for video in range(len(inputs["gt_tracks"]))
    ]
    assert score.keys() == expected.keys()
    for name, value in expected.items():
        assert score[name] == pytest.approx(value, abs=1e-9), name


def plain_score(given: Tracks, mode: QueryMode, limit: int) -> tuple[float, float, float]:
    """Count every case by its name."""
    agree = total = near_visible = visible = true_positive = false_positive = false_negative = 0
    for query, start in enumerate(given.query_frames):
        for frame in range(given.tracks.shape[1]):
            if frame == start or (mode == "first" and frame < start):
                continue
            in_sight, seen = not given.true_occluded[query, frame], not given.occluded[query, frame]
            near = math.dist(given.true_tracks[query, frame], given.tracks[query, frame]) < limit
            total += 1
            agree += in_sight == seen
            visible += in_sight
            near_visible += in_sight and near
            true_positive += in_sight and seen and near
            false_positive += seen and not (in_sight and near)
            false_negative += in_sight and not (seen and near)
    return agree / total, near_visible / visible, true_positive / (true_positive + false_positive + false_negative)


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_random_tracks_agree_with_the_plain_reference(mode: QueryMode) -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(0, 256, (6, 9, 2))
    given = Tracks(
        rng.integers(0, 9, 6),
        truth,
        rng.random((6, 9)) < 0.3,
        truth + rng.normal(0, 4, truth.shape),
        rng.random((6, 9)) < 0.3,
    )
    score = score_tracks(*given, mode)
    for limit in THRESHOLDS:
        wanted = plain_score(given, mode, limit)
        assert (score["occlusion_accuracy"], score[f"pts_within_{limit}"], score[f"jaccard_{limit}"]) == pytest.approx(
            wanted, abs=1e-9
        )
    assert len(set(by_limit(score, "jaccard"))) == 5


def test_a_perfect_track_scores_one_and_a_distance_must_be_below_the_threshold() -> None:
    given = still(2, 3)
    assert set(score_tracks(*given, "first").values()) == {1}
    given.tracks[0, 1, 0] += 4  # exactly 4: correct at 8 and 16 only
    score = score_tracks(*given, "first")
    assert by_limit(score, "pts_within") == (0.75, 0.75, 0.75, 1, 1)
    # A point that is too far away is missed where it is, and wrong where it was put.
    assert by_limit(score, "jaccard") == (3 / 5, 3 / 5, 3 / 5, 1, 1)
    assert score["average_pts_within_thresh"] == pytest.approx(0.85)


def test_frames_before_the_query_count_in_strided_mode_alone() -> None:
    given = still(1, 5, query_frame=3)
    given.tracks[0, [0, 3]] = 0.0  # one frame before the query's, and the query's own
    assert by_limit(score_tracks(*given, "first"), "pts_within") == (1,) * 5
    assert by_limit(score_tracks(*given, "strided"), "pts_within") == (0.75,) * 5


def test_points_that_are_never_visible() -> None:
    given = still(1, 3)
    given.true_occluded[:] = True
    score = score_tracks(*given, "first")
    assert score["occlusion_accuracy"] == 0
    assert all(map(math.isnan, by_limit(score, "pts_within")))
    assert by_limit(score, "jaccard") == (0,) * 5  # false positives, nothing else
    given.occluded[:] = True
    score = score_tracks(*given, "first")
    assert score["occlusion_accuracy"] == 1
    assert all(map(math.isnan, by_limit(score, "jaccard")))


@pytest.mark.parametrize(("queries", "frames"), [(0, 4), (2, 1)])
def test_nothing_to_score_is_not_a_number(queries: int, frames: int) -> None:
    score = score_tracks(*still(queries, frames), "first")
    assert all(map(math.isnan, score.values()))
