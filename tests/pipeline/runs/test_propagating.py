"""Labels that a GPU computes in a thread beside decoding and writing, on the CPU."""

import errno
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import current_thread, get_ident
from typing import Any

import pytest
import torch

from ted.pipeline.runs.propagating import propagation
from ted.pipeline.tasks.masks.task import MaskRun
from ted.propagate import TrackingSession
from ted.store.errors import LabelError

from ..conftest import Cli
from ..inputs import propagate


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat the CPU as a GPU."""
    computed = propagation._computed
    gpu = torch.device("meta")
    monkeypatch.setattr(propagation, "_computed", lambda session, device, *rest: computed(session, gpu, *rest))


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in (".png", ".csv")
    }


@pytest.mark.parametrize("target", ["masks", "boxes"])
def test_results_are_the_same(
    target: str, cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    arguments = (davis_source, "--target", target, "--affinities", "off")
    assert propagate(cli, extracted, tmp_path / "one by one", *arguments).code == 0
    request.getfixturevalue("beside")
    assert propagate(cli, extracted, tmp_path / "beside", *arguments).code == 0
    assert files(tmp_path / "beside") == files(tmp_path / "one by one") != {}


@pytest.mark.usefixtures("beside")
def test_timings_say_what_each_stage_took_and_which_products(
    cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path
) -> None:
    result = propagate(cli, extracted, tmp_path / "out", davis_source, "--affinities", "off", "--timings", "--json")
    found = json.loads(result.out)
    stages = {"search", "search and label", "wait for labels", "decode", "wait for writing", "write"}
    assert [set(row["timings"]) for row in found["videos"]] == [stages] * 2
    assert found["products"] in ("float32", "bfloat16")


@pytest.mark.usefixtures("beside")
def test_a_result_that_cannot_be_written_ends_its_video_and_leaves_nothing(
    cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self, number, frame, *arguments):  # type: ignore[no-untyped-def]
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(MaskRun, "collect", full)
    result = propagate(cli, extracted, tmp_path / "out", davis_source, "--affinities", "off")
    assert result.code != 0
    assert "the disk is full" in result.err
    assert not list((tmp_path / "out").rglob("*.png"))


@pytest.mark.usefixtures("beside")
def test_an_error_of_the_thread_ends_its_video(
    cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()
    labels = TrackingSession._labels

    def failing(self, *arguments):  # type: ignore[no-untyped-def]
        for frame, label in labels(self, *arguments):
            threads.add(get_ident())
            if frame == 2:
                raise LabelError("no label")
            yield frame, label

    monkeypatch.setattr(TrackingSession, "_labels", failing)
    result = propagate(cli, extracted, tmp_path / "out", davis_source, "--affinities", "off")
    assert result.code != 0
    assert "no label" in result.err
    assert threads.isdisjoint({get_ident()})
    assert not files(tmp_path)


SWEPT = ("--alpha", "0,1", "--radius", 3, "--top-k", "2,5", "--context", 1, "--no-plots")


@pytest.fixture(scope="module")
def gpu_workers() -> Iterator[str]:
    """The address of a cluster of one worker, which offers GPU=1."""
    from distributed import LocalCluster

    options: dict[str, Any] = {"processes": False, "protocol": "tcp://", "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=1, threads_per_worker=1, resources={"GPU": 1}, **options) as cluster:
        yield cluster.scheduler_address


def tables(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("results.csv", "settings.csv", "best.json")}


def test_workers_that_offer_a_gpu_propagate_and_sweep_the_same(
    cli: Cli,
    davis_source: Path,
    cache: Path,
    tmp_path: Path,
    gpu_workers: str,
    scheduler: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With `--device cuda`, whole videos on such workers; here they compute on the CPU."""
    command, threads = (davis_source, "--affinities", "off"), set()
    original, spread = propagation.propagate_video, propagation.propagate_videos

    def watching(*arguments: Any, **options: Any) -> Any:
        threads.add(current_thread().name)
        return original(*arguments, **options)

    assert propagate(cli, cache, tmp_path / "here", *command).code == 0
    with monkeypatch.context() as patched:
        cpu = torch.device("cpu")
        patched.setattr(propagation, "propagate_videos", lambda *args: spread(*args[:2], replace(args[2], device=cpu)))
        patched.setattr(propagation, "propagate_video", watching)
        asked = ("--scheduler", gpu_workers, "--device", "cuda")
        assert propagate(cli, cache, tmp_path / "there", *command, *asked).code == 0
    assert files(tmp_path / "there") == files(tmp_path / "here") != {}
    assert current_thread().name not in threads != set()
    sweep = ("sweep", davis_source, "--cache", cache, *SWEPT)
    assert cli(*sweep, "--out", tmp_path / "sweep").code == 0
    asked = ("--scheduler", gpu_workers, "--worker-resource", "GPU=1", "--device", "cpu")
    assert cli(*sweep, "--out", tmp_path / "sweep there", *asked).code == 0
    assert tables(tmp_path / "sweep there") == tables(tmp_path / "sweep")
    for name in ("propagate", "sweep"):
        asked = ("--scheduler", scheduler, "--device", "cuda", "--scheduler-timeout", 0.5)
        result = cli(name, davis_source, "--cache", cache, "--out", tmp_path / "no", *asked)
        assert result.code == 2
        assert "no worker that offers GPU=1" in result.err
