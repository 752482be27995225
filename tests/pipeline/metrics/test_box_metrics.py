"""Overlap, success and precision of boxes, on cases that are computed by hand."""

import math

import numpy as np
import pytest

from ted.pipeline.datasets.table_video import mask_boxes
from ted.pipeline.metrics.boxes import BoxScore, centre_distance, intersection_over_union

NONE = [math.nan] * 4


@pytest.mark.parametrize(
    ("truth", "predicted", "overlap", "distance"),
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1, 0),
        ([0, 0, 10, 10], [5, 0, 10, 10], 50 / 150, 5),
        ([0, 0, 10, 10], [2, 2, 5, 4], 20 / 100, math.hypot(0.5, 1)),
        ([0, 0, 10, 10], [10, 0, 10, 10], 0, 10),  # side by side
        ([0, 0, 4, 2], [0.5, 0.5, 4, 2], 3.5 * 1.5 / (16 - 5.25), math.hypot(0.5, 0.5)),
        ([-5, -5, 10, 10], [0, 0, 10, 10], 25 / 175, math.hypot(5, 5)),
        ([0, 0, 10, 10], NONE, 0, math.inf),
        (NONE, [0, 0, 10, 10], math.nan, math.nan),
        (NONE, NONE, math.nan, math.nan),
    ],
)
def test_overlap_and_distance(truth: list[float], predicted: list[float], overlap: float, distance: float) -> None:
    pair = np.array(truth, float), np.array(predicted, float)
    assert float(intersection_over_union(*pair)) == pytest.approx(overlap, nan_ok=True)
    assert float(centre_distance(*pair)) == pytest.approx(distance, nan_ok=True)


def score(*pairs: tuple[list[float], list[float]]) -> BoxScore:
    truth, predicted = (np.array(boxes, float).reshape(-1, 4) for boxes in zip(*pairs, strict=True))
    return BoxScore(truth=truth, predicted=predicted)


def test_a_score_of_several_frames() -> None:
    box = [0.0, 0, 100, 10]
    # IoU 1, 0.5 (half of it), 0 (beside it), 0 (absent); the last frame has no truth.
    scored = score((box, box), (box, [0, 0, 50, 10]), (box, [100, 0, 100, 10]), (box, NONE), (NONE, box))
    np.testing.assert_allclose(scored.overlaps, [1, 0.5, 0, 0])
    assert scored.iou == 1.5 / 4
    # Above 0 to 0.45: two of four; from 0.5, which 0.5 is not above, to 0.95: one; above 1: none.
    assert scored.success_curve.tolist() == [0.5] * 10 + [0.25] * 10 + [0]
    assert scored.success == pytest.approx((10 * 0.5 + 10 * 0.25) / 21)
    assert scored.precision == 1 / 4  # centres are 0, 25, 100 and infinitely far apart
    assert scored.found == 3 / 4


def test_perfect_boxes_and_the_rim_of_precision() -> None:
    box = [0.0, 0, 10, 10]
    perfect = score((box, box), (box, box))
    assert (perfect.iou, perfect.precision, perfect.found) == (1, 1, 1)
    assert perfect.success == pytest.approx(20 / 21)
    assert score((box, [20, 0, 10, 10]), (box, [20.001, 0, 10, 10])).precision == 0.5


@pytest.mark.parametrize(
    "scored", [score((NONE, [0.0, 0, 1, 1])), BoxScore(truth=np.empty((0, 4)), predicted=np.empty((0, 4)))]
)
def test_nothing_to_score_is_not_a_number(scored: BoxScore) -> None:
    assert [math.isnan(value) for value in (scored.iou, scored.success, scored.precision, scored.found)] == [True] * 4
    assert len(scored.overlaps) == 0


def test_boxes_around_masks() -> None:
    ids = np.zeros((6, 8), np.uint8)
    ids[2:5, 3], ids[4, 3:7], ids[5, 7] = 2, 2, 9
    np.testing.assert_array_equal(mask_boxes(ids, (2, 5, 9)), [[3, 2, 4, 3], NONE, [7, 5, 1, 1]])
