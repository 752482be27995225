"""Propagation and sweeps on several devices: a process for each, whose deaths are reported, and the same bytes."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from ted.pipeline.annotating import words
from ted.pipeline.annotating.detectors import Candidate, Finder
from ted.pipeline.runs import processes
from ted.pipeline.runs.processes import Devices
from ted.store.errors import LabelError, TedError

from ..conftest import Cli
from ..inputs import propagate
from ..tasks.packages import offer
from .extracting.processes import _CONTEXT, end_all, eventually, fork_devices, start
from .extracting.test_devices import has_ended
from .test_propagating import SWEPT, files, tables

CPUS = (torch.device("cpu"), torch.device("cpu"))
TWO = ("--affinities", "off", "--device", "cpu,cpu")

REFINER = '''
import os, pathlib, signal, time
import numpy as np

class Refiner:
    """Mirrors masks; waits, or kills its process, where a file of this name says so."""

    identity = {"name": "mirror"}
    folder = pathlib.Path(__file__).parent

    def refine(self, frame, pixels, value, label):
        (self.folder / f"pid-{os.getpid()}").touch()
        if frame == 4 and (self.folder / "kill").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        while (self.folder / "wait").exists():
            time.sleep(0.01)
        return np.ascontiguousarray(value[:, ::-1])
'''


@pytest.fixture
def _forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork processes from one that has imported everything."""
    monkeypatch.setattr(processes, "_CONTEXT", _CONTEXT)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a package with the refiner ``mirror``."""
    offer(tmp_path / "site", "mirror", REFINER, "ted.refiners", "mirror", "Refiner", monkeypatch)
    yield tmp_path / "site"
    end_all()


def meet(folder: Path, number: int, device: str) -> tuple[int, str, int, int]:
    """Wait for the other process."""
    (folder / str(os.getpid())).touch()
    assert eventually(lambda: len(list(folder.iterdir())) == 2, 60)
    return number, device, torch.get_num_threads(), os.getpid()


def misbehave(how: str, device: str) -> str:
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "fail":
        raise LabelError("no label")
    if how == "divide":
        raise ZeroDivisionError
    return how


@pytest.mark.usefixtures("_forked")
def test_a_process_for_each_device_with_its_share_of_the_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    with Devices(CPUS) as devices:
        results = list(devices.map(meet, ((tmp_path, number, "") for number in range(5)), ahead=3))
    assert [result[:3] for result in results] == [(number, "cpu", 3) for number in range(5)]
    pids = {result[3] for result in results}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert all(map(has_ended, pids))


@pytest.mark.usefixtures("_forked")
def test_errors_and_deaths_end_no_other_task() -> None:
    with Devices(CPUS) as devices:
        tasks = [(how, "") for how in ("a", "die", "b", "die", "c")]
        found = list(devices.map(misbehave, tasks, lost=str))
        assert found[::2] == ["a", "b", "c"]
        assert ["the process on cpu ended early (killed by SIGKILL)" in text for text in found[1::2]] == [True, True]
        for how, kind, match in (
            ("fail", LabelError, "no label"),
            ("die", TedError, "killed by SIGKILL"),
            ("divide", ZeroDivisionError, None),
        ):
            with pytest.raises(kind, match=match):
                list(devices.map(misbehave, [(how, "")]))
        assert list(devices.map(misbehave, [("d", "")])) == ["d"]


@pytest.mark.usefixtures("_forked")
def test_the_same_bytes_as_one_device(cli: Cli, davis_source: Path, cache: Path, site: Path, tmp_path: Path) -> None:
    """Each device takes videos, with a refiner of its own; a video that fails or kills its process stops no other."""
    command = (davis_source, "--refine", "mirror")
    assert propagate(cli, cache, tmp_path / "one", *command, "--affinities", "off").code == 0
    assert propagate(cli, cache, tmp_path / "two", *command, *TWO).code == 0
    assert files(tmp_path / "two") == files(tmp_path / "one") != {}
    assert len(list(site.glob("pid-*"))) == 3  # this process, and two more
    record = tmp_path / "two" / "one" / "ted.json"
    shutil.copy(record, tmp_path)
    record.write_text("{}")
    result = propagate(cli, cache, tmp_path / "two", *command, *TWO, "--json")
    assert result.code == 1
    rows = json.loads(result.out)["videos"]
    assert [("error" in row, row.get("skipped")) for row in rows] == [(True, None), (False, True)]
    refused = propagate(cli, cache, tmp_path / "two", davis_source, "--refine", "miror", *TWO)
    assert (refused.code, "unknown refiner 'miror'" in refused.err) == (2, True)

    (site / "kill").touch()
    result = propagate(cli, cache, tmp_path / "killed", *command, *TWO)
    assert result.code == 1
    assert "Error: two: the process on cpu ended early (killed by SIGKILL)" in result.err
    assert "1 video propagated, 1 failed" in result.out
    (site / "kill").unlink()
    assert propagate(cli, cache, tmp_path / "killed", *command, *TWO).code == 0
    assert files(tmp_path / "killed") == files(tmp_path / "one")


@pytest.mark.usefixtures("_forked")
def test_texts_in_the_processes(
    cli: Cli, davis_source: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(picture: np.ndarray, *_: object) -> tuple[list[Candidate], float]:
        return [Candidate.of_mask(0.9, picture.max(2) > picture.max(2).mean())], 0.9

    monkeypatch.setattr(words, "load_detector", lambda *_: Finder(find=find, least=0.3))
    command = (davis_source, "--text", "ball", "--by", davis_source)
    assert propagate(cli, cache, tmp_path / "one", *command, "--affinities", "off").code == 0
    two = propagate(cli, cache, tmp_path / "two", *command, *TWO, "--overlay")
    assert two.code == 0, two.err
    assert "two: masks from before" in two.err
    found = files(tmp_path / "two")
    assert {name: data for name, data in found.items() if "overlays" not in name} == files(tmp_path / "one") != found


@pytest.mark.usefixtures("_forked")
def test_sweeps_search_and_score_on_all_devices(cli: Cli, davis_source: Path, cache: Path, tmp_path: Path) -> None:
    sweep = ("sweep", davis_source, "--cache", cache, *SWEPT)
    assert cli(*sweep, "--out", tmp_path / "sweep").code == 0
    shutil.rmtree(next(cache.rglob("affinities")))
    assert cli(*sweep, "--out", tmp_path / "sweep two", "--device", "cpu,cpu").code == 0
    assert tables(tmp_path / "sweep two") == tables(tmp_path / "sweep")
    result = cli(*sweep, "--out", tmp_path / "no", "--device", "cpu,cpu", "--workers", 2)
    assert result.code == 2
    assert "leave out --workers" in result.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_signal_ends_all_processes(
    number: int, code: int, davis_source: Path, cache: Path, site: Path, tmp_path: Path
) -> None:
    """They are in the middle of a video, and leave no hidden folder and no claim."""
    (site / "wait").touch()
    options = ("--cache", cache, "--out", tmp_path / "out", "--affinities", "keep", "--device", "cpu,cpu")
    run = start(tmp_path, "propagate", davis_source, *options, "--refine", "mirror", hooks=(fork_devices,))
    assert eventually(lambda: len(list(site.glob("pid-*"))) == 2 or run.ended, 60)
    pids = {int(path.name.partition("-")[2]) for path in site.glob("pid-*")}
    assert len(pids) == 2, run.err.read_text()
    for pid in (run.pid,) if number == signal.SIGKILL else (*pids, run.pid):  # a terminal sends it to the whole group
        os.kill(pid, number)
    assert run.wait() == code
    assert eventually(lambda: all(map(has_ended, pids)), 60)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_dir()]
    assert not list(cache.rglob("claim.json"))
