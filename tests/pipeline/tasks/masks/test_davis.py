"""J and F against the official evaluation's figures, a slow reference, and cases worked out by hand."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from ted.pipeline.datasets.sources import Source, open_sources
from ted.pipeline.metrics.jf import (
    TrueContour,
    boundary,
    contour_accuracy,
    contour_radius,
    region_similarity,
    statistics,
)
from ted.pipeline.tasks.masks.png import write_mask
from ted.pipeline.tasks.masks.scores import MASKS, MaskScore, ObjectScore, write_tables
from ted.pipeline.tasks.masks.truth import score_sequence
from ted.pipeline.tasks.scoring import official
from ted.store.errors import ConfigError, LabelError
from tests.references.contours import contour_pixels, slow_contour_accuracy

Mask = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.uint8]


def blobs(rng: np.random.Generator, size: tuple[int, int], share: float) -> Mask:
    """Smooth random shapes that reach the edges."""
    field = cv2.resize(rng.random((6, 6)), (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(field < np.quantile(field, share))


def rectangle(size: tuple[int, int], top: int, left: int, bottom: int, right: int) -> Mask:
    mask = np.zeros(size, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


# --- kernels


def test_contours_are_those_of_the_reference_at_the_edges_too() -> None:
    rng = np.random.default_rng(0)
    for share in (0.05, 0.3, 0.7, 0.95):
        mask = blobs(rng, (23, 31), share)
        assert list(zip(*np.nonzero(boundary(mask)), strict=True)) == contour_pixels(mask)
    noise = rng.random((9, 8)) < 0.5
    assert list(zip(*np.nonzero(boundary(noise)), strict=True)) == contour_pixels(noise)


def test_contour_of_a_square_lies_towards_the_origin() -> None:
    contour = boundary(rectangle((6, 6), 2, 2, 4, 4))
    expected = np.zeros((6, 6), dtype=bool)
    expected[1, 1:4] = expected[3, 1:4] = expected[1:4, 1] = expected[1:4, 3] = True
    np.testing.assert_array_equal(contour, expected)
    assert not boundary(np.ones((6, 6), dtype=bool)).any()


@pytest.mark.parametrize("size", [(40, 52), (52, 40), (30, 90)])
def test_contour_accuracy_agrees_with_distances(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(sum(size))
    seen = []
    for radius in (0, 1, 2, 3, 5):
        truth, prediction = blobs(rng, size, rng.uniform(0.05, 0.9)), blobs(rng, size, rng.uniform(0.05, 0.9))
        seen.append(slow_contour_accuracy(truth, prediction, radius))
        assert contour_accuracy(truth, prediction, radius) == pytest.approx(seen[-1], abs=1e-12)
    assert len(set(seen)) > 3  # the shapes tell radii apart


def test_a_prepared_contour_serves_any_number_of_predictions() -> None:
    rng = np.random.default_rng(5)
    truths = [blobs(rng, (40, 52), 0.3), np.zeros((40, 52), dtype=bool), rectangle((40, 52), 0, 0, 5, 52)]
    predictions = [blobs(rng, (40, 52), share) for share in (0.05, 0.3, 0.6)] + truths
    for truth in truths:
        prepared = TrueContour(truth, 3)
        for prediction in predictions:
            assert prepared.accuracy(prediction) == pytest.approx(
                slow_contour_accuracy(truth, prediction, 3), abs=1e-12
            )


def test_contour_radius_is_a_share_of_the_diagonal_rounded_up() -> None:
    assert contour_radius((480, 854)) == 8  # 0.008 x 979.7 = 7.84
    assert contour_radius((240, 432)) == 4  # 3.95
    assert contour_radius((300, 400)) == 4  # exactly 4
    assert contour_radius((10, 10)) == 1
    # Two vertical lines, 4 and then 5 pixels apart.
    truth = rectangle((300, 400), 0, 0, 300, 200)
    assert contour_accuracy(truth, rectangle((300, 400), 0, 0, 300, 204)) == 1
    assert contour_accuracy(truth, rectangle((300, 400), 0, 0, 300, 205)) == 0


def test_empty_masks() -> None:
    empty, full = np.zeros((20, 20), dtype=bool), np.ones((20, 20), dtype=bool)
    square = rectangle((20, 20), 5, 5, 10, 10)
    assert region_similarity(empty, empty) == contour_accuracy(empty, empty) == 1
    assert region_similarity(square, empty) == contour_accuracy(square, empty) == 0
    assert region_similarity(empty, square) == contour_accuracy(empty, square) == 0
    # A mask that fills the frame has no contour either.
    assert region_similarity(full, empty) == 0
    assert contour_accuracy(full, empty) == 1


def test_square_shifted_by_a_pixel() -> None:
    # 10x10 squares: 90 of 110 pixels in common. Contours: 11x11 rings of 40 pixels, one column apart.
    truth, prediction = rectangle((40, 40), 10, 10, 20, 20), rectangle((40, 40), 10, 11, 20, 21)
    assert region_similarity(truth, prediction) == 90 / 110
    assert contour_accuracy(truth, prediction, 1) == 1
    # Exact matches: the two horizontal sides have 10 of their 11 pixels in common each, the vertical ones no more.
    assert contour_accuracy(truth, prediction, 0) == 20 / 40
    assert contour_accuracy(truth, truth, 0) == 1


def test_recall_is_strictly_above_a_half() -> None:
    assert statistics([0.5, 0.5, 0.50001, 1.0]).recall == 0.5


@pytest.mark.parametrize(
    ("count", "first", "last"),
    # Edges 1, 1 + (n-1)/4, ... rounded half to even (after 1e-10, so half up), both ends of a quarter included.
    [
        (1, [0], [0]),
        (2, [0], [1]),
        (3, [0, 1], [2]),
        (4, [0, 1], [2, 3]),
        (5, [0, 1], [3, 4]),
        (64, range(17), range(47, 64)),
    ],
)
def test_decay_compares_the_official_quarters(count: int, first: Sequence[int], last: Sequence[int]) -> None:
    values = np.random.default_rng(count).random(count)
    assert statistics(values).decay == pytest.approx(values[list(first)].mean() - values[list(last)].mean(), abs=1e-15)
    assert statistics(values).mean == pytest.approx(values.mean(), abs=1e-15)


def test_quarters_of_long_videos_wrap_around_as_the_official_ones_do() -> None:
    values = np.random.default_rng(0).random(600)
    # Edges 0, 150, 300, 449, 599, in 8 bits 0, 150, 44, 193, 87: the last quarter ends before it begins.
    assert math.isnan(statistics(values).decay)
    values = values[:256]
    # 0, 64, 128, 191, 255: the largest that does not wrap.
    assert statistics(values).decay == pytest.approx(values[:65].mean() - values[191:].mean(), abs=1e-15)
    values = np.random.default_rng(1).random(1030)
    # 0, 257, 514 (-> 2), 772 (-> 4), 1029 (-> 5): first quarter 0 to 1, last 4 to 5.
    assert statistics(values).decay == pytest.approx(values[0:2].mean() - values[4:6].mean(), abs=1e-15)


# --- the official fixture


@pytest.fixture(scope="module")
def scores(shared: Path) -> dict[str, MaskScore]:
    videos = open_sources([Source(path=shared / "data/davis-mini")])
    results = shared / "fixtures/davis_metrics/results"
    return {video.name: score_sequence(video.name, video.annotations(), results / video.name) for video in videos}


def test_scores_are_the_official_ones(scores: dict[str, MaskScore], shared: Path) -> None:
    expected = json.loads((shared / "fixtures/davis_metrics/expected/values.json").read_text())
    assert official(MASKS, MaskScore.means(list(scores.values()))) == pytest.approx(expected["global"], abs=1e-6)
    got = {
        f"{name}_{scored.object_id}": {"J": scored.j.mean, "F": scored.f and scored.f.mean}
        for name, score in scores.items()
        for scored in score.objects
    }
    assert list(got) == list(expected["per_object"])
    for name, values in got.items():
        assert values == pytest.approx(expected["per_object"][name], abs=1e-6)
    assert [len(score.names) for score in scores.values()] == [48, 38, 64]
    assert [len(scored.j_frames) for scored in [*scores.values()][2].objects] == [64] * 3


def test_tables_are_the_official_ones_byte_for_byte(scores: dict[str, MaskScore], shared: Path, tmp_path: Path) -> None:
    written = write_tables(scores, tmp_path / "new folder", "val")
    assert [path.name for path in written] == ["global_results-val.csv", "per-sequence_results-val.csv"]
    for path in written:
        assert path.read_bytes() == (shared / "fixtures/davis_metrics/expected" / path.name).read_bytes()
    assert sorted((tmp_path / "new folder").iterdir()) == sorted(written)


# --- sequences


def write_masks(folder: Path, masks: Sequence[Ids]) -> dict[str, Path]:
    return {f"{i:05d}": write_mask(folder / f"{i:05d}.png", ids) for i, ids in enumerate(masks)}


def square_ids(object_id: int = 1, top: int = 4) -> Ids:
    return (rectangle((24, 32), top, 4, top + 10, 14) * object_id).astype(np.uint8)


def test_first_and_last_frame_do_not_count(tmp_path: Path) -> None:
    truth = write_masks(tmp_path / "truth", [square_ids(), square_ids(), square_ids(top=9)])
    # Only the middle one is looked at: the others need not even exist.
    write_mask(tmp_path / "results/00001.png", square_ids())
    score = score_sequence("a", truth, tmp_path / "results")
    assert score.names == ("00001",)
    (scored,) = score.objects
    assert (scored.j_frames, scored.f_frames) == ((1.0,), (1.0,))
    assert (scored.j.mean, scored.j.recall, scored.j.decay) == (1, 1, 0)
    assert MaskScore.means([score])["jf"] == 1


def test_objects_are_weighted_equally_whatever_video_they_are_in(tmp_path: Path) -> None:
    def scored(object_id: int, value: float) -> ObjectScore:
        part = statistics([value])
        return ObjectScore(object_id=object_id, frames=1, j=part, f=part)

    scores = {
        "a": MaskScore(objects=(scored(1, 1.0),)),
        "b, c": MaskScore(objects=(scored(1, 0.0), scored(2, 0.2))),
    }
    assert MaskScore.means(list(scores.values()))["j"] == pytest.approx(0.4)
    _, table = write_tables(scores, tmp_path, "my set")
    with table.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["Sequence", "J-Mean", "F-Mean"]
    assert rows[1:] == [["a_1", "1.000", "1.000"], ["b, c_1", "0.000", "0.000"], ["b, c_2", "0.200", "0.200"]]


def test_a_decay_that_is_not_a_number_leaves_its_cell_empty(tmp_path: Path) -> None:
    part = statistics(np.ones(600))
    scored = ObjectScore(object_id=1, frames=600, j=part, f=part)
    table, _ = write_tables({"a": MaskScore(objects=(scored,))}, tmp_path, "val")
    assert table.read_text().splitlines()[1] == "1.000,1.000,1.000,,1.000,1.000,"


def test_void_and_lost_objects_and_unused_numbers(tmp_path: Path) -> None:
    # Objects 1 and 3; void pixels and object 4, which is not in the first frame, do not count.
    first = square_ids(1)
    first[20:22] = 3
    later = first.copy()
    later[:, 25:] = 255
    truth = write_masks(tmp_path / "truth", [first, later, first])
    write_masks(tmp_path / "results", [first, square_ids(1), first])
    score = score_sequence("a", truth, tmp_path / "results")
    assert [scored.object_id for scored in score.objects] == [1, 2, 3]
    assert [scored.j.mean for scored in score.objects] == [1, 1, 0]
    assert [scored.f and scored.f.mean for scored in score.objects] == [1, 1, 0]


def test_predicting_a_void_pixel_is_wrong(tmp_path: Path) -> None:
    with_void = square_ids(1)
    with_void[4:9, 4:14] = 255
    truth = write_masks(tmp_path / "truth", [square_ids(), with_void, square_ids()])
    write_masks(tmp_path / "results", [square_ids()] * 3)
    assert score_sequence("a", truth, tmp_path / "results").objects[0].j.mean == 0.5


def test_wrong_results_are_refused(tmp_path: Path) -> None:
    truth = write_masks(tmp_path / "truth", [square_ids()] * 4)
    results = tmp_path / "results"
    with pytest.raises(LabelError, match=r"no results for video 'a'.*results"):
        score_sequence("a", truth, results)
    write_masks(results, [square_ids()] * 2)
    with pytest.raises(LabelError, match=r"video 'a' lacks 1 result in .* first 00002\.png"):
        score_sequence("a", truth, results)
    for wrong, reason in [
        (square_ids(2), r"00002\.png contains object 2.* only 1"),
        (square_ids(255), "contains object 255"),
        (square_ids()[:, :-1], r"00002\.png is 31x24 .* 32x24"),
    ]:
        write_masks(results, [square_ids()] * 2 + [wrong] * 2)
        with pytest.raises(LabelError, match=reason):
            score_sequence("a", truth, results)


def test_wrong_ground_truth_is_refused(tmp_path: Path) -> None:
    write_masks(tmp_path / "results", [square_ids()] * 3)
    truth = write_masks(tmp_path / "truth", [square_ids()] * 3)
    for count in (0, 1, 2):
        with pytest.raises(ConfigError, match=rf"has {count} annotated frame"):
            score_sequence("a", dict(list(truth.items())[:count]), tmp_path / "results")
    write_mask(truth["00001"], square_ids()[:-2])
    with pytest.raises(LabelError, match=r"00001\.png is 32x22"):
        score_sequence("a", truth, tmp_path / "results")
    write_mask(truth["00000"], square_ids(0))
    with pytest.raises(LabelError, match="no object"):
        score_sequence("a", truth, tmp_path / "results")
