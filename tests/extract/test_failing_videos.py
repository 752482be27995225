"""A failing video does not stop the others."""

import gc
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from ted.extract import worker
from ted.extract.backbones.base import Backbone
from ted.extract.plan import VideoPlan, plan_video
from ted.extract.video_job import VideoJob
from ted.extract.worker import ExtractionReport, VideoTask, extract_videos
from ted.store import UnitWriter
from ted.store.errors import CacheError, ClaimedError, ConfigError

from .conftest import ArrayFrames, random_frames
from .videos import ADM_TAP, SETTINGS, Scarce, Torn, new_cache, run, tasks


def test_a_video_that_fails_stops_no_other(tmp_path: Path, adm: Backbone) -> None:
    sources = {
        "a": random_frames(3),
        "torn": Torn(random_frames(5).frames),
        "empty": random_frames(0),
        "b": random_frames(3, seed=1),
    }
    cache = new_cache(tmp_path)
    results = run(cache, adm, sources, changes={"batch_size": 1})
    assert {name for name, result in results.items() if isinstance(result, ExtractionReport)} == {"a", "b"}
    assert "cannot be decoded" in str(results["torn"])
    (unit,) = cache.entries(video="torn")
    assert unit.state == "incomplete"
    assert not list(cache.root.rglob("claim.json"))
    # What was computed before the error is kept.
    sources["torn"] = ArrayFrames(sources["torn"].frames)
    again = run(cache, adm, {"torn": sources["torn"]}, changes={"batch_size": 1})["torn"]
    assert isinstance(again, ExtractionReport)
    assert again.frames_computed == 3


def test_a_claimed_video_is_reported_and_the_others_are_extracted(tmp_path: Path, adm: Backbone) -> None:
    sources = {"a": random_frames(3), "b": random_frames(3, seed=1)}
    cache = new_cache(tmp_path)
    held = plan_video(
        adm, sources["a"], dataset="d", video="a", timesteps=(51,), taps=(ADM_TAP,), settings=SETTINGS
    ).specs[51, ADM_TAP]
    with cache.writer(held):
        results = run(cache, adm, sources)
    assert isinstance(results["a"], ClaimedError)
    assert isinstance(results["b"], ExtractionReport)


def test_a_failing_writer_stops_the_video_soon(tmp_path: Path, adm: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: UnitWriter, frame: int, values: Any) -> None:
        raise CacheError("the disk is full")

    monkeypatch.setattr(UnitWriter, "write", full)
    counting = Scarce(adm, most=99)
    results = run(new_cache(tmp_path), counting, {"v": random_frames(30)}, changes={"batch_size": 1})
    assert "disk is full" in str(results["v"])
    assert len(counting.sizes) < 30


def test_a_plan_with_a_wrong_option_ends_the_run(tmp_path: Path, adm: Backbone) -> None:
    def wrong() -> VideoPlan:
        raise ConfigError("no such tap")

    task = VideoTask(name="v", source=random_frames(3), plan=wrong)
    with pytest.raises(ConfigError, match="no such tap"):
        list(extract_videos(new_cache(tmp_path), adm, [task]))


def test_videos_that_are_through_leave_memory(tmp_path: Path, adm: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[weakref.ref[VideoJob]] = []

    class Watched(VideoJob):
        def __init__(self, *args: Any, **options: Any) -> None:
            jobs.append(weakref.ref(self))
            super().__init__(*args, **options)

    monkeypatch.setattr(worker, "VideoJob", Watched)
    sources: dict[str, ArrayFrames] = {f"v{seed}": random_frames(1, seed=seed) for seed in range(12)}
    sources |= {f"torn{seed}": Torn(random_frames(3, seed=seed).frames) for seed in range(6)}
    outcomes = extract_videos(new_cache(tmp_path), adm, tasks(adm, sources))
    for _ in sources:
        next(outcomes)
    gc.collect()
    assert len(jobs) == len(sources)
    assert sum(job() is not None for job in jobs) < 4
    outcomes.close()


def test_videos_before_one_that_fails_are_reported_before_it(
    tmp_path: Path, adm: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = UnitWriter.finish

    def slowly(self: UnitWriter, run: Any) -> None:
        time.sleep(0.2)
        finish(self, run)

    monkeypatch.setattr(UnitWriter, "finish", slowly)
    for bad in (Torn(random_frames(5).frames), random_frames(0)):
        sources = {"a": random_frames(2), "bad": bad, "b": random_frames(2, seed=1)}
        cache = new_cache(tmp_path, f"cache{len(bad)}")
        assert list(run(cache, adm, sources, changes={"batch_size": 1}))[:2] == ["a", "bad"]


class Broken(ArrayFrames):
    """Frames whose decoder raises a foreign error."""

    def __init__(self, frames: Any, error: Exception, *, hashing: bool = False) -> None:
        super().__init__(frames)
        self.error, self.hashing = error, hashing

    def read(self, index: int) -> Any:
        if index == 1:
            raise self.error
        return super().read(index)

    def digest(self, indices: Any = None) -> str:
        if self.hashing:
            raise self.error
        return super().digest(indices)


@pytest.mark.parametrize("hashing", [False, True])
@pytest.mark.parametrize("error", [ValueError("bad packet"), OSError(5, "Input/output error"), RuntimeError("decoder")])
def test_whatever_a_decoder_raises_ends_its_video_alone(
    tmp_path: Path, adm: Backbone, error: Exception, hashing: bool
) -> None:
    sources = {
        "a": random_frames(2),
        "broken": Broken(random_frames(3).frames, error, hashing=hashing),
        "b": random_frames(2, seed=1),
    }
    cache = new_cache(tmp_path)
    results = run(cache, adm, sources)
    assert isinstance(results["a"], ExtractionReport)
    assert isinstance(results["b"], ExtractionReport)
    assert str(error) in str(results["broken"])
    assert type(error).__name__ in str(results["broken"])
    assert not list(cache.root.rglob("claim.json"))
