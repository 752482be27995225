"""``ted interpolate``: from a video to attention in the cache, and on to ``ted readout``."""

import json
import pickle
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ted.extract.frames import FrameSize
from ted.extract.interpolation.settings import InterpolationSettings
from ted.extract.settings import DEFAULT_OPTIONS
from ted.extract.small_models import make_small
from ted.pipeline.choices.features import BackboneJob
from ted.pipeline.datasets.sources import Selection, Source, open_sources
from ted.pipeline.runs import interpolating, processes
from ted.pipeline.runs.extracting.request import Model, Share
from ted.pipeline.runs.interpolating import Interpolated, InterpolationRequest, interpolate
from ted.pipeline.runs.learning_tokens import TokenSettings
from ted.store import Artifact, open_cache
from tests.pipeline.conftest import Cli
from tests.pipeline.runs.extracting.processes import _CONTEXT

_RUN = processes._run
SHORT = ("--frame-size", "64", "--pair-steps", "1", "--roll-steps", "2", "--slots", "8", "--token-steps", "2")


@pytest.fixture(scope="module")
def sd21(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"--weights={make_small('sd21', tmp_path_factory.mktemp('weights') / 'sd21')}"


def units(cache: Path) -> list[Artifact]:
    return [entry.open() for entry in open_cache(cache).artifacts("interpolation")]


def test_tokens_of_all_objects_then_words(cli: Cli, davis_source: Path, sd21: str, tmp_path: Path) -> None:
    one = (davis_source, "--videos", "one", "--limit", "3", "--cache", tmp_path / "cache")
    planned = cli("interpolate", *one, sd21, *SHORT, "--dry-run", "--json")
    assert planned.code == 0, planned.err
    (row,) = json.loads(planned.out)["videos"]
    assert (row["state"], row["frames"]) == ("unknown", 3)
    assert row["seconds"] > 0
    assert not list((tmp_path / "cache").rglob("*.json"))

    made = cli("interpolate", *one, sd21, *SHORT)
    assert made.code == 0, made.err
    assert "ted readout" in made.out
    (unit,) = units(tmp_path / "cache")
    assert unit.spec.request["targets"] == ["object 1", "object 2"]
    assert row["bytes"] == sum(4 * unit[name][...].size for name in ("sources", "weights", "cross", "losses", "errors"))
    cross = unit["cross"][...]
    assert (cross > 0).all()
    assert not np.allclose(cross[:, 0], cross[:, 1])
    assert cli("readout", *one, "--out", tmp_path / "results").code == 0
    assert len(list((tmp_path / "results/one").glob("*.png"))) == 3

    assert set(unit.spec.request["conditioning"]["annotations"]) == {"first_mask"}
    updated = cli("interpolate", *one, sd21, *SHORT, "--update", "every-pair", "--update-steps", "3")
    assert updated.code == 0, updated.err
    (other,) = (found for found in units(tmp_path / "cache") if "update" in found.spec.request["conditioning"])
    same = [np.array_equal(other["cross"][frame], cross[frame]) for frame in range(3)]
    assert same == [True, True, False]  # the tokens of the pair 1 -> 2 are the first that follow a result

    named = ("--prompt", "red ball", "--word", "red", "--word", "ball")
    words = cli("interpolate", *one, sd21, *SHORT, *named)
    assert words.code == 0, words.err
    assert "complete already" in cli("interpolate", *one, sd21, *SHORT, *named).err
    assert len(units(tmp_path / "cache")) == 3


def test_a_request_that_was_sent_to_another_process_waits_for_claims_and_gives_the_same_bytes(
    cli: Cli, davis_source: Path, weights: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adm = weights[0].removeprefix("--weights=adm=")
    chosen = ("--videos", "one", "--limit", "2")
    short = (*SHORT, *chosen, "--backbone", "adm", "--weights", adm, "--layer", "up_blocks[1]")
    done = cli("interpolate", davis_source, *short, "--cache", tmp_path / "one", "--operator", "reconstruction")
    assert done.code == 0, done.err
    settings = InterpolationSettings(
        operator="reconstruction",
        frame_size=FrameSize(short_side=64),
        pair_steps=1,
        roll_steps=2,
        slots=8,
        layers=("up_blocks[1]",),
    )
    job = BackboneJob(backbone="adm", timesteps=(), taps=())
    videos = open_sources([Source(path=davis_source)], Selection(videos=("one",), limit=2))
    request = InterpolationRequest(
        cache=tmp_path / "two",
        shares=tuple(Share(job=job, video=video) for video in videos),
        model=Model(name="adm", weights=adm, dtype="float32", options=DEFAULT_OPTIONS),
        settings=settings,
        tokens=TokenSettings(),
    )
    sent, work = pickle.loads(pickle.dumps((request, interpolate)))
    claim = ExitStack()
    claim.enter_context(open_cache(tmp_path / "two", create=True).artifact_writer(units(tmp_path / "one")[0].spec))
    monkeypatch.setattr(interpolating, "_LOOK_S", 0.0)
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        claim.close()

    found = list(work(sent, torch.device("cpu"), progress=lambda title, count: lambda steps: None, say=say))
    assert [type(result) for result in found] == [Interpolated]
    assert len(said) == 1
    assert "waiting for other processes" in said[0]
    first, second = ({unit.spec.video: unit.content_hash for unit in units(tmp_path / name)} for name in ("one", "two"))
    assert first == second
    assert list(first) == ["one"]
    assert not units(tmp_path / "one")[0].spec.request["cross"]


def run_impatiently(*arguments: Any) -> None:
    interpolating._LOOK_S = 0.05
    _RUN(*arguments)


@pytest.mark.slow
def test_two_processes_give_the_bytes_of_one(
    cli: Cli, davis_source: Path, weights: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_CONTEXT", _CONTEXT)  # forks of a process that has imported everything
    monkeypatch.setattr(processes, "_run", run_impatiently)
    short = (*SHORT, "--limit", "2", "--backbone", "adm", weights[0], "--layer", "up_blocks[1]")
    found = []
    for name, more in (("one", ()), ("two", ("--devices", "cpu,cpu"))):
        done = cli("interpolate", davis_source, *short, *more, "--cache", tmp_path / name)
        assert done.code == 0, done.err
        found.append({unit.spec.video: unit.content_hash for unit in units(tmp_path / name)})
    assert found[0] == found[1]
    assert set(found[0]) == {"one", "two"}


def test_wrong_options_are_answered(cli: Cli, davis_source: Path, sd21: str, weights: tuple[str, ...]) -> None:
    adm = ("--backbone", "adm", "--frame-size", "64", *weights)
    refused = {
        (sd21, "--word", "ball"): "words of the targets need all of",
        (sd21, *SHORT, "--prompt", "red", "--word", "red", "--word", "dog"): "the prompt has no 'dog'",
        (sd21, *SHORT, "--prompt", "red", "--word", "red"): "give a word of the prompt for each",
        (sd21, "--device", "cpu", "--devices", "cpu,cpu"): "leave out --device",
        (*adm, "--indicator", "tokens"): "takes no text",
        (*adm, "--indicator", "none", "--layer", "down_blocks[0]"): "has no self-attention in down_blocks[0]",
    }
    for options, message in refused.items():
        result = cli("interpolate", davis_source, *options)
        assert result.code
        assert message in result.err
