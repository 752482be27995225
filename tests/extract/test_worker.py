import dataclasses
import gc
import json
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ted.extract import worker
from ted.extract.backbones.base import Backbone
from ted.extract.features import latent_shape
from ted.extract.frames import FrameSize, to_pixels
from ted.extract.noise import NoiseKey, draw_noise
from ted.extract.plan import VideoPlan, plan_video
from ted.extract.settings import ExtractionSettings
from ted.extract.video_job import VideoJob
from ted.extract.worker import ExtractionReport, VideoTask, extract_video, extract_videos
from ted.store import Cache, Unit, UnitSpec, UnitWriter, open_cache
from ted.store.errors import CacheError, ClaimedError, ConfigError, FrameError, TedError
from ted.store.integrity import demote

from .conftest import ArrayFrames, random_frames

ADM_TAP = "output_blocks[7]"
SVD_TAP = "up_blocks[2]"
SETTINGS = ExtractionSettings(frame_size=FrameSize(short_side=64), overlap=2, seed=5)


def plan(
    backbone: Backbone,
    source: ArrayFrames,
    *,
    timesteps: tuple[int, ...] = (51,),
    taps: tuple[str, ...] = (ADM_TAP,),
    **changes: Any,
) -> VideoPlan:
    settings = dataclasses.replace(SETTINGS, **changes)
    return plan_video(backbone, source, dataset="d", video="v", timesteps=timesteps, taps=taps, settings=settings)


def features(cache: Cache, backbone: Backbone, source: ArrayFrames, **choice: Any) -> list[np.ndarray]:
    planned = plan(backbone, source, **choice)
    extract_video(cache, backbone, source, planned)
    return [Unit(spec.folder(cache.root)).features.compute().astype(np.float32) for spec in planned.specs.values()]


def relative(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def new_cache(tmp_path: Path, name: str = "cache") -> Cache:
    return open_cache(tmp_path / name, create=True)


def test_image_features_are_the_mean_over_draws_of_single_forwards(tmp_path: Path, adm: Backbone) -> None:
    source = random_frames(3)
    (found,) = features(new_cache(tmp_path), adm, source, ensemble=3)
    for frame in range(3):
        x0 = torch.from_numpy(to_pixels(source.frames[frame], (64, 64)))[None, None]
        draws = []
        for draw in range(3):
            noise = draw_noise(NoiseKey(seed=5, video="v", start=frame, draw=draw), x0.shape[1:])[None]
            noisy = adm.perturb(x0, noise, 51)
            draws.append(adm.features(noisy, 51, {}, [ADM_TAP], stop_early=False)[ADM_TAP][0, 0])
        expected = torch.stack(draws).mean(0).permute(1, 2, 0).numpy()
        assert relative(found[frame], expected) < 1e-3  # float16 rounding alone is 3e-4
        assert relative(draws[0].permute(1, 2, 0).numpy(), expected) > 1e-2


def test_video_features_come_from_the_first_clip_that_covers_a_frame(tmp_path: Path, svd: Backbone) -> None:
    length = svd.clip_length
    source = random_frames(length + 3)
    (found,) = features(new_cache(tmp_path), svd, source, timesteps=(300,), taps=(SVD_TAP,))
    x0 = svd.encode(torch.from_numpy(np.stack([to_pixels(frame, (64, 64)) for frame in source.frames])))
    pixels = torch.from_numpy(np.stack([to_pixels(frame, (64, 64)) for frame in source.frames]))
    for start, kept in ((0, range(length)), (3, range(length - 3, length))):
        clip = x0[start : start + length]

        def draw(shape: Any, start: int = start) -> torch.Tensor:
            return draw_noise(NoiseKey(seed=5, video="v", start=start, purpose="conditioning"), shape)

        noise = draw_noise(NoiseKey(seed=5, video="v", start=start), clip.shape)
        noisy = svd.perturb(clip[None], noise[None], 300)
        with torch.inference_mode():
            condition = svd.condition(pixels[start : start + length], pixels[start : start + 1], draw)
        whole = svd.features(noisy, 300, condition, [SVD_TAP], stop_early=False)[SVD_TAP][0]
        for position in kept:
            expected = whole[position].permute(1, 2, 0).numpy()
            assert relative(found[start + position], expected) < 1e-3


def test_each_frame_is_decoded_once(tmp_path: Path, svd: Backbone) -> None:
    source = random_frames(2 * svd.clip_length + 5)
    features(new_cache(tmp_path), svd, source, timesteps=(300, 600), taps=(SVD_TAP, "up_blocks[1]"), ensemble=2)
    assert source.reads == list(range(len(source)))


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


def test_image_features_of_a_frame_do_not_depend_on_the_others(tmp_path: Path, adm: Backbone) -> None:
    source, other = random_frames(4), random_frames(4, seed=1)
    other.frames[2] = source.frames[2]
    (one,) = features(new_cache(tmp_path, "a"), adm, source)
    (two,) = features(new_cache(tmp_path, "b"), adm, other)
    np.testing.assert_array_equal(one[2], two[2])
    assert relative(one[1], two[1]) > 0.01


def test_video_features_of_a_frame_depend_on_the_others_of_its_clip(tmp_path: Path, svd: Backbone) -> None:
    source, other = random_frames(svd.clip_length), random_frames(svd.clip_length)
    other.frames[-1] = 255 - other.frames[-1]
    (one,) = features(new_cache(tmp_path, "a"), svd, source, taps=(SVD_TAP,))
    (two,) = features(new_cache(tmp_path, "b"), svd, other, taps=(SVD_TAP,))
    assert relative(one[1], two[1]) > 1e-2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_short_videos(tmp_path: Path, svd: Backbone, count: int) -> None:
    (found,) = features(new_cache(tmp_path), svd, random_frames(count), taps=(SVD_TAP,))
    assert found.shape[0] == count


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


class _Interrupted(Exception):
    pass


def test_an_interrupted_extraction_resumes_to_the_same_bytes(tmp_path: Path, adm: Backbone) -> None:
    source = random_frames(7)
    choice: dict[str, Any] = {"timesteps": (51, 200), "batch_size": 2}
    features(new_cache(tmp_path, "a"), adm, source, **choice)
    cache, planned = new_cache(tmp_path, "b"), plan(adm, source, **choice)
    for stop_after in (1, 2):
        batches = 0

        def progress(_frames: int, stop_after: int = stop_after) -> None:
            nonlocal batches
            batches += 1
            if batches > stop_after:
                raise _Interrupted

        with pytest.raises(_Interrupted):
            extract_video(cache, adm, source, planned, progress=progress)
        assert {cache.state(spec) for spec in planned.specs.values()} == {"incomplete"}
    report = extract_video(cache, adm, source, planned)
    assert report.frames_computed == 7 - 3  # three frames were on the disk: each batch is one, at two timesteps
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_complete_units_are_left_alone_and_damaged_ones_repaired(tmp_path: Path, adm: Backbone) -> None:
    source, cache = random_frames(4), new_cache(tmp_path)
    planned = plan(adm, source, timesteps=(51, 200), batch_size=1)
    extract_video(cache, adm, source, planned)
    before = tree(cache.root)
    again = extract_video(cache, adm, source, planned)
    assert (len(again.written), len(again.skipped), again.frames_computed) == (0, 2, 0)
    (planned.specs[51, ADM_TAP].folder(cache.root) / "features/c/2/0/0/0").unlink()
    repaired = extract_video(cache, adm, source, planned)
    assert (len(repaired.written), len(repaired.skipped), repaired.frames_computed) == (1, 1, 1)
    assert tree(cache.root) == before


def test_a_damaged_marker_means_the_unit_is_made_again(tmp_path: Path, adm: Backbone) -> None:
    source, cache = random_frames(2), new_cache(tmp_path)
    planned = plan(adm, source)
    extract_video(cache, adm, source, planned)
    before = tree(cache.root)
    marker = planned.specs[51, ADM_TAP].folder(cache.root) / "features/ted/complete.json"
    marker.write_text(marker.read_text().replace('"files"', '"fires"'))
    extract_video(cache, adm, source, planned)
    assert tree(cache.root) == before


def test_changed_frames_settings_and_video_name_change_the_request(adm: Backbone) -> None:
    source = random_frames(2)
    base = plan(adm, source).specs[51, ADM_TAP]
    assert plan(adm, random_frames(2)).specs[51, ADM_TAP] == base
    digests = {base.request.digest()}
    for changed in (
        plan(adm, random_frames(2, seed=1)),
        plan(adm, source, seed=6),
        plan(adm, source, ensemble=2),
        plan(adm, source, frame_size=FrameSize(short_side=96)),
    ):
        digests.add(changed.specs[51, ADM_TAP].request.digest())
    assert len(digests) == 5
    assert plan(adm, source, batch_size=1).specs[51, ADM_TAP] == base
    assert base.request.clip_overlap == 0


def test_the_run_record_says_how(tmp_path: Path, adm: Backbone) -> None:
    source, cache = random_frames(2), new_cache(tmp_path)
    planned = plan(adm, source)
    extract_video(cache, adm, source, planned)
    record = json.loads((planned.specs[51, ADM_TAP].folder(cache.root) / "features/ted/run.json").read_text())
    assert record["versions"]["torch"] == torch.__version__
    assert record["device"] == "cpu"
    assert record["batch_size"] == 2


def test_wrong_taps_timesteps_and_empty_videos(adm: Backbone) -> None:
    with pytest.raises(ConfigError, match=r"up_blocks\[99\].*it has: .*output_blocks\[7\]"):
        plan(adm, random_frames(2), taps=("up_blocks[99]",))
    with pytest.raises(ConfigError, match="0 to 999"):
        plan(adm, random_frames(2), timesteps=(1000,))
    with pytest.raises(FrameError, match="no frames"):
        plan(adm, random_frames(0))


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


def test_a_unit_that_lags_behind_is_completed_to_the_same_bytes(tmp_path: Path, adm: Backbone) -> None:
    source = random_frames(6)
    choice: dict[str, Any] = {"timesteps": (51, 200), "taps": (ADM_TAP, "mid_block"), "ensemble": 2, "batch_size": 3}
    planned = plan(adm, source, **choice)
    cache = new_cache(tmp_path)
    extract_video(cache, adm, source, planned)
    before = tree(cache.root)
    # Of four units one lacks a frame, one lacks all, and two are complete: each pass holds what it always held.
    (planned.specs[51, "mid_block"].folder(cache.root) / "features/c/4/0/0/0").unlink()
    cache.remove(planned.specs[200, ADM_TAP].folder(cache.root))
    report = extract_video(cache, adm, source, planned)
    assert len(report.written) == 2
    assert tree(cache.root) == before


class _Scarce:
    """A backbone whose passes run out of memory when they hold too much, or at their n-th call."""

    def __init__(self, backbone: Backbone, most: int) -> None:
        self._backbone = backbone
        self.most = most
        self.sizes: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    def features(self, noisy: torch.Tensor, *args: Any, **options: Any) -> Any:
        self.sizes.append(len(noisy))
        if len(noisy) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self._backbone.features(noisy, *args, **options)


def tasks(backbone: Any, sources: dict[str, ArrayFrames], **changes: Any) -> list[VideoTask]:
    return [
        VideoTask(
            name=name,
            source=source,
            plan=lambda name=name, source=source: plan_video(
                backbone,
                source,
                dataset="d",
                video=name,
                timesteps=(51,),
                taps=(ADM_TAP,),
                settings=dataclasses.replace(SETTINGS, **changes),
            ),
        )
        for name, source in sources.items()
    ]


def run(
    cache: Cache, backbone: Any, sources: dict[str, ArrayFrames], **options: Any
) -> dict[str, ExtractionReport | TedError]:
    todo = tasks(backbone, sources, **options.pop("changes", {}))
    return {task.name: result for task, result in extract_videos(cache, backbone, todo, **options)}


def test_batches_are_halved_when_memory_runs_out(tmp_path: Path, adm: Backbone) -> None:
    sources = {"a": random_frames(9), "b": random_frames(5, seed=1)}
    expected = run(new_cache(tmp_path, "a"), adm, sources, changes={"batch_size": 2})
    scarce = _Scarce(adm, most=3)
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


def test_memory_that_runs_out_in_the_middle_loses_nothing(tmp_path: Path, adm: Backbone) -> None:
    source = random_frames(12)
    scarce = _Scarce(adm, most=99)

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
        results = run(new_cache(tmp_path), _Scarce(adm, most=0), {"v": random_frames(3)}, adapt=adapt)
        assert isinstance(results["v"], TedError)
        assert "--frame-size" in str(results["v"])


class _Torn(ArrayFrames):
    def read(self, index: int) -> np.ndarray:
        if index == 2:
            raise FrameError("frame 2 cannot be decoded")
        return super().read(index)


def test_a_video_that_fails_stops_no_other(tmp_path: Path, adm: Backbone) -> None:
    sources = {
        "a": random_frames(3),
        "torn": _Torn(random_frames(5).frames),
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
    counting = _Scarce(adm, most=99)
    results = run(new_cache(tmp_path), counting, {"v": random_frames(30)}, changes={"batch_size": 1})
    assert "disk is full" in str(results["v"])
    assert len(counting.sizes) < 30


def test_a_plan_with_a_wrong_option_ends_the_run(tmp_path: Path, adm: Backbone) -> None:
    def wrong() -> VideoPlan:
        raise ConfigError("no such tap")

    task = VideoTask(name="v", source=random_frames(3), plan=wrong)
    with pytest.raises(ConfigError, match="no such tap"):
        list(extract_videos(new_cache(tmp_path), adm, [task]))


def test_units_that_others_complete_between_look_and_claim_are_left_alone(
    tmp_path: Path, adm: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, cache = random_frames(2), new_cache(tmp_path)
    planned = plan(adm, source, timesteps=(51, 200))
    extract_video(cache, adm, source, planned)
    looks: list[UnitSpec] = []
    state = Cache.state

    def before(self: Cache, spec: UnitSpec) -> str:
        looks.append(spec)
        return "incomplete" if looks.count(spec) == 1 else state(self, spec)

    monkeypatch.setattr(Cache, "state", before)
    report = extract_video(cache, adm, source, planned)
    assert (len(report.written), len(report.skipped)) == (0, 2)
    assert not list(cache.root.rglob("claim.json"))


def test_a_damaged_unit_that_others_prepare_for_repair_is_resumed(
    tmp_path: Path, adm: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, cache = random_frames(3), new_cache(tmp_path)
    planned = plan(adm, source)
    extract_video(cache, adm, source, planned)
    expected = tree(cache.root)
    ((_, spec),) = planned.specs.items()
    (spec.folder(cache.root) / "features/c/1/0/0/0").unlink()
    demote(spec.folder(cache.root))
    monkeypatch.setattr(Cache, "state", lambda self, spec: "damaged")
    assert extract_video(cache, adm, source, planned).frames_computed > 0
    assert tree(cache.root) == expected


def test_videos_that_are_through_leave_memory(tmp_path: Path, adm: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[weakref.ref[VideoJob]] = []

    class Watched(VideoJob):
        def __init__(self, *args: Any, **options: Any) -> None:
            jobs.append(weakref.ref(self))
            super().__init__(*args, **options)

    monkeypatch.setattr(worker, "VideoJob", Watched)
    sources: dict[str, ArrayFrames] = {f"v{seed}": random_frames(1, seed=seed) for seed in range(12)}
    sources |= {f"torn{seed}": _Torn(random_frames(3, seed=seed).frames) for seed in range(6)}
    outcomes = extract_videos(new_cache(tmp_path), adm, tasks(adm, sources))
    for _ in sources:
        next(outcomes)
    gc.collect()
    assert len(jobs) == len(sources)
    assert sum(job() is not None for job in jobs) < 4
    outcomes.close()


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


def test_videos_before_one_that_fails_are_reported_before_it(
    tmp_path: Path, adm: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = UnitWriter.finish

    def slowly(self: UnitWriter, run: Any) -> None:
        time.sleep(0.2)
        finish(self, run)

    monkeypatch.setattr(UnitWriter, "finish", slowly)
    for bad in (_Torn(random_frames(5).frames), random_frames(0)):
        sources = {"a": random_frames(2), "bad": bad, "b": random_frames(2, seed=1)}
        cache = new_cache(tmp_path, f"cache{len(bad)}")
        assert list(run(cache, adm, sources, changes={"batch_size": 1}))[:2] == ["a", "bad"]
