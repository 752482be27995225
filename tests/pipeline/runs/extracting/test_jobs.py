"""Extraction by several jobs, and on a Dask cluster: the commands, on small data."""

import dataclasses
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from ted.extract.frames import FrameSize
from ted.extract.settings import ExtractionSettings
from ted.pipeline.choices.features import parse_job
from ted.pipeline.datasets.sources import Source, open_sources
from ted.pipeline.runs.extracting.cluster import extract_on_cluster
from ted.pipeline.runs.extracting.request import ExtractionRequest, Share
from ted.pipeline.runs.extracting.running import Extracted, extract
from ted.propagate import Workers, connect
from ted.propagate.dask_workers import DaskWorkers
from ted.store import open_cache
from ted.store.errors import ConfigError
from tests.pipeline.conftest import Cli

FEATURES = ("--feature", "adm:51:output_blocks[7]", "--feature", "i2vgen-xl:300:up_blocks[2]")


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def quiet(_title: str, _count: int) -> Any:
    return lambda _done: None


def make_request(cache: Path, davis_source: Path, weights: tuple[str, ...], **changes: Any) -> ExtractionRequest:
    paths = dict(option.removeprefix("--weights=").split("=", 1) for option in weights)
    job = parse_job("adm:51:output_blocks[7]")
    return ExtractionRequest(
        cache=cache,
        shares=tuple(Share(job=job, video=video) for video in open_sources([Source(path=davis_source)])),
        weights=paths,
        settings=ExtractionSettings(frame_size=FrameSize(short_side=64)),
        **changes,
    )


def test_shares_of_a_list_make_the_whole(
    cli: Cli, davis_source: Path, weights: tuple[str, ...], extracted: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    written: list[str] = []
    for number in (1, 2, 3):
        done = cli(
            *("extract", davis_source, "--cache", cache, "--frame-size", 64, *weights, *FEATURES),
            *("--shard", f"{number}/3", "--json"),
        )
        assert done.code == 0
        written += json.loads(done.out)["written"]
    assert len(written) == len(set(written)) == 4
    assert tree(cache) == tree(extracted)


def test_a_slurm_array_picks_its_share(
    cli: Cli, davis_source: Path, weights: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"ID": 4, "MIN": 3, "MAX": 4, "COUNT": 2}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    done = cli(
        *("extract", davis_source, "--cache", tmp_path / "cache", "--frame-size", 64, *weights, *FEATURES),
        *("--shard", "slurm", "--dry-run", "--json"),
    )
    assert [unit["label"].split()[0] for unit in json.loads(done.out)["units"]] == ["davis/two", "davis/two"]


def test_a_dry_run_says_what_will_be_written(
    cli: Cli, davis_source: Path, weights: tuple[str, ...], extracted: Path, tmp_path: Path
) -> None:
    features = ("--feature", "adm:51,300:output_blocks[7]", "--feature", "i2vgen-xl:300:up_blocks[2]")
    command = ("extract", davis_source, "--frame-size", 64, *weights, *features, "--dry-run", "--json")
    fresh = json.loads(cli(*command, "--cache", tmp_path / "none").out)
    assert not (tmp_path / "none").exists()
    assert {unit["state"] for unit in fresh["units"]} == {"absent"}
    assert len(fresh["units"]) == 6
    assert fresh["seconds"] > 0
    assert fresh["disk_free"] > 0
    promised = {unit["label"]: unit["bytes"] for unit in fresh["units"]}
    for unit in open_cache(extracted).units():
        assert promised[unit.spec.label] == unit.features.nbytes
    there = json.loads(cli(*command, "--cache", extracted).out)
    states = {unit["label"]: (unit["state"], unit["seconds"]) for unit in there["units"]}
    for label, (state, seconds) in states.items():
        assert state == ("absent" if "t300 output_blocks[7]" in label else "complete"), label
        assert (seconds == 0) == (state == "complete")


def test_work_that_another_process_is_at_is_waited_for(
    davis_source: Path, weights: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ted.pipeline.runs.extracting.running._LOOK_S", 0.05)
    request = make_request(tmp_path / "cache", davis_source, weights)
    elsewhere = make_request(tmp_path / "elsewhere", davis_source, weights)
    cpu = torch.device("cpu")
    done = list(extract(elsewhere, cpu, progress=quiet, say=print))
    spec = next(item for item in done if isinstance(item, Extracted)).report.written[0]
    remarks: list[str] = []
    results: list[Any] = []
    with open_cache(request.cache, create=True).writer(spec):
        thread = threading.Thread(
            target=lambda: results.extend(extract(request, cpu, progress=quiet, say=remarks.append))
        )
        thread.start()
        deadline = time.monotonic() + 300
        while not remarks and time.monotonic() < deadline:
            time.sleep(0.05)
        assert "waiting for other processes to extract" in remarks[0]
        assert len(results) == 1  # the other video was not held up
    thread.join(300)
    assert [len(result.report.written) for result in results] == [1, 1]
    assert tree(request.cache) == tree(elsewhere.cache)


def test_work_that_another_process_completed_is_not_done_again(
    davis_source: Path, weights: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = make_request(tmp_path / "cache", davis_source, weights)
    elsewhere = make_request(tmp_path / "elsewhere", davis_source, weights)
    cpu = torch.device("cpu")
    done = list(extract(elsewhere, cpu, progress=quiet, say=print))
    spec = next(item for item in done if isinstance(item, Extracted)).report.written[0]
    writer = open_cache(request.cache, create=True).writer(spec)
    writer.__enter__()

    def complete(_seconds: float) -> None:
        """The other process, while this one sleeps."""
        writer.__exit__(None, None, None)
        folder = spec.folder(request.cache)
        shutil.rmtree(folder)
        shutil.copytree(spec.folder(elsewhere.cache), folder)

    monkeypatch.setattr("ted.pipeline.runs.extracting.running.time.sleep", complete)
    loads: list[str] = []

    def load(model: Any, device: torch.device) -> Any:
        from ted.pipeline.runs.extracting.running import load as really

        loads.append(model.name)
        return really(model, device)

    results = list(extract(request, cpu, progress=quiet, say=print, load=load))
    reports = [result.report for result in results if isinstance(result, Extracted)]
    assert sorted((len(report.written), len(report.skipped)) for report in reports) == [(0, 1), (1, 0)]
    assert loads == ["adm"]


def test_changed_frames_and_weights_are_noticed(
    cli: Cli, davis_source: Path, weights: tuple[str, ...], tmp_path: Path
) -> None:
    source = shutil.copytree(davis_source, tmp_path / "source")
    command = ("extract", source, "--cache", tmp_path / "cache", "--frame-size", 64, *weights, *FEATURES[:2])
    assert "have changed" not in cli(*command).err
    assert "have changed" not in cli(*command).err
    frame = next(iter(sorted((source / "JPEGImages" / "480p" / "one").iterdir())))
    assert cv2.imwrite(str(frame), np.full_like(cv2.imread(str(frame)), 77))
    changed = cli(*command)
    assert "davis/one adm: the frames have changed since adm@" in changed.err
    assert "davis/two adm: complete already" in changed.err
    other = cli("small-weights", "adm", tmp_path / "other", "--seed", 9)
    assert f"--weights adm={tmp_path / 'other'}" in other.err
    again = cli(*command[:6], "--weights", f"adm={tmp_path / 'other'}", *FEATURES[:2])
    assert "davis/two adm: the weights have changed since adm@" in again.err
    assert len(open_cache(tmp_path / "cache").units(video="two")) == 2


def test_options_that_exclude_each_other(cli: Cli, davis_source: Path, tmp_path: Path) -> None:
    command = ("extract", davis_source, "--cache", tmp_path / "cache")
    for options, what in (
        (("--devices", "cpu,cpu", "--device", "cpu"), "leave out --device and --scheduler"),
        (("--devices", "cpu", "--scheduler", "tcp://127.0.0.1:1"), "leave out --device and --scheduler"),
        (("--devices", "cpu", "--overwrite"), "cannot go with --overwrite"),
        (("--shard", "3/2"), "1/N to N/N"),
        (("--batch-size", "0"), "at least 1 nor auto"),
        (("--batch-size", "many"), "at least 1 nor auto"),
    ):
        result = cli(*command, *options)
        assert result.code == 2, options
        assert what in result.err


def test_an_automatic_batch_size_is_recorded(
    cli: Cli, davis_source: Path, weights: tuple[str, ...], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    command = ("extract", davis_source, "--cache", cache, "--frame-size", 64, *weights, *FEATURES)
    assert cli(*command, "--batch-size", "auto").code == 0
    sizes = {unit.request.backbone: unit.run_record["batch_size"] for unit in open_cache(cache).units(video="one")}
    assert sizes == {"adm": 4, "i2vgen-xl": 1}  # all four frames; one clip


@pytest.fixture(scope="module", params=["here", pytest.param("processes", marks=pytest.mark.slow)])
def cluster(request: pytest.FixtureRequest) -> Iterator[Workers]:
    """Two workers: in this process, through a scheduler; or processes, which take seconds to import what they need."""
    if request.param == "processes":
        connected = connect(workers=2, threads=1)
    else:
        connected = connect(scheduler=request.getfixturevalue("scheduler"), threads=1)
    with connected as workers:
        yield workers


def test_a_cluster_extracts_the_same(
    cluster: Workers, davis_source: Path, weights: tuple[str, ...], tmp_path: Path
) -> None:
    request = make_request(tmp_path / "cache", davis_source, weights)
    here = make_request(tmp_path / "here", davis_source, weights)
    results = list(extract_on_cluster(request, cluster, "cpu", progress=quiet, say=print))
    assert [result.share.video.name for result in results] == ["one", "two"]
    assert all(isinstance(result, Extracted) and len(result.report.written) == 1 for result in results)
    list(extract(here, torch.device("cpu"), progress=quiet, say=print))
    assert tree(request.cache) == tree(here.cache)


def test_an_option_that_is_wrong_on_a_worker_is_wrong_here(
    cluster: Workers, davis_source: Path, weights: tuple[str, ...], tmp_path: Path
) -> None:
    request = make_request(tmp_path / "cache", davis_source, weights)
    wrong = parse_job("adm:51:nowhere")
    shares = tuple(dataclasses.replace(share, job=wrong) for share in request.shares)
    request = dataclasses.replace(request, shares=shares)
    with pytest.raises(ConfigError, match="nowhere"):
        list(extract_on_cluster(request, cluster, "cpu", progress=quiet, say=print))


def test_a_cluster_without_what_is_asked_for_is_an_error_and_no_hang(
    cluster: Workers, cli: Cli, davis_source: Path, weights: tuple[str, ...], tmp_path: Path
) -> None:
    assert isinstance(cluster, DaskWorkers)
    result = cli(
        *("extract", davis_source, "--cache", tmp_path / "cache", "--frame-size", 64, *weights, *FEATURES),
        *("--scheduler", cluster.client.scheduler.address, "--scheduler-timeout", 1),
    )
    assert result.code == 2
    assert "no worker that offers GPU=1" in result.err


def test_a_scheduler_that_is_not_there(cli: Cli, davis_source: Path, tmp_path: Path) -> None:
    result = cli(
        *("extract", davis_source, "--cache", tmp_path / "cache", "--scheduler", "tcp://127.0.0.1:9"),
        *("--scheduler-timeout", 0.5),
    )
    assert result.code == 2
    assert "no Dask scheduler answers" in result.err


def test_timings_add_up_the_stages_of_all_videos(cli: Cli, davis_source: Path, tmp_path: Path) -> None:
    command = ("extract", davis_source, "--cache", tmp_path / "cache", "--feature", "rgb:0:stride8", "--frame-size", 64)
    timings = json.loads(cli(*command, "--timings", "--json").out)["timings"]
    waits = {"waiting for frames", "waiting for disk"}
    assert set(timings) == waits | {"read", "resize", "noise", "encode", "passes", "write"}
    assert all(seconds >= 0 for seconds in timings.values())
    assert timings["write"] > 0
    again = cli(*command, "--overwrite", "--timings").out
    assert all(any(line.endswith(f" s  {stage}") for line in again.splitlines()) for stage in timings)
    assert "timings" not in json.loads(cli(*command, "--json").out)
