"""Features do not depend on the size of passes; batches shrink when memory runs out."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ted.extract import batching, worker
from ted.extract.backbones.base import Backbone
from ted.extract.features import latent_shape
from ted.extract.worker import ExtractionReport, extract_video
from ted.pipeline.choices.hints import explain
from ted.store import Unit
from ted.store.errors import TedError

from .conftest import random_frames
from .videos import ADM_TAP, SVD_TAP, Scarce, features, new_cache, plan, relative, run


@pytest.mark.parametrize("name", ["adm", "svd"])
def test_features_do_not_depend_on_the_batch_size(tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    backbone: Backbone = request.getfixturevalue(name)
    source = random_frames(5 if name == "adm" else 2 * backbone.clip_length + 1)
    taps = (ADM_TAP,) if name == "adm" else (SVD_TAP,)
    results = [
        features(new_cache(tmp_path, str(size)), backbone, source, taps=taps, batch_size=size)[0] for size in (1, 2, 3)
    ]
    for other in results[1:]:
        assert relative(other, results[0]) < 1e-3
        assert np.abs(other - results[0]).max() < 1e-2 * np.abs(results[0]).max()


def test_timesteps_and_taps_in_one_run_equal_runs_of_their_own(tmp_path: Path, adm: Backbone) -> None:
    source = random_frames(5)
    taps = (ADM_TAP, "mid_block")
    together = plan(adm, source, timesteps=(51, 300), taps=taps, batch_size=4)
    cache = new_cache(tmp_path)
    extract_video(cache, adm, source, together)
    for timestep in (51, 300):
        for tap in taps:
            (alone,) = features(
                new_cache(tmp_path, f"{timestep}{tap}"), adm, source, timesteps=(timestep,), taps=(tap,), batch_size=1
            )
            unit = Unit(together.specs[timestep, tap].folder(cache.root))
            assert relative(unit.features.compute().astype(np.float32), alone) < 1e-3


@pytest.mark.parametrize("name", ["adm", "svd"])
def test_batches_may_mix_clips_timesteps_and_draws(tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    backbone: Backbone = request.getfixturevalue(name)
    source = random_frames(3 if name == "adm" else backbone.clip_length + 3)
    tap = ADM_TAP if name == "adm" else SVD_TAP
    one, other = (
        features(
            new_cache(tmp_path, str(size)),
            backbone,
            source,
            timesteps=(51, 300),
            taps=(tap,),
            ensemble=3,
            batch_size=size,
        )
        for size in (1, 5)
    )
    for a, b in zip(one, other, strict=True):
        assert relative(b, a) < 1e-3
    assert relative(one[0], one[1]) > 1e-2


def test_batches_are_halved_when_memory_runs_out(
    tmp_path: Path, adm: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "fit_batch_size", lambda *_: 8)  # measured while there was more memory
    sources = {"a": random_frames(9), "b": random_frames(5, seed=1)}
    expected = run(new_cache(tmp_path, "a"), adm, sources, changes={"batch_size": 2})
    scarce = Scarce(adm, most=3)
    cache = new_cache(tmp_path, "b")
    results = run(cache, scarce, sources, adapt=True)
    for name, report in results.items():
        assert isinstance(report, ExtractionReport)
        assert report.batch_size == 2  # 8, then 4, then 2
        unit = Unit(report.written[0].folder(cache.root))
        assert unit.run_record["batch_size"] == 2
        other = expected[name]
        assert isinstance(other, ExtractionReport)
        reference = Unit(other.written[0].folder(tmp_path / "a")).features.compute()
        np.testing.assert_array_equal(unit.features.compute(), reference)
    assert len(results) == 2
    assert scarce.sizes[0] == 8


def test_memory_that_runs_out_in_the_middle_loses_nothing(
    tmp_path: Path, adm: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "fit_batch_size", lambda *_: 8)  # measured while there was more memory
    source = random_frames(12)
    scarce = Scarce(adm, most=99)

    def shrink(_done: int) -> None:
        if len(scarce.sizes) == 1:
            scarce.most = 4

    cache = new_cache(tmp_path)
    results = run(cache, scarce, {"v": source}, adapt=True, progress=lambda *_: shrink)
    report = results["v"]
    assert isinstance(report, ExtractionReport)
    assert scarce.sizes == [8, 8, 4]  # a pass; the one that fails; what is left of the second, with half the batch
    (alone,) = features(new_cache(tmp_path, "alone"), adm, source, batch_size=1)
    found = Unit(report.written[0].folder(cache.root)).features.compute().astype(np.float32)
    assert relative(found, alone) < 1e-3


def test_memory_that_is_too_small_for_one_is_an_error_that_says_what_to_do(tmp_path: Path, adm: Backbone) -> None:
    for adapt in (False, True):
        results = run(new_cache(tmp_path), Scarce(adm, most=0), {"v": random_frames(3)}, adapt=adapt)
        assert isinstance(results["v"], TedError)
        assert "--frame-size" in explain(results["v"])


@pytest.mark.parametrize("adapt", [False, True])
def test_memory_that_runs_out_while_a_video_is_begun(
    tmp_path: Path, adm: Backbone, monkeypatch: pytest.MonkeyPatch, adapt: bool
) -> None:
    scarce = {(64, 96): 1}

    def shape(backbone: Backbone, frame_size: tuple[int, int]) -> tuple[int, ...]:
        if scarce.get(frame_size):
            scarce[frame_size] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return latent_shape(backbone, frame_size)

    monkeypatch.setattr(worker, "latent_shape", shape)
    sources = {"a": random_frames(2), "b": random_frames(2, size=(64, 96)), "c": random_frames(2, seed=1)}
    cache = new_cache(tmp_path)
    results = run(cache, adm, sources, adapt=adapt)
    assert isinstance(results["a"], ExtractionReport)
    assert isinstance(results["c"], ExtractionReport)
    assert isinstance(results["b"], ExtractionReport if adapt else TedError)
    assert not list(cache.root.rglob("claim.json"))
