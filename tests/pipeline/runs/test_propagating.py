"""Labels that a GPU computes in a thread beside decoding and writing, on the CPU."""

from pathlib import Path
from threading import get_ident

import pytest
import torch

from ted.pipeline.runs.propagating import propagation
from ted.propagate import TrackingSession
from ted.store.errors import LabelError

from ..conftest import Cli
from ..inputs import propagate


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat the CPU as a GPU."""
    computed = propagation._computed
    gpu = torch.device("meta")
    monkeypatch.setattr(propagation, "_computed", lambda session, device, correct: computed(session, gpu, correct))


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
