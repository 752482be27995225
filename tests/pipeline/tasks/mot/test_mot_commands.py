"""Boxes and masks of many objects, from the dataset to the metrics of multi-object tracking."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ted.pipeline.datasets.sources import Source, open_source
from ted.pipeline.reports.folders import read_evaluations
from ted.pipeline.tasks.boxes.results import BoxResult
from ted.pipeline.tasks.masks.evaluating import MaskEvaluator
from ted.pipeline.tasks.masks.png import write_mask
from ted.pipeline.tasks.masks.task import MaskTask
from ted.pipeline.tasks.masks.truth import SequenceTruth
from ted.pipeline.tasks.mot import MotScore, MotsScore, MotsTask, MotTask
from ted.pipeline.tasks.registry import read_score
from ted.store.errors import LabelError

from ...conftest import Cli
from ...kind_inputs import FEATURES, extract
from ...mot_inputs import SIZE, mots_lines, moving, rows_of, write_mot, write_mots


def tracked(cli: Cli, source: Path, tmp_path: Path) -> Path:
    extract(cli, source, tmp_path / "cache", "--frame-size", "48x64")
    setting = (*FEATURES, "--radius", 3, "--top-k", 5, "--temperature", 0.05)
    done = cli("propagate", source, "--cache", tmp_path / "cache", "--out", tmp_path / "results", *setting)
    assert done.code == 0, done.err
    return tmp_path / "results"


def test_boxes_from_frames_to_metrics(cli: Cli, tmp_path: Path) -> None:
    source = write_mot(tmp_path / "MOT17")
    results = tracked(cli, source, tmp_path)
    boxes = BoxResult.read(results / "MOT17-02")
    # Object 2 is not followed to the frames before it enters.
    assert np.isfinite(boxes.boxes).all(2).tolist() == [[True] * 5, [False] * 2 + [True] * 3]
    answer = json.loads(cli("evaluate", source, "--results", results, "--json").out)
    assert answer["mean"] == answer["videos"]["MOT17-02"]
    assert (answer["mean"]["MOTA"], answer["mean"]["IDF1"], answer["mean"]["IDSW"]) == (1, 1, 0)
    assert 0.9 < answer["mean"]["HOTA"] < 1
    printed = cli("evaluate", source, "--results", results).out
    assert " ".join(printed.splitlines()[0].split()) == "video HOTA DetA AssA LocA MOTA MOTP IDF1 IDP IDR IDSW FP FN"
    table = (results / "mot_results-val.csv").read_text().splitlines()
    assert table[-1].startswith("all,0.9")
    assert table[-1].endswith(",0,0,0")
    # IoU, success and precision of the same results.
    assert json.loads(cli("evaluate", source, "--results", results, "--boxes", "--json").out)["mean"]["IoU"] > 0.9
    assert {item.metric_spec.order[0] for item in read_evaluations(results)} == {"hota", "iou"}
    elsewhere = cli("evaluate", source, "--results", tmp_path)
    assert (elsewhere.code, "there is no" in elsewhere.err, "boxes.npz" in elsewhere.err) == (1, True, True)
    exported = cli("export", results, "--to", "mot", "--out", tmp_path / "mot")
    assert exported.code == 0
    lines = (tmp_path / "mot" / "MOT17-02.txt").read_text().splitlines()
    assert lines[0] == "1,1,4.000,8.000,16.000,16.000,1.0000,-1,-1,-1"
    assert len(lines) == 8


def test_masks_from_files_to_metrics(cli: Cli, tmp_path: Path) -> None:
    source = write_mots(tmp_path / "KITTI")
    (video,) = open_source(Source(path=source))
    results = tmp_path / "results"
    for frame, (name, ids) in enumerate(zip(video.frames.names, moving(), strict=True)):
        found = np.where(ids == 10000, 0, np.where(ids > 0, ids - 2000, 0))
        found[:, : 4 + 4 * frame + 4] = 0  # cuts a quarter of object 1
        write_mask(results / "0002" / f"{name}.png", found.astype(np.uint8))
    masks = json.loads(cli("evaluate", source, "--results", results, "--json").out)["mean"]
    assert list(masks)[:8] == ["HOTA", "DetA", "AssA", "LocA", "sMOTSA", "MOTSA", "MOTSP", "IDF1"]
    # By hand: IoU of 0.75 in 5 frames, and of 1 in 3.
    assert (masks["MOTSA"], masks["IDSW"]) == (1, 0)
    assert masks["sMOTSA"] == masks["MOTSP"] == pytest.approx((5 * 0.75 + 3) / 8)
    assert (results / "mots_results-val.csv").read_text().splitlines()[-1].endswith(",0,0,0")
    around = json.loads(cli("evaluate", source, "--results", results, "--boxes", "--metric", "mot", "--json").out)
    assert around["mean"]["MOTA"] == 1
    case = MaskTask().eval_case(video)
    assert isinstance(case.evaluator, MaskEvaluator)
    assert isinstance(case.evaluator.truth, SequenceTruth)
    assert case.evaluator.truth.scored.tolist() == [[True] * 4, [False] * 2 + [True] * 2]


def test_masks_are_not_followed_to_frames_before_an_object_enters(cli: Cli, tmp_path: Path) -> None:
    source = write_mots(tmp_path / "KITTI")
    Image.fromarray(np.zeros(SIZE, np.uint16)).save(source / "instances" / "0002" / "000000.png")
    results = tracked(cli, source, tmp_path)
    masks = [np.asarray(Image.open(path)) for path in sorted((results / "0002").glob("*.png"))]
    assert [sorted(set(mask.flat) - {0}) for mask in masks] == [[], [1], [1, 2], [1, 2], [1, 2]]


def test_distractors_and_objects_that_are_not_followed(tmp_path: Path) -> None:
    """By hand: of 8 true boxes, a result has 5 of object 1, and 5 on a reflection, which do not count."""
    lines = [line.replace("2,30,10,10,0", "2,30,10,10,1") for line in rows_of(moving())]
    (video,) = open_source(Source(path=write_mot(tmp_path / "MOT17", truth="\n".join(lines))))
    boxes = np.full((2, 5, 4), np.nan)
    boxes[0] = [[4 + 4 * frame, 8, 16, 16] for frame in range(5)]
    boxes[1] = [2, 30, 10, 10]
    folder = tmp_path / "results"
    folder.mkdir()
    given = np.zeros((2, 5), bool)
    given[0, 0] = True
    result = {"frames": video.frames.names, "numbers": np.arange(1, 6), "mass": np.ones((2, 5)), "given": given}
    BoxResult(**result, ids=np.array([1, 4]), boxes=boxes).write(folder)
    score = MotTask().score_video(video, folder)
    found = score.counts.metrics()
    assert (found["fp"], found["fn"], found["mota"], found["idf1"]) == (0, 3, 5 / 8, 10 / 13)
    assert isinstance(read_score(json.loads(json.dumps(score.to_json()))), MotScore)
    boxes[1, :, 0] += 6  # an IoU of a quarter with the reflection
    BoxResult(**result, ids=np.array([1, 4]), boxes=boxes).write(folder)
    assert MotTask().score_video(video, folder).counts.metrics()["fp"] == 5


def test_masks_in_the_ignored_region_do_not_count(tmp_path: Path) -> None:
    frames = moving()
    (video,) = open_source(Source(path=write_mot(tmp_path, "MOTS20-02", truth=mots_lines(frames))))
    folder = tmp_path / "results"
    for name, ids in zip(video.frames.names, frames, strict=True):
        found = np.where(ids == 10000, 3, np.where(ids > 0, ids - 2000, 0))
        found[:4, 40:48] = 4 if name == "000002" else 0
        write_mask(folder / f"{name}.png", found.astype(np.uint8))
    score = MotsTask().score_video(video, folder)
    found = score.counts.metrics()
    assert (found["fp"], found["fn"], found["smota"]) == (1, 0, 1 - 1 / 8)
    assert isinstance(read_score(json.loads(json.dumps(score.to_json()))), MotsScore)
    (folder / "000004.png").unlink()
    with pytest.raises(LabelError, match=r"lacks 1 result, first 000004.png"):
        MotsTask().score_video(video, folder)
