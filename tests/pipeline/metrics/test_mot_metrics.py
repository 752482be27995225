"""Metrics of multi-object tracking: by hand, and against numbers of TrackEval."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ted.pipeline.metrics.mot import (
    HOTA_THRESHOLDS,
    MotCounts,
    MotFrame,
    count_matches,
    without_distractors,
    without_ignored,
)

_STORED = json.loads((Path(__file__).parent / "data" / "trackeval.json").read_text())


def frame(true: list[int], found: list[int], overlaps: Any) -> MotFrame:
    shape = len(true), len(found)
    return MotFrame(np.array(true, int), np.array(found, int), np.array(overlaps, float).reshape(shape))


def stored_videos() -> list[list[MotFrame]]:
    return [[frame(**item) for item in video["frames"]] for video in _STORED["videos"]]


def test_a_track_that_breaks_in_two_by_hand() -> None:
    """Four perfect boxes, the last two under another id: A(c) is 2 / 4 of each."""
    counts = count_matches([frame([7], [found], 1.0) for found in (3, 3, 5, 5)])
    expected = {"hota": np.sqrt(0.5), "deta": 1, "assa": 0.5, "loca": 1, "mota": 0.75, "motp": 1, "smota": 0.75}
    expected |= {"idf1": 0.5, "idp": 0.5, "idr": 0.5, "idsw": 1, "fp": 0, "fn": 0}
    assert counts.metrics() == pytest.approx(expected)


def test_a_miss_a_false_positive_and_loose_boxes_by_hand() -> None:
    """IoU of 0.8 and 0.6 reach 16 and 12 of the 19 thresholds."""
    counts = count_matches([frame([1], [1], 0.8), frame([1, 2], [1, 9], [[0.6, 0], [0, 0.2]])])
    found = counts.metrics()
    tp = np.where(HOTA_THRESHOLDS < 0.61, 2, np.where(HOTA_THRESHOLDS < 0.81, 1, 0))
    # At 0.2 and below, objects 2 and 9 match, too.
    tp = tp + (HOTA_THRESHOLDS < 0.21)
    assert found["deta"] == pytest.approx(np.mean(tp / (6 - tp)))
    assert found["mota"] == pytest.approx((2 - 1) / 3)
    assert found["smota"] == pytest.approx((1.4 - 1) / 3)
    assert found["motp"] == pytest.approx(0.7)
    assert (found["idf1"], found["fp"], found["fn"], found["idsw"]) == (pytest.approx(2 / 3), 1, 1, 0)


def test_a_match_of_the_last_frame_is_kept_and_a_gap_does_not_end_a_track() -> None:
    first, better = frame([1], [1], 0.9), frame([1], [1, 2], [[0.5, 0.9]])
    assert count_matches([first, better]).switches == 0
    assert count_matches([first, frame([1], [1, 2], [[0.49, 0.9]])]).switches == 1
    gap = [frame([1], [], []), frame([], [2], []), frame([1], [2], 0.9)]
    assert count_matches([first, *gap]).switches == 1


def test_nothing_true_or_nothing_found() -> None:
    missed = count_matches([frame([1, 2], [], []), frame([1], [], [])]).metrics()
    assert (missed["fn"], missed["mota"], missed["hota"], missed["idf1"]) == (3, 0, 0, 0)
    assert count_matches([frame([], [4], [])]).metrics()["fp"] == 1


@pytest.mark.parametrize("at", range(len(_STORED["videos"])))
def test_equal_to_trackeval(at: int) -> None:
    assert count_matches(stored_videos()[at]).metrics() == pytest.approx(_STORED["videos"][at]["expected"], abs=1e-12)


def test_videos_together_are_equal_to_trackeval() -> None:
    counts = MotCounts.joined([count_matches(video) for video in stored_videos()])
    assert counts.metrics() == pytest.approx(_STORED["combined"], abs=1e-12)


def test_equal_to_trackeval_itself() -> None:
    """The same comparison with the library, where it is installed, on random tracks."""
    metrics = pytest.importorskip("trackeval.metrics")
    measures = [metrics.HOTA(), metrics.CLEAR({"PRINT_CONFIG": False}), metrics.Identity({"PRINT_CONFIG": False})]
    rng = np.random.default_rng(0)
    for _ in range(20):
        frames = []
        for _ in range(6):
            true, found = (np.flatnonzero(rng.random(4) < 0.8) for _ in range(2))
            frames.append(MotFrame(true, found, rng.random((len(true), len(found))) ** 0.5))
        data: dict[str, Any] = {"num_timesteps": 6, "seq": "x", "similarity_scores": [item.overlaps for item in frames]}
        for kind, ids in (("gt", [item.true_ids for item in frames]), ("tracker", [item.found_ids for item in frames])):
            known = np.unique(np.concatenate(ids))
            data |= {f"num_{kind}_ids": len(known), f"num_{kind}_dets": sum(map(len, ids))}
            data[f"{kind}_ids"] = [np.searchsorted(known, item) for item in ids]
        theirs = {name: value for item in measures for name, value in item.eval_sequence(data).items()}
        ours = count_matches(frames).metrics()
        for name, other in (("hota", "HOTA"), ("assa", "AssA"), ("mota", "MOTA"), ("smota", "sMOTA"), ("idf1", "IDF1")):
            assert ours[name] == pytest.approx(np.mean(theirs[other]))


def test_predictions_on_distractors_and_in_ignored_regions_do_not_count() -> None:
    overlaps = [[0.9, 0, 0], [0, 0.6, 0], [0, 0, 0.4]]
    kept = without_distractors(
        frame([1, 2, 3], [1, 2, 3], overlaps), np.array([False, True, True]), np.array([True, False, False])
    )
    assert kept.true_ids.tolist() == [1]
    assert kept.found_ids.tolist() == [1, 3]  # 2 matches a distractor, 3 does not suffice
    masks = frame([1], [1, 2, 3], [[0.5, 0.1, 0]])
    assert without_ignored(masks, np.array([1.0, 0.5, 0.51])).found_ids.tolist() == [1, 2]
