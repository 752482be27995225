"""``ted sweep`` of joints, points, parts and boxes: exactly the numbers of ``ted propagate`` and ``ted evaluate``."""

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ted.pipeline.metrics.pck import PckScore
from ted.pipeline.reports.page import make_page, render_page
from ted.pipeline.runs.sweeping import running
from ted.pipeline.runs.sweeping.journal import JOURNAL, open_journal
from ted.pipeline.tasks.base import Score
from ted.pipeline.tasks.boxes.results import BOXES, BoxesScore
from ted.pipeline.tasks.joints.results import JOINTS, JointScore
from ted.pipeline.tasks.masks.scores import MASKS
from ted.pipeline.tasks.parts.task import PartScore
from ted.pipeline.tasks.points.results import POINTS, PointScore
from ted.pipeline.tasks.registry import read_score
from ted.pipeline.tasks.tables import mean_values
from ted.store import open_cache

from ...conftest import Cli
from ...kind_inputs import FEATURES, extract, jhmdb, tapvid, vip, youtube_vos
from ...report_inputs import check_page
from ...roots import boxes, write_mose, write_vip, write_youtube_vos

LISTS = ("--alpha", "0,0.3", "--temperature", "0.05,0.3", "--top-k", "2,5", "--radius", 4, "--context", "1,3")
PLAN = ("alpha", "temperature", "top_k", "radius", "context")


def sweep(cli: Cli, source: Path, folder: Path, *more: object) -> Any:
    command = ("sweep", source, "--cache", folder / "cache", "--out", folder / "sweep", *FEATURES, *LISTS)
    return cli(*command, "--no-plots", *more)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def tables(folder: Path) -> dict[str, bytes]:
    names = ("results.csv", "results.jsonl", "settings.csv", "best.json")
    return {name: (folder / name).read_bytes() for name in names}


def evaluated(values: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Return what ``ted evaluate --json`` says of all videos, and of each, by the columns of a sweep."""
    if "mIoU" in values:
        return {"miou": values["mIoU"]}, {name: {"miou": value} for name, value in values["videos"].items()}
    names = {title: column for metric_spec in (JOINTS, BOXES) for column, title in metric_spec.official.items()}
    rename = lambda row: {names.get(name, name): value for name, value in row.items()}  # noqa: E731
    if "objects" in values:
        measured = [(row["video"], {name: row[name] for name in BOXES.official.values()}) for row in values["objects"]]
        videos = {name: mean_values([row for video, row in measured if video == name]) for name, _ in measured}
        return rename(values["mean"]), {name: rename(row) for name, row in videos.items()}
    return rename(values["mean"]), {name: rename(row) for name, row in values["videos"].items()}


def check_against_evaluate(cli: Cli, source: Path, folder: Path, *more: object, mode: tuple[object, ...] = ()) -> None:
    """Hold some settings of a sweep against runs of their own."""
    settings = read(folder / "sweep" / "settings.csv")
    rows = read(folder / "sweep" / "results.csv")
    seen = set()
    for number, row in enumerate(settings[:: max(1, len(settings) // 5)]):
        out = folder / f"results-{number}"
        options = [item for name in PLAN for item in (f"--{name.replace('_', '-')}", row[name])]
        features = FEATURES[: 2 * (float(row["alpha"]) > 0)] + FEATURES[2:]
        command = ("propagate", source, "--cache", folder / "cache", "--out", out, *features, *options, *mode, *more)
        result = cli(*command, "--affinities", "off")
        assert result.code == 0, result.err
        overall, videos = evaluated(json.loads(cli("evaluate", source, "--results", out, "--json", *more).out))
        assert {name: float(row[name]) for name in overall} == overall
        same = [item for item in rows if all(item[name] == row[name] for name in PLAN)]
        assert {item["video"]: {name: float(item[name]) for name in overall} for item in same} == videos
        seen.add(tuple(overall.values()))
    assert len(seen) > 3  # settings differ


@pytest.mark.parametrize("kind", ["jhmdb", "tapvid", "tapvid strided", "vip", "boxes"])
def test_scores_are_exactly_those_of_propagate_and_evaluate(cli: Cli, tmp_path: Path, kind: str) -> None:
    made = {"jhmdb": jhmdb, "tapvid": tapvid, "tapvid strided": tapvid, "vip": vip, "boxes": youtube_vos}
    source = made[kind](tmp_path)
    mode = {"tapvid strided": ("--query-mode", "strided"), "boxes": ("--target", "boxes")}.get(kind, ())
    extract(cli, source, tmp_path / "cache", *(("--frame-size", "48x64") if kind in ("vip", "boxes") else ()))
    swept = sweep(cli, source, tmp_path, *mode)
    assert swept.code == 0, swept.err
    check_against_evaluate(cli, source, tmp_path, mode=mode)
    ranked_by = {"jhmdb": "PCK@0.2", "vip": "mIoU", "boxes": "IoU"}.get(kind, "AJ")
    assert json.loads((tmp_path / "sweep" / "best.json").read_text())["ranked_by"] == ranked_by
    assert f"best by {ranked_by}: " in swept.out
    page = check_page(render_page(make_page([tmp_path / "sweep"], title="t")))
    assert f"{ranked_by} of each video" in page.tables
    lines = [json.loads(line) for line in (tmp_path / "sweep" / "results.jsonl").read_text().splitlines()]
    assert [[str(value) for value in line.values() if value is not None] for line in lines] == [
        [text for name, text in row.items() if line[name] is not None]
        for line, row in zip(lines, read(tmp_path / "sweep" / "results.csv"), strict=True)
    ]
    config = (tmp_path / "sweep" / "sweep.toml").read_text()
    assert ("metrics" in config, 'query-mode = "strided"' in config, 'target = "boxes"' in config) == (
        False,
        kind == "tapvid strided",
        kind == "boxes",
    )
    # Again, from the configuration that was saved: nothing is missing.
    command = ("sweep", source, "--cache", tmp_path / "cache", "--out", tmp_path / "sweep")
    again = cli(*command, "--config", tmp_path / "sweep" / "sweep.toml", "--dry-run", "--json")
    assert [video["missing"] for video in json.loads(again.out)["videos"]] == [0, 0]


def test_real_joints(cli: Cli, tmp_path: Path, shared: Path) -> None:
    source = shared / "data" / "jhmdb-mini"
    if not source.is_dir():
        pytest.skip(f"needs {source}")
    extract(cli, source, tmp_path / "cache", "--frame-size", "80x80", "--limit", 8)
    assert sweep(cli, source, tmp_path, "--limit", 8).code == 0
    check_against_evaluate(cli, source, tmp_path, "--limit", 8)


class Stopping:
    """Scores some groups, and is then interrupted."""

    def __init__(self, groups: int) -> None:
        self.left, self.score = groups, running.score_group

    def __call__(self, group: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.score(group)


def test_points_resume_discard_and_run_anywhere(
    cli: Cli, tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each query frame has affinities of its own; some of them are there before, which divides settings otherwise."""
    source, strided = tapvid(tmp_path), ("--query-mode", "strided")
    extract(cli, source, tmp_path / "cache")
    assert sweep(cli, source, tmp_path, *strided).code == 0
    whole = tables(tmp_path / "sweep")
    cache = open_cache(tmp_path / "cache")
    folders = {entry.folder for entry in cache.affinities()}
    assert len(folders) == 8  # two videos, two query frames, two grids
    for entry in cache.affinities():
        cache.remove(entry.folder)
    fewer = ("--alpha", "0.3", "--temperature", "0.3", "--top-k", 5, "--radius", 4, "--context", 3)
    out = tmp_path / "propagated"
    command = ("propagate", source, "--cache", tmp_path / "cache", "--out", out, *FEATURES, *fewer, *strided)
    assert cli(*command, "--affinities", "keep").code == 0
    kept = sorted(entry.folder for entry in cache.affinities(video="one"))
    cache.remove(kept[0])
    before = {entry.folder for entry in cache.affinities()}
    assert len(before) == 3

    other = tmp_path / "other"
    again = ("--out", other, *strided, "--discard-affinities")
    planned = json.loads(sweep(cli, source, tmp_path, *again, "--dry-run", "--json").out)
    assert [video["passes_kept"] for video in planned["videos"]] == [1, 2]
    assert [video["passes"] for video in planned["videos"]] == [5, 6]
    assert not other.exists()
    monkeypatch.setattr(running, "processor_count", lambda: 1)
    monkeypatch.setattr(running, "score_group", Stopping(2))
    assert sweep(cli, source, tmp_path, *again).code == 130
    assert (other / JOURNAL).stat().st_size
    monkeypatch.undo()
    assert sweep(cli, source, tmp_path, *again).code == 0
    assert tables(other) == whole
    assert {entry.folder for entry in cache.affinities()} == before

    third = ("--out", tmp_path / "third", *strided, "--scheduler", scheduler)
    assert sweep(cli, source, tmp_path, *third).code == 0
    assert tables(tmp_path / "third") == whole
    assert len({entry.folder for entry in cache.affinities()} - before) <= len(folders)


def test_affinities_alone_serve_the_sweep_of_points(cli: Cli, tmp_path: Path) -> None:
    source = tapvid(tmp_path)
    extract(cli, source, tmp_path / "cache")
    only = sweep(cli, source, tmp_path, "--affinities-only", "--json")
    planned = json.loads(sweep(cli, source, tmp_path, "--dry-run", "--json").out)
    passes = [(video["passes"], video["passes_kept"], video["bytes_at_most"]) for video in planned["videos"]]
    # Queried in the frames 0 and 2; alpha 0 is by itself, for the two features have different grids.
    assert passes == [(4, 4, 0), (4, 4, 0)]
    assert json.loads(only.out)["affinity_units"] == 8
    assert not (tmp_path / "sweep").exists()


def test_too_little_truth_is_refused_before_anything_is_written(cli: Cli, tmp_path: Path) -> None:
    names = [f"{2 * index:05d}" for index in range(4)]
    sources = {
        "youtube-vos": write_youtube_vos(tmp_path / "yt", "a", names, {names[0]: boxes(o1=5)}, {"1": names}),
        "mose": write_mose(tmp_path / "mose", "b", [boxes(o1=5)] * 4),
        "vip": write_vip(tmp_path / "vip", "c", [boxes(o2=5)] * 4),
    }
    for path in (tmp_path / "mose" / "Annotations" / "b", tmp_path / "vip" / "Annotations" / "Category_ids" / "c"):
        for mask in sorted(path.iterdir())[1:]:
            mask.unlink()
    for name, reason in {
        "youtube-vos": "no ground truth for 3 frames",
        "mose": "has 1 annotated frame, and J&F needs three",
        "vip": "ground truth only for the first annotated frame",
    }.items():
        extract(cli, sources[name], tmp_path / "cache", "--frame-size", "48x64")
        refused = sweep(cli, sources[name], tmp_path)
        assert (refused.code, reason in refused.err) == (2, True), refused.err
        assert "public ground truth" in refused.err
        assert not (tmp_path / "sweep").exists()
        assert sweep(cli, sources[name], tmp_path, "--affinities-only").code == 0
    few = sweep(cli, sources["mose"], tmp_path, "--target", "boxes")
    assert (few.code, "has 1 annotated frame, and boxes need two" in few.err) == (2, True)
    assert sweep(cli, sources["mose"], tmp_path, "--target", "boxes", "--affinities-only").code == 0


def test_wrong_use_leaves_nothing_behind(cli: Cli, tmp_path: Path) -> None:
    source, other = jhmdb(tmp_path), tapvid(tmp_path)
    extract(cli, source, tmp_path / "cache")
    refused = sweep(cli, source, tmp_path, "--metrics", "jf")
    assert (refused.code, "--metrics is for masks" in refused.err) == (2, True)
    refused = sweep(cli, source, tmp_path, "--target", "boxes")
    assert (refused.code, "has annotations for joints, not for boxes" in refused.err) == (2, True)
    mixed = cli("sweep", source, vip(tmp_path), "--cache", tmp_path / "cache", "--out", tmp_path / "sweep")
    assert (mixed.code, "one by one" in mixed.err) == (2, True)
    nowhere = sweep(cli, source, tmp_path, "--scheduler", "tcp://127.0.0.1:1", "--scheduler-timeout", 1)
    assert nowhere.code != 0
    absent = sweep(cli, other, tmp_path)
    assert (absent.code, "nothing was written" in absent.err) == (1, True)
    assert "ted extract SOURCE" in absent.err
    assert not (tmp_path / "sweep").exists()
    # What a sweep has written before stays as it is.
    assert sweep(cli, source, tmp_path).code == 0
    before = tables(tmp_path / "sweep"), (tmp_path / "sweep" / JOURNAL).read_bytes()
    assert sweep(cli, other, tmp_path).code == 1
    assert sweep(cli, source, tmp_path, "--overwrite", "--metrics", "j").code == 2
    assert (tables(tmp_path / "sweep"), (tmp_path / "sweep" / JOURNAL).read_bytes()) == before


def test_scores_of_changed_joints_are_not_mixed(cli: Cli, tmp_path: Path) -> None:
    source = jhmdb(tmp_path)
    extract(cli, source, tmp_path / "cache")
    assert sweep(cli, source, tmp_path).code == 0
    path = source / "joint_positions" / "jump" / "one" / "joint_positions.mat"
    path.write_bytes((source / "joint_positions" / "jump" / "two" / "joint_positions.mat").read_bytes())
    planned = json.loads(sweep(cli, source, tmp_path, "--dry-run", "--json").out)
    assert [(video["video"], video["missing"]) for video in planned["videos"]] == [("one", 16), ("two", 0)]


# --- scores and metric_specs


def made_scores() -> list[Score]:
    rng = np.random.default_rng(0)
    counted = rng.integers(0, 3, 15)
    values = dict.fromkeys(POINTS.columns, 1 / 3) | {"occlusion_accuracy": None}
    return [
        JointScore(pck=PckScore(correct=np.minimum(counted, rng.integers(0, 3, (5, 15))), counted=counted, samples=4)),
        PartScore(counts=rng.integers(0, 2, (20, 20)) * 10**12, frames=3),
        PointScore(values=values, frames=9),
        BoxesScore(objects=(dict.fromkeys(BOXES.columns, 1 / 3), dict.fromkeys(BOXES.columns)), frames=5),
    ]


@pytest.mark.parametrize("score", made_scores(), ids=["joints", "parts", "points", "boxes"])
def test_scores_come_back_from_the_journal_as_they_were(tmp_path: Path, score: Score) -> None:
    with open_journal(tmp_path) as journal:
        journal.add_scores({"a": score})
    with open_journal(tmp_path) as journal:
        found = journal.scores["a"]
    assert type(found) is type(score)
    assert found.to_json() == score.to_json()
    assert [vars(row) for row in found.rows] == [vars(row) for row in score.rows]
    assert type(score).means([found, score]) == type(score).means([score, found])


def test_what_is_no_score_is_refused() -> None:
    for value in ({"pck": {"correct": [[1]], "counted": [1], "samples": 1}}, {}, {"other": 1}):
        with pytest.raises(ValueError, match=r"samples are|no score"):
            read_score(value)


def test_settings_are_ranked_by_the_next_measure_where_one_decides_nothing() -> None:
    def joints(second: float, first: float) -> dict[str, float | None]:
        return dict.fromkeys(JOINTS.columns, 0.0) | {"pck_0.2": second, "pck_0.1": first}

    best, second, third, last = joints(80, 50), joints(80, 40), joints(70, 60), joints(math.nan, 90)
    assert sorted([last, third, second, best], key=JOINTS.rank, reverse=True) == [best, second, third, last]
    assert JOINTS.score(best) == 80
    without_f = dict.fromkeys(MASKS.columns) | {"j": 0.5}
    assert (MASKS.score(without_f), MASKS.ranked_by(without_f)) == (0.5, "J")
    assert MASKS.titles(without_f) == {"j": "J"}
    assert math.isnan(POINTS.score(dict.fromkeys(POINTS.columns)))
