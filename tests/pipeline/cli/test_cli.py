"""The whole path through the commands, on small data."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import zarr
from PIL import Image

from ted.extract import batching
from ted.extract.backbones.base import Backbone
from ted.extract.features import run_pass
from ted.extract.passes import Item
from ted.pipeline.runs.extracting import estimate
from ted.store import FeatureChoice, open_cache
from tests.console import next_commands

from ..conftest import Cli

VIDEO = FeatureChoice(backbone="i2vgen-xl", timestep=300, tap="up_blocks[2]")
SMALL = ("--radius", 3, "--top-k", 5)


def test_the_whole_path(cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    common = ("--cache", extracted, "--out", out)
    done = cli("propagate", davis_source, *common, *SMALL, "--overlay", "--save-soft", "--json")
    assert done.code == 0
    assert [row["frames"] for row in json.loads(done.out)["videos"]] == [4, 5]
    for name, count in (("one", 4), ("two", 5)):
        masks = sorted((out / name).glob("*.png"))
        assert [path.name for path in masks] == [f"{i:05d}.png" for i in range(count)]
        truth = davis_source / "Annotations" / "480p" / name / "00000.png"
        with Image.open(masks[0]) as first, Image.open(truth) as given:
            assert first.mode == "P"
            np.testing.assert_array_equal(np.asarray(first), np.asarray(given))
            assert first.getpalette() == given.getpalette()
        soft = zarr.open_array(out / name / "soft.zarr", mode="r")
        assert soft.shape == (count, 3, 8, 8)
        np.testing.assert_allclose(np.asarray(soft[:]).sum(1), 1, atol=1e-5)
        movie = cv2.VideoCapture(str(out / "overlays" / f"{name}.mp4"))
        assert int(movie.get(cv2.CAP_PROP_FRAME_COUNT)) == count
        with Image.open(out / "overlays" / f"{name}.png") as sheet:
            assert sheet.width > 128
    scored = cli("evaluate", davis_source, "--results", out, "--json")
    assert scored.code == 0
    means = json.loads(scored.out)["means"]
    assert 0 < means["J&F-Mean"] < 1
    table = (out / "global_results-val.csv").read_text().splitlines()
    assert table[0] == "J&F-Mean,J-Mean,J-Recall,J-Decay,F-Mean,F-Recall,F-Decay"
    assert table[1].startswith(f"{means['J&F-Mean']:.3f},")
    assert "one_1" in cli("evaluate", davis_source, "--results", out).out


def test_results_are_kept_replaced_or_refused(cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path) -> None:
    command = ("propagate", davis_source, "--videos", "one", "--cache", extracted, "--out", tmp_path / "r", *SMALL)
    assert cli(*command).code == 0
    mask = tmp_path / "r" / "one" / "00003.png"
    before = mask.stat().st_mtime_ns
    again = cli(*command)
    assert again.code == 0
    assert "there before" in again.err
    assert mask.stat().st_mtime_ns == before
    other = cli(*command, "--alpha", 1)
    assert other.code == 2
    assert "--overwrite" in other.err
    assert mask.stat().st_mtime_ns == before
    assert cli(*command, "--alpha", 1, "--overwrite").code == 0
    assert mask.stat().st_mtime_ns != before


def test_alpha_at_its_ends_needs_one_feature(cli: Cli, davis_source: Path, cache: Path, tmp_path: Path) -> None:
    assert cli("cache", "rm", "--cache", cache, "--backbone", "adm", "--yes").code == 0
    common = (davis_source, "--videos", "one", "--cache", cache, *SMALL)
    assert cli("propagate", *common, "--alpha", 1, "--out", tmp_path / "video").code == 0
    both = cli("propagate", *common, "--alpha", 0.5, "--out", tmp_path / "both")
    assert both.code == 1
    assert "no features adm:51:output_blocks[7] of davis/one" in both.err
    assert not (tmp_path / "both" / "one").exists()


def test_alpha_is_the_two_part_case_of_weighted_features(
    cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path
) -> None:
    common = (davis_source, "--videos", "two", "--cache", extracted, *SMALL)
    assert cli("propagate", *common, "--alpha", 0.3, "--out", tmp_path / "a").code == 0
    features = ("--feature", "i2vgen-xl:300:up_blocks[2]=0.3", "--feature", "adm:51:output_blocks[7]=0.7")
    assert cli("propagate", *common, *features, "--out", tmp_path / "b").code == 0
    for one in (tmp_path / "a" / "two").glob("*.png"):
        assert one.read_bytes() == (tmp_path / "b" / "two" / one.name).read_bytes()
    assert cli("propagate", *common, *features, "--alpha", 0.3).code == 2


def test_the_saved_configuration_makes_the_same_result(
    cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path
) -> None:
    command = ("propagate", davis_source, "--videos", "one", "--cache", extracted)
    assert cli(*command, *SMALL, "--alpha", 0.7, "--temperature", 0.05, "--out", tmp_path / "a").code == 0
    config = tmp_path / "a" / "propagate.toml"
    assert cli("propagate", davis_source, "--videos", "one", "--config", config, "--out", tmp_path / "b").code == 0
    records = [json.loads((tmp_path / name / "one" / "ted.json").read_text()) for name in "ab"]
    assert records[0] == records[1]
    assert records[0]["settings"]["temperature"] == 0.05


def test_configuration_files(cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path) -> None:
    config = tmp_path / "ted.toml"
    config.write_text(f'cache = "{extracted}"\n[propagate]\ntop-k = 5\nradius = 3\n[extract]\noverlap = 1\n')
    command = ("propagate", davis_source, "--videos", "one", "--config", config, "--out", tmp_path / "a")
    assert cli(*command, "--radius", 2).code == 0  # the command line wins
    settings = json.loads((tmp_path / "a" / "one" / "ted.json").read_text())["settings"]
    assert (settings["top_k"], settings["radius"], settings["temperature"]) == (5, 2, 0.2)
    config.write_text("[propagate]\ntemprature = 1\n")
    wrong = cli(*command)
    assert wrong.code == 2
    assert "did you mean 'temperature'?" in wrong.err
    config.write_text("[propagate\n")
    assert cli(*command).code == 2
    assert cli("propagate", davis_source, "--config", tmp_path / "none.toml").code == 2


def test_environment_variables_set_options(
    cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TED_CACHE", str(extracted))
    monkeypatch.setenv("TED_PROPAGATE_TOP_K", "3")
    assert cli("propagate", davis_source, "--videos", "one", "--radius", 2, "--out", tmp_path / "a").code == 0
    assert json.loads((tmp_path / "a" / "one" / "ted.json").read_text())["settings"]["top_k"] == 3


def test_a_dry_run_writes_nothing_and_estimates_what_is_written(
    cli: Cli, davis_source: Path, weights: tuple[str, ...], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    command = ("extract", davis_source, "--cache", cache, "--frame-size", 64, *weights)
    planned = json.loads(cli(*command, "--dry-run", "--json").out)
    assert not cache.exists()
    assert [unit["state"] for unit in planned["units"]] == ["absent"] * 4
    assert planned["seconds"] > 0
    written = json.loads(cli(*command, "--json").out)
    assert sorted(written["written"]) == sorted(unit["label"] for unit in planned["units"])
    stored = sum(entry.bytes for entry in open_cache(cache).entries())
    assert planned["bytes"] < stored < 1.2 * planned["bytes"] + 20_000  # beside features: metadata
    assert "to do: 0 units" in cli(*command, "--dry-run").out
    skipped = json.loads(cli(*command, "--json").out)["skipped"]
    assert sorted(skipped) == sorted(written["written"])  # written in the order in which they were done


def test_a_dry_run_measures_the_batch_that_fits(
    cli: Cli, davis_source: Path, weights: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def count(backbone: Backbone, items: Sequence[Item], *others: Any) -> Any:
        sizes.append(len(items))
        return run_pass(backbone, items, *others)

    monkeypatch.setattr(batching, "fit_batch_size", lambda *_: 3)
    monkeypatch.setattr(estimate, "run_pass", count)
    command = ("extract", davis_source, "--cache", tmp_path, "--frame-size", 64, "--videos", "one", "--dry-run")
    for batch, size in (("auto", 3), ("2", 2)):
        sizes.clear()
        assert cli(*command, *weights[:1], "--feature", "adm:51:up_blocks[1]", "--batch-size", batch).code == 0
        assert set(sizes) == {size}


def test_lists_of_timesteps_and_taps_share_a_pass(
    cli: Cli, davis_source: Path, weights: tuple[str, ...], tmp_path: Path
) -> None:
    command = ("extract", davis_source, "--cache", tmp_path, "--frame-size", 64, "--videos", "one", "--limit", 2)
    result = cli(*command, *weights[:1], "--feature", "adm:51,101:up_blocks[1],output_blocks[7]", "--json")
    assert len(json.loads(result.out)["written"]) == 4


def test_cache_commands(cli: Cli, cache: Path) -> None:
    rows = json.loads(cli("cache", "ls", "--cache", cache, "--json").out)
    assert {(row["video"], row["state"]) for row in rows} == {("one", "complete"), ("two", "complete")}
    assert len(rows) == 4
    listed = cli("cache", "ls", "--cache", cache).out
    assert "4 units, 4 complete" in listed
    assert next_commands(listed) == [f"ted cache info --video one --cache {cache}"]
    # DIFT's 51 and the paper's 300: linear, and cosine with zero terminal SNR (test_noise_level has the formulas).
    levels = {row["feature"].split("@")[0]: row["alpha_bar"] for row in rows}
    assert levels == {"adm": pytest.approx(0.9688691, abs=1e-6), "i2vgen-xl": pytest.approx(0.7856225, abs=1e-6)}
    assert all(f"{10 * math.log10(level / (1 - level)):.2f} dB" in listed for level in levels.values())
    info = json.loads(cli("cache", "info", "--cache", cache, "--video", "one", "--json").out)
    assert {record["request"]["backbone"] for record in info} == {"adm", "i2vgen-xl"}
    assert info[0]["run"]["versions"]["torch"]
    assert {record["alpha_bar"] for record in info} == set(levels.values())
    described = cli("cache", "info", "--cache", cache, "--backbone", "adm").out
    assert f"alpha_bar: {levels['adm']:.6g} (signal-to-noise ratio" in described
    assert "clip_overlap: 2" in cli("cache", "info", "--cache", cache, "--feature", rows[1]["feature"]).out
    assert cli("cache", "verify", "--cache", cache).code == 0
    chunk = Path(rows[0]["folder"]) / "features/c/1/0/0/0"
    chunk.write_bytes(b"x" * chunk.stat().st_size)
    damaged = cli("cache", "verify", "--cache", cache, "--json")
    assert damaged.code == 1
    assert [row["state"] for row in json.loads(damaged.out)].count("damaged") == 1
    assert cli("cache", "rm", "--cache", cache).code == 2  # nothing named
    removed = json.loads(cli("cache", "rm", "--cache", cache, "--video", "two", "--yes", "--json").out)
    assert len(removed["removed"]) == 2
    assert cli("cache", "info", "--cache", cache, "--video", "two").code == 1
    printed = cli("cache", "rm", "--cache", cache, "--video", "one", "--yes").out
    assert next_commands(printed) == [f"ted cache ls --cache {cache}"]


def test_damage_is_repaired_by_verify_and_extract(
    cli: Cli, davis_source: Path, weights: tuple[str, ...], cache: Path
) -> None:
    unit = open_cache(cache).find("davis", "one", VIDEO)
    chunk = unit.folder / "features/c/1/0/0/0"
    good = chunk.read_bytes()
    chunk.write_bytes(good[:100] + bytes([good[100] ^ 4]) + good[101:])
    failed = cli("propagate", davis_source, "--videos", "one", "--cache", cache, "--out", cache / "r")
    assert failed.code == 1
    assert "ted cache verify --repair" in failed.err
    assert not (cache / "r" / "one").exists()
    assert cli("cache", "verify", "--cache", cache, "--repair").code == 0
    command = ("extract", davis_source, "--cache", cache, "--frame-size", 64, *weights)
    assert len(json.loads(cli(*command, "--json").out)["written"]) == 1
    assert chunk.read_bytes() == good
    assert cli("cache", "verify", "--cache", cache).code == 0


def test_presets_are_the_papers_settings(cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path) -> None:
    command = ("propagate", davis_source, "--cache", extracted, "--videos", "one", "--out", tmp_path / "r")
    assert cli(*command, "--preset", "dift-adm").code == 0
    record = json.loads((tmp_path / "r" / "one" / "ted.json").read_text())
    assert record["settings"] == {
        "temperature": 0.1, "top_k": 10, "radius": 15, "context": 28, "renormalize": True,
    }  # fmt: skip
    assert [part["weight"] for part in record["features"]] == [1.0]
    wrong = cli(*command, "--preset", "davies")
    assert wrong.code == 2
    assert "did you mean davis" in wrong.err
