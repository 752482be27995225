"""J and F of objects in frames of their own, and the IoU of parts: cases worked out by hand."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from ted.pipeline.metrics.parts import VIP_CLASSES, confusion, intersection_over_union
from ted.pipeline.tasks.masks.evaluating import score_files
from ted.pipeline.tasks.masks.png import write_mask
from ted.pipeline.tasks.masks.scores import MaskScore
from ted.pipeline.tasks.masks.truth import score_sequence
from ted.pipeline.tasks.parts.task import PartScore, PartTask, PartTruth
from ted.store.errors import ConfigError, LabelError

from ...roots import SIZE, Ids, boxes

EMPTY = np.zeros(SIZE, np.uint8)


def score_parts(name: str, truth: dict[str, Path], results: Path) -> PartScore:
    score: PartScore = score_files(PartTruth(name, truth), results)
    return score


def masks_at(folder: Path, masks: dict[str, Ids]) -> dict[str, Path]:
    return {name: write_mask(folder / f"{name}.png", ids) for name, ids in masks.items()}


def test_objects_are_scored_in_their_own_frames(tmp_path: Path) -> None:
    # Object 1 is in all frames; object 4 joins in b: what is predicted of it there, or in a, does not matter.
    truth = masks_at(
        tmp_path / "truth",
        {"a": boxes(o1=5), "b": boxes(o1=5, o4=30), "c": boxes(o1=5, o4=30), "d": EMPTY, "e": boxes(o1=5)},
    )
    masks_at(
        tmp_path / "results",
        {
            "a": boxes(o1=40, o4=5),  # given: not looked at
            "b": boxes(o1=5, o4=5),  # object 4 hides object 1
            "c": boxes(o1=10, o4=30),
            "d": EMPTY,
            "e": boxes(o1=5, o4=30),
        },
    )
    frames = {4: ("c", "d", "e"), 1: ("b", "c", "d", "e")}
    score = score_sequence("v", truth, tmp_path / "results", frames)
    first, late = score.objects
    assert score.names == ("b", "c", "d", "e")
    assert (first.object_id, first.frames, first.names) == (1, 4, None)
    # Hidden: 0. Moved by half its width: 50 of 150 pixels. Both empty: 1. Right: 1.
    assert first.j_frames == pytest.approx((0, 1 / 3, 1, 1))
    assert first.j.mean == pytest.approx(7 / 12)
    assert (late.object_id, late.frames, late.names) == (4, 3, ("c", "d", "e"))
    # Right, both empty, and absent in the truth but predicted.
    assert late.j_frames == late.f_frames == (1, 1, 0)
    assert late.j.recall == pytest.approx(2 / 3)
    assert MaskScore.means([score])["j"] == pytest.approx((7 / 12 + 2 / 3) / 2)


def test_an_object_without_frames_to_score_is_left_out(tmp_path: Path) -> None:
    truth = masks_at(tmp_path / "truth", {"a": boxes(o1=5), "b": boxes(o1=5, o2=30)})
    masks_at(tmp_path / "results", {"b": boxes(o1=5, o2=30)})
    score = score_sequence("v", truth, tmp_path / "results", {1: ("b",), 2: ()})
    assert [thing.object_id for thing in score.objects] == [1]
    with pytest.raises(ConfigError, match="nothing to score of video 'v'"):
        score_sequence("v", truth, tmp_path / "results", {1: (), 2: ()})


def test_truth_that_is_not_public_is_asked_for(tmp_path: Path) -> None:
    truth = masks_at(tmp_path / "truth", {"a": boxes(o1=5)})
    masks_at(tmp_path / "results", {"a": boxes(o1=5), "b": boxes(o1=5)})
    with pytest.raises(LabelError, match=r"no ground truth for 2 frames of video 'v', first b: .* not public"):
        score_sequence("v", truth, tmp_path / "results", {1: ("b", "c")})


def test_results_with_other_objects_are_refused(tmp_path: Path) -> None:
    truth = masks_at(tmp_path / "truth", {"a": boxes(o1=5), "b": boxes(o1=5)})
    masks_at(tmp_path / "results", {"b": boxes(o3=5)})
    with pytest.raises(LabelError, match=r"b\.png contains object 3, .* has only 1, 9"):
        score_sequence("v", truth, tmp_path / "results", {1: ("b",), 9: ()})


# --- parts


def test_intersection_over_union_by_hand() -> None:
    truth = np.array([[0, 0, 1, 1], [2, 2, 255, 255]], np.uint8)
    prediction = np.array([[0, 1, 1, 1], [0, 2, 2, 0]], np.uint8)
    counts = confusion(truth, prediction, 4)
    assert counts.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    # Void pixels do not count. Background: 1 of 3, class 1: 2 of 3, class 2: 1 of 2, class 3: nowhere.
    np.testing.assert_allclose(intersection_over_union(counts), [1 / 3, 2 / 3, 1 / 2, np.nan])


def test_parts_are_pooled_over_frames_and_videos(tmp_path: Path) -> None:
    scores = {}
    for name, predicted in (("a", 5), ("b", 15)):
        truth = masks_at(tmp_path / "truth" / name, {"1": boxes(o13=5), "2": boxes(o13=5)})
        masks_at(tmp_path / name, {"1": boxes(o13=5), "2": boxes(o13=predicted)})
        scores[name] = score_parts(name, truth, tmp_path / name)
    (tmp_path / "tables").mkdir()
    values = PartTask().evaluation(scores, tmp_path / "tables", "val").values
    # Of 2240 pixels a frame 100 are faces: found in three frames of four, in the fourth they are elsewhere.
    face, background = 300 / 500, (4 * 2140 - 100) / (4 * 2140 + 100)
    assert values["classes"]["face"] == pytest.approx(face)
    assert values["mIoU"] == pytest.approx((face + background) / 2)
    assert math.isnan(values["classes"]["hat"])
    assert values["videos"]["a"] == 1
    assert values["videos"]["b"] == pytest.approx((100 / 300 + (2 * 2140 - 100) / (2 * 2140 + 100)) / 2)
    rows = [
        list(csv.reader((tmp_path / "tables" / f"{name}_results-val.csv").read_text().splitlines()))
        for name in ("parts", "per-video")
    ]
    assert rows[0][0] == ["Class", "IoU"]
    assert [row[0] for row in rows[0][1:]] == [*VIP_CLASSES, "mean"]
    assert rows[0][2] == ["hat", ""]
    assert rows[0][-1] == ["mean", f"{values['mIoU']:.3f}"]
    assert rows[1][:2] == [["Video", "mIoU"], ["a", "1.000"]]


def test_parts_that_cannot_be_scored(tmp_path: Path) -> None:
    truth = masks_at(tmp_path / "truth", {"1": boxes(o13=5)})
    with pytest.raises(ConfigError, match="no annotated frames"):
        score_parts("v", {}, tmp_path)
    with pytest.raises(LabelError, match="no results for video 'v'"):
        score_parts("v", truth, tmp_path / "results")
    masks_at(tmp_path / "results", {"1": boxes(o20=5)})
    with pytest.raises(LabelError, match=r"1\.png contains class 20; there are 0 to 19"):
        score_parts("v", truth, tmp_path / "results")
    masks_at(tmp_path / "results", {"1": boxes(o13=5)[:-1]})
    with pytest.raises(LabelError, match=r"56x39 .* 56x40"):
        score_parts("v", truth, tmp_path / "results")
    # All void: no number, and no error.
    void = masks_at(tmp_path / "void", {"1": np.full(SIZE, 255, np.uint8)})
    masks_at(tmp_path / "results", {"1": boxes(o13=5)})
    assert PartScore.means([score_parts("v", void, tmp_path / "results")]) == {"miou": None}
