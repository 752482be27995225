"""PCK against the figures of CRW's own evaluation, a plain reference, and cases worked out by hand."""

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ted.pipeline.metrics.pck import PCK_THRESHOLDS, PckScore, joint_distances

Array = npt.NDArray[np.float64]


def score(truth: Array, predicted: Array) -> PckScore:
    return PckScore.of(joint_distances(truth, predicted))


def test_figures_of_the_official_evaluation(shared: Path) -> None:
    inputs = np.load(shared / "fixtures" / "pck" / "inputs.npz")
    expected = json.loads((shared / "fixtures" / "pck" / "expected.json").read_text())
    count = len(inputs.files) // 2
    parts = [score(inputs[f"gt_{i}"] - 1, inputs[f"pred_px_{i}"]) for i in range(count)]
    joined = PckScore.joined(parts)
    for at, threshold in enumerate(PCK_THRESHOLDS):
        wanted = expected[str(threshold)]
        np.testing.assert_allclose(joined.per_joint[at], wanted["per_joint"], rtol=0, atol=1e-9)
        assert joined.mean[at] == pytest.approx(wanted["mean"], abs=1e-9)


def plain_pck(videos: list[tuple[Array, Array]], threshold: float) -> list[float]:
    """Joint by joint and frame by frame, in words of the protocol."""
    shares = []
    for joint in range(videos[0][0].shape[1]):
        hits = total = 0
        for truth, predicted in videos:
            for frame in range(1, truth.shape[2]):
                if predicted[0, joint, frame] < 0:
                    continue
                present = [k for k in range(truth.shape[1]) if predicted[0, k, frame] >= 0]
                xs, ys = ([truth[axis, k, frame] for k in present] for axis in (0, 1))
                size = 0.6 * math.dist((min(xs), min(ys)), (max(xs), max(ys)))
                distance = math.dist(truth[:, joint, frame], predicted[:, joint, frame])
                total += 1
                hits += distance <= threshold * size and size > 0
        shares.append(100 * hits / total)
    return shares


def test_random_joints_agree_with_the_plain_reference() -> None:
    rng = np.random.default_rng(0)
    videos = []
    for frames in (4, 9, 6):
        truth = rng.uniform(20, 90, (2, 7, frames))
        predicted = truth + rng.normal(0, 12, truth.shape)
        predicted[:, rng.random((7, frames)) < 0.2] = -1
        videos.append((truth, predicted))
    joined = PckScore.joined([score(*video) for video in videos])
    for at, threshold in enumerate(PCK_THRESHOLDS):
        wanted = plain_pck(videos, threshold)
        np.testing.assert_allclose(joined.per_joint[at], wanted, rtol=0, atol=1e-9)
        assert joined.mean[at] == pytest.approx(sum(wanted) / len(wanted), abs=1e-9)
    assert len(set(joined.mean)) == 5


def square(frames: int) -> Array:
    """Corners of a 30 x 40 rectangle: the diagonal is 50, the size 30."""
    corners = np.array([[10, 40, 10, 40], [10, 10, 50, 50]], dtype=float)
    return np.repeat(corners[:, :, None], frames, axis=2)


def test_a_distance_is_a_part_of_the_persons_size() -> None:
    truth = square(3)
    predicted = truth.copy()
    predicted[0, 1, 1] += 3  # a tenth of the size, which counts at 0.1
    predicted[1, 2, 2] -= 7.5  # a quarter
    predicted[0, :, 0] += 1000  # the first frame is given, and not scored
    distances = joint_distances(truth, predicted)
    np.testing.assert_allclose(distances, [[0, 0], [0.1, 0], [0, 0.25], [0, 0]], atol=1e-12)
    assert PckScore.of(distances).mean.tolist() == [87.5, 87.5, 100, 100, 100]
    assert PckScore.of(distances).per_joint[0].tolist() == [100, 100, 50, 100]


def test_an_absent_joint_is_not_counted_and_does_not_widen_the_box() -> None:
    truth = square(2)
    predicted = truth.copy()
    predicted[:, 2:, 1] = -1  # the lower corners: the box is the upper side, of length 30, and the size 18
    predicted[0, 0, 1] += 4.5
    result = score(truth, predicted)
    np.testing.assert_allclose(joint_distances(truth, predicted)[:, 0], [0.25, 0, np.nan, np.nan])
    assert result.per_joint[1].tolist()[:2] == [0, 100]
    assert np.isnan(result.per_joint[:, 2:]).all()
    assert result.mean.tolist() == [50, 50, 100, 100, 100]
    assert result.found == 50


def test_a_box_without_extent_makes_nothing_correct() -> None:
    truth = square(2)
    predicted = np.full_like(truth, -1)
    predicted[:, 3] = truth[:, 3]
    result = score(truth, predicted)
    assert joint_distances(truth, predicted)[3, 0] == np.inf
    assert result.mean.tolist() == [0] * 5


@pytest.mark.parametrize("frames", [1, 3])
def test_nothing_to_score_is_not_a_number(frames: int) -> None:
    result = score(square(frames), np.full((2, 4, frames), -1.0))
    assert np.isnan(result.mean).all()
    assert math.isnan(result.found) if frames == 1 else result.found == 0
