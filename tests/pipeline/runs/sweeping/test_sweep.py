"""``ted sweep`` as a whole, on small data."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ted.pipeline.runs.sweeping import groups, running
from ted.pipeline.runs.sweeping.groups import Group, GroupScores, group_settings, score_group
from ted.pipeline.runs.sweeping.journal import JOURNAL
from ted.propagate import PropagationSettings, WeightedSettings, part_weights
from ted.store import open_cache

from ...conftest import Cli
from ...inputs import frames_folder, mask_file, random_video

LISTS = ("--alpha", "0,0.4,1", "--temperature", "0.02,0.2", "--top-k", "2,5", "--radius", "1,3", "--context", "1,28")
SMALL = ("--radius", 3, "--top-k", 5)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def tables(folder: Path) -> dict[str, bytes]:
    names = ("results.csv", "results.jsonl", "settings.csv", "best.json")
    return {name: (folder / name).read_bytes() for name in names}


def summary(text: str) -> Any:
    return json.loads(text)


@pytest.fixture(scope="module")
def swept(davis_source: Path, extracted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cache and a sweep over it: 48 settings, two videos of two objects."""
    from ted.pipeline.cli import ted
    from ted.pipeline.cli.run import run

    folder = tmp_path_factory.mktemp("swept")
    shutil.copytree(extracted, folder / "cache", ignore=shutil.ignore_patterns("affinities"))
    arguments = ["sweep", davis_source, "--cache", folder / "cache", "--out", folder / "sweep", *LISTS, "--no-plots"]
    with pytest.raises(SystemExit) as stopped:
        run(ted, "ted", list(map(str, arguments)))
    assert not stopped.value.code
    return folder


@pytest.mark.parametrize(
    ("alpha", "temperature", "top_k", "radius", "context"),
    [
        (0, 0.02, 2, 1, 1),
        (0, 0.2, 5, 3, 28),
        (0.4, 0.02, 5, 3, 28),
        (0.4, 0.2, 2, 3, 1),
        (0.4, 0.02, 2, 1, 28),
        (1, 0.02, 5, 3, 1),
        (1, 0.2, 2, 1, 28),
    ],
)
def test_scores_are_exactly_those_of_propagate_and_evaluate(
    cli: Cli,
    davis_source: Path,
    extracted: Path,
    swept: Path,
    tmp_path: Path,
    alpha: float,
    temperature: float,
    top_k: int,
    radius: int,
    context: int,
) -> None:
    parameters = {"alpha": alpha, "temperature": temperature, "top_k": top_k, "radius": radius, "context": context}
    options = [item for name, value in parameters.items() for item in (f"--{name.replace('_', '-')}", value)]
    out = tmp_path / "results"
    assert cli("propagate", davis_source, "--cache", extracted, "--out", out, *options).code == 0  # no kept affinities
    scored = json.loads(cli("evaluate", davis_source, "--results", out, "--json").out)
    expected = {
        (sequence["name"], item["object_id"]): [
            item[part][name] for part in "jf" for name in ("mean", "recall", "decay")
        ]
        for sequence in scored["sequences"]
        for item in sequence["objects"]
    }
    found = {
        (row["video"], int(row["object"])): [
            float(row[f"{part}{name}"]) for part in "jf" for name in ("", "_recall", "_decay")
        ]
        for row in rows(swept / "sweep")
        if all(float(row[name]) == value for name, value in parameters.items())
    }
    assert found == expected
    with (swept / "sweep" / "settings.csv").open(newline="") as file:
        (means,) = (
            row for row in csv.DictReader(file) if all(float(row[name]) == value for name, value in parameters.items())
        )
    assert [float(means[name]) for name in ("jf", "j", "f")] == [
        scored["means"][f"{name}-Mean"] for name in ("J&F", "J", "F")
    ]


def test_all_settings_labelled_together_and_scored_in_threads_give_the_same_bytes(
    cli: Cli, davis_source: Path, swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way of GPUs: from the same affinities, in groups of all settings and of few."""
    jobs: list[int] = []

    def watching(group: Group) -> GroupScores:
        jobs.append(len(group.settings))
        return score_group(group)

    for module in (groups, running):
        monkeypatch.setattr(module, "labels_together", lambda device: True)
    monkeypatch.setattr(running, "score_group", watching)
    monkeypatch.setattr(groups, "processor_count", lambda: 3)
    for number, limit in enumerate((2**30, 2**14)):
        monkeypatch.setattr(groups, "_LABELS", limit)
        jobs.clear()
        out = tmp_path / str(number)
        options = ("--cache", swept / "cache", "--out", out, *LISTS, "--no-plots")
        assert cli("sweep", davis_source, *options).code == 0
        assert tables(out) == tables(swept / "sweep")
        assert sum(jobs) == 2 * 48
        assert max(jobs) > 8 if number == 0 else max(jobs) < 8


def test_pairs_of_features_and_of_grids(cli: Cli, davis_source: Path, weights: tuple[str, ...], tmp_path: Path) -> None:
    """Two timesteps on one grid, and a tap on another; what is scored with one feature alone is scored once."""
    base = (davis_source, "--videos", "two", "--cache", tmp_path / "cache")
    wanted = ("--feature", "i2vgen-xl:300,600:up_blocks[1],up_blocks[2]", "--feature", "adm:51:output_blocks[7]")
    assert cli("extract", *base, "--frame-size", 64, *weights, *wanted).code == 0
    options = ("--video-feature", "i2vgen-xl:300,600:up_blocks[1],up_blocks[2]", "--alpha", "0,0.5,1", *SMALL)
    assert cli("sweep", *base, "--out", tmp_path / "sweep", *options, "--no-plots").code == 0
    found = rows(tmp_path / "sweep")
    assert len(found) == 2 * (1 + 4 + 4)
    assert len({row["jf"] for row in found}) > 5
    units = open_cache(tmp_path / "cache").units(video="two", backbone="i2vgen-xl")
    assert len({unit.grid for unit in units}) == 2
    for feature in ("i2vgen-xl:300:up_blocks[1]", "i2vgen-xl:600:up_blocks[2]"):
        for alpha in (0, 0.5, 1):
            out = tmp_path / f"{feature} {alpha}"
            single = ("--video-feature", feature, "--alpha", alpha, "--affinities", "off", *SMALL)
            assert cli("propagate", *base, "--out", out, *single).code == 0
            scored = json.loads(cli("evaluate", *base[:3], "--results", out, "--json").out)
            expected = [(item["j"]["mean"], item["f"]["mean"]) for item in scored["sequences"][0]["objects"]]
            assert [
                (float(row["j"]), float(row["f"]))
                for row in found
                if float(row["alpha"]) == alpha and row["video_feature"] in ("", feature)
            ] == expected


def test_any_number_of_parts(cli: Cli, davis_source: Path, cache: Path, tmp_path: Path) -> None:
    """Three parts of different grids with weights of their own: scores, tables, configuration and report."""
    base = (davis_source, "--videos", "two", "--cache", cache)
    controls = ("--feature", "rgb:0:stride4", "--feature", "position:0:stride8")
    assert cli("extract", *base, "--frame-size", 64, *controls).code == 0
    lists = ("adm:51:output_blocks[7]=1", "rgb:0:stride4=0,0.5", "position:0:stride8=0,0.25")
    parts = [item for text in lists for item in ("--feature", text)]
    out = tmp_path / "sweep"
    assert cli("sweep", *base, "--out", out, *parts, *SMALL).code == 0
    found = rows(out)
    assert len(found) == 2 * 4
    columns = ["part1_feature", "part2_feature", "part3_feature", "part1_weight", "part2_weight", "part3_weight"]
    assert list(found[0])[4:10] == columns
    for row in rows(out)[::2]:
        features = [f"{row[f'part{n}_feature']}={row[f'part{n}_weight']}" for n in (1, 2, 3) if row[f"part{n}_feature"]]
        options = [item for feature in features for item in ("--feature", feature)]
        results = tmp_path / "".join(features)
        common = ("--affinities", "off", *SMALL)
        assert cli("propagate", *base, "--out", results, *options, *common).code == 0
        scored = json.loads(cli("evaluate", *base[:3], "--results", results, "--json").out)["sequences"][0]
        expected = [(item["j"]["mean"], item["f"]["mean"]) for item in scored["objects"]]
        alike = [one for one in found if all(one[name] == row[name] for name in columns)]
        assert [(float(one["j"]), float(one["f"])) for one in alike] == expected
        assert all(bool(row[f"part{n}_unit"]) == (float(row[f"part{n}_weight"]) > 0) for n in (1, 2, 3))
    best = json.loads((out / "best.json").read_text())["overall"]["options"]
    assert best.startswith("--feature 'adm:51:output_blocks[7]=1.0'")
    before = tables(out)
    assert cli("sweep", *base, "--out", out, "--config", out / "sweep.toml", "--no-plots").code == 0
    assert tables(out) == before
    assert (out / "over-part2-weight.png").is_file()
    assert cli("report", out, "--out", tmp_path / "report.html").code == 0
    assert "part2 weight" in (tmp_path / "report.html").read_text()


def test_a_sweep_tells_settings_apart(swept: Path) -> None:
    found = rows(swept / "sweep")
    assert len(found) == 48 * 4
    assert len({row["jf"] for row in found if row["video"] == "two"}) > 10
    best = json.loads((swept / "sweep" / "best.json").read_text())
    by_setting: dict[str, list[float]] = {}
    for row in found:
        key = " ".join(row[name] for name in ("alpha", "temperature", "top_k", "radius", "context"))
        by_setting.setdefault(key, []).append(float(row["jf"]))
    assert best["overall"]["jf"] == pytest.approx(max(sum(values) / 4 for values in by_setting.values()), abs=1e-12)
    timing = json.loads((swept / "sweep" / "timing.json").read_text())
    assert timing.keys() == {"wall", "affinities", "reading", "labels", "decoding", "metrics"}
    assert all(seconds > 0 for seconds in timing.values())


def test_the_same_sweep_again_scores_nothing(
    cli: Cli, davis_source: Path, swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = Path(shutil.copytree(swept / "sweep", tmp_path / "sweep"))
    before = tables(again)
    monkeypatch.setattr(running, "score_group", None)
    monkeypatch.setattr(running, "cache_affinities", None)
    command = ("sweep", davis_source, "--cache", swept / "cache", "--out", again, "--no-plots")
    assert cli(*command, *LISTS).code == 0
    assert tables(again) == before
    # A part of it is a sweep of its own.
    assert cli(*command, "--config", again / "sweep.toml", "--alpha", "0.4", "--videos", "one").code == 0
    assert len(rows(again)) == 16 * 2
    assert cli(*command, *LISTS).code == 0
    assert tables(again) == before


@pytest.mark.parametrize("where", ["scheduler", pytest.param("workers", marks=pytest.mark.slow)])
def test_results_do_not_depend_on_what_runs_where(
    cli: Cli, davis_source: Path, swept: Path, tmp_path: Path, where: str, request: pytest.FixtureRequest
) -> None:
    there = 2 if where == "workers" else request.getfixturevalue("scheduler")
    command = ("sweep", davis_source, "--cache", swept / "cache", "--no-plots", *LISTS, f"--{where}", there)
    assert cli(*command, "--out", tmp_path / "sweep").code == 0
    assert tables(tmp_path / "sweep") == tables(swept / "sweep")


class Interrupting:
    """Scores some groups, and is then interrupted."""

    def __init__(self, groups: int) -> None:
        self.left = groups

    def __call__(self, group: Group) -> GroupScores:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return score_group(group)


def test_an_interrupted_sweep_does_only_what_is_missing(
    cli: Cli, davis_source: Path, swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "sweep"
    command = ("sweep", davis_source, "--cache", swept / "cache", "--out", out, "--no-plots")
    monkeypatch.setattr(running, "processor_count", lambda: 1)
    few = ("--alpha", "0,0.4", "--temperature", "0.02,0.2", "--top-k", 5, "--radius", 3, "--context", "1,28")
    monkeypatch.setattr(running, "score_group", Interrupting(3))
    assert cli(*command, *few).code == 130
    lines = (out / JOURNAL).read_text().splitlines()
    assert 1 <= sum("scores" in line for line in lines) <= 3
    scored = sum(len(json.loads(line).get("scores", {})) for line in lines)
    planned = summary(cli(*command, *few, "--dry-run", "--json").out)
    assert sum(video["missing"] for video in planned["videos"]) == 2 * 8 - scored
    monkeypatch.setattr(running, "score_group", Interrupting(8 - scored // 2))
    assert cli(*command, *few).code == 0
    # Enlarged: the rest of the first sweep, and the same results.
    assert cli(*command, *LISTS, "--dry-run").code == 0
    monkeypatch.setattr(running, "score_group", score_group)
    assert cli(*command, *LISTS).code == 0
    assert tables(out) == tables(swept / "sweep")


def test_scores_of_changed_masks_are_not_mixed(cli: Cli, davis_source: Path, cache: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(davis_source, tmp_path / "davis"))
    command = ("sweep", source, "--cache", cache, "--out", tmp_path / "sweep", "--no-plots", *SMALL, "--alpha", "0,1")
    assert cli(*command).code == 0
    before = {(row["video"], row["object"], row["alpha"]): row["j"] for row in rows(tmp_path / "sweep")}
    path = source / "Annotations" / "480p" / "two" / "00002.png"
    with Image.open(path) as image:
        palette, ids = image.getpalette(), np.array(image)
    ids[:, :64] = 0
    changed = Image.fromarray(ids, "P")
    assert palette is not None
    changed.putpalette(palette)
    changed.save(path)
    planned = summary(cli(*command, "--dry-run", "--json").out)
    assert {video["video"]: video["missing"] for video in planned["videos"]} == {"one": 0, "two": 2}
    assert cli(*command).code == 0
    after = {(row["video"], row["object"], row["alpha"]): row["j"] for row in rows(tmp_path / "sweep")}
    assert {key[0] for key in before if before[key] != after[key]} == {"two"}


def test_a_failing_video_stops_no_other(cli: Cli, davis_source: Path, cache: Path, tmp_path: Path) -> None:
    (entry,) = open_cache(cache).entries(video="one", backbone="adm")
    chunk = entry.folder / "features/c/2/0/0/0"
    chunk.write_bytes(b"x" * chunk.stat().st_size)
    command = ("sweep", davis_source, "--cache", cache, "--no-plots", *SMALL, "--alpha", "0,0.5")
    failed = cli(*command, "--out", tmp_path / "a", "--json")
    assert failed.code == 1
    found = summary(failed.out)
    assert found["failures"].keys() == {"one"}
    assert "checksum differs" in found["failures"]["one"]
    assert failed.err.count("Error: one: ") == 1
    assert {row["video"] for row in rows(tmp_path / "a")} == {"two"}
    assert found["best"]["videos"] == 1
    # alpha 1 needs the other feature alone.
    assert cli(*command, "--alpha", "1", "--out", tmp_path / "b").code == 1
    only = ("sweep", davis_source, "--cache", cache, "--no-plots", *SMALL, "--alpha", "1")
    assert cli(*only, "--out", tmp_path / "c").code == 0


def test_features_that_are_not_there_are_named_with_what_extracts_them(
    cli: Cli, davis_source: Path, cache: Path, tmp_path: Path
) -> None:
    command = ("sweep", davis_source, "--cache", cache, "--out", tmp_path / "sweep", *SMALL, "--no-plots")
    wanted = ("--video-feature", "i2vgen-xl:300,600:up_blocks[2]", "--image-feature", "adm:51,99:output_blocks[7]")
    failed = cli(*command, *wanted)
    assert failed.code == 1
    hint = "ted extract SOURCE --feature 'i2vgen-xl:600:up_blocks[2]' --feature 'adm:99:output_blocks[7]'"
    assert failed.err.count(hint) == 2
    assert "no video can be swept, and nothing was written" in failed.err
    assert not (tmp_path / "sweep").exists()
    assert cli(*command, *wanted, "--dry-run").code == 1


def test_a_dry_run_writes_nothing(cli: Cli, davis_source: Path, cache: Path, tmp_path: Path) -> None:
    before = sorted(path for path in cache.rglob("*"))
    command = ("sweep", davis_source, "--cache", cache, "--out", tmp_path / "sweep", *LISTS, "--dry-run")
    result = cli(*command, "--json")
    assert result.code == 0
    planned = summary(result.out)
    assert planned["settings"] == 48
    assert [video["missing"] for video in planned["videos"]] == [48, 48]
    assert [video["passes"] for video in planned["videos"]] == [2, 2]
    assert [video["passes_kept"] for video in planned["videos"]] == [0, 0]
    assert all(video["bytes_at_most"] > 0 for video in planned["videos"])
    assert "48 settings" in cli(*command).out
    assert not (tmp_path / "sweep").exists()
    assert sorted(path for path in cache.rglob("*")) == before


def test_kept_affinities_serve_the_next_sweep(cli: Cli, davis_source: Path, cache: Path, tmp_path: Path) -> None:
    bare = ("sweep", davis_source, "--cache", cache, "--no-plots")
    command = (*bare, *SMALL, "--alpha", "0,0.5,1")
    assert cli(*command, "--out", tmp_path / "a", "--affinities-only", "--json").code == 0
    kept = open_cache(cache).affinities()
    assert {(entry.spec.video, entry.state) for entry in kept} == {("one", "complete"), ("two", "complete")}
    assert not (tmp_path / "a").exists()
    planned = summary(cli(*command, "--out", tmp_path / "a", "--dry-run", "--json").out)
    assert [(video["passes_kept"], video["bytes_at_most"]) for video in planned["videos"]] == [(1, 0), (1, 0)]

    def planned_for(alpha: str, top_k: str, radius: int = 3, context: int = 28) -> list[tuple[int, int]]:
        options = ("--alpha", alpha, "--top-k", top_k, "--radius", radius, "--context", context)
        videos = summary(cli(*bare, *options, "--temperature", "0.1,0.3", "--dry-run", "--json").out)["videos"]
        return [(video["passes"], video["passes_kept"]) for video in videos]

    assert planned_for("0.5,1", "2,4,5") == [(1, 1), (1, 1)]
    assert planned_for("0.5,0.6", "5") == [(2, 1), (2, 1)]
    for other in (planned_for("0.5", "6"), planned_for("0.5", "5", radius=2), planned_for("0.5", "5", context=2)):
        assert other == [(1, 0), (1, 0)]
    # What another sweep has written is not this one's to remove.
    assert cli(*command, "--out", tmp_path / "a", "--discard-affinities").code == 0
    assert [entry.folder for entry in open_cache(cache).affinities()] == [entry.folder for entry in kept]


def test_affinities_are_discarded_when_they_have_served(
    cli: Cli, davis_source: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("sweep", davis_source, "--cache", cache, "--no-plots", *SMALL, "--out", tmp_path / "a")
    command = (*command, "--discard-affinities", "--alpha", "0,0.5", "--temperature", "0.1,0.2")
    monkeypatch.setattr(running, "processor_count", lambda: 1)
    monkeypatch.setattr(running, "score_group", Interrupting(1))
    assert cli(*command).code == 130
    assert open_cache(cache).affinities()
    monkeypatch.setattr(running, "score_group", score_group)
    assert cli(*command).code == 0
    assert not open_cache(cache).affinities()
    assert len(rows(tmp_path / "a")) == 4 * 4


def test_without_ground_truth_only_affinities_can_be_computed(
    cli: Cli, weights: tuple[str, ...], tmp_path: Path
) -> None:
    folder = frames_folder(tmp_path / "clip", random_video(4))
    common = (folder, "--cache", tmp_path / "cache")
    assert cli("extract", *common, "--frame-size", 64, *weights).code == 0
    wrong = cli("sweep", *common, "--out", tmp_path / "sweep", "--mask", mask_file(tmp_path / "mask.png"), *SMALL)
    assert wrong.code == 2
    assert "ground truth" in wrong.err
    only = cli("sweep", *common, *SMALL, "--affinities-only", "--json")
    assert summary(only.out)["affinity_units"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--alpha", "0:2:0.5"), "alpha must lie in"),
        (("--alpha", ""), "no number"),
        (("--top-k", "1.5"), "whole numbers"),
        (("--preset", "nothing"), "there is no preset"),
        (("--preset", "dift-adm", "--alpha", "0.5"), "--video-feature"),
        (("--affinities-only", "--discard-affinities"), "leave one out"),
        (("--video-feature", "adm"), "is not BACKBONE:TIMESTEP:TAP"),
        (("--metrics", "f"), "metrics"),
    ],
)
def test_wrong_use(
    cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    wrong = cli("sweep", davis_source, "--cache", extracted, "--out", tmp_path / "sweep", *options)
    assert wrong.code == 2
    assert message in wrong.err
    assert not (tmp_path / "sweep").exists()


def test_j_alone_and_pictures(cli: Cli, davis_source: Path, cache: Path, tmp_path: Path) -> None:
    command = ("sweep", davis_source, "--cache", cache, "--out", tmp_path / "sweep", *SMALL, "--alpha", "0,1")
    result = cli(*command, "--metrics", "j")
    assert result.code == 0
    assert result.out.split()[:2] == ["alpha", "J"]
    assert {row["f"] for row in rows(tmp_path / "sweep")} == {""}
    assert json.loads((tmp_path / "sweep" / "best.json").read_text())["ranked_by"] == "J"
    if running and pytest.importorskip("matplotlib"):
        assert (tmp_path / "sweep" / "over-alpha.png").is_file()


def test_groups_share_a_ranking_and_are_not_too_large() -> None:
    settings = [
        WeightedSettings(
            weights=part_weights(alpha), settings=PropagationSettings(temperature=temperature / 100, context=context)
        )
        for temperature in range(1, 42)
        for alpha in (0.1, 0.9)
        for context in (3, 28)
    ]
    groups = group_settings(settings)
    assert sorted(map(len, groups)) == [1] * 4 + [8] * 20
    assert {values for group in groups for values in group} == set(settings)
    assert all(len({(values.weights, values.settings.context) for values in group}) == 1 for group in groups)


@pytest.mark.parametrize("alpha", [0, 1])
def test_affinities_of_one_feature_serve_its_settings(
    cli: Cli, davis_source: Path, cache: Path, tmp_path: Path, alpha: int
) -> None:
    command = ("sweep", davis_source, "--cache", cache, "--radius", 3, "--alpha", alpha)
    assert cli(*command, "--top-k", 5, "--affinities-only").code == 0
    assert len({entry.spec.features for entry in open_cache(cache).affinities(video="one")}) == 1
    planned = summary(cli(*command, "--top-k", "2,3", "--dry-run", "--json").out)
    assert [(video["passes"], video["passes_kept"]) for video in planned["videos"]] == [(1, 1), (1, 1)]
