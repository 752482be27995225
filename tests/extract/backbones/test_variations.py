"""The paper's variations, from frames to cache: timesteps, taps, draws, clips, temporal layers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ted.extract.backbones import load_backbone
from ted.extract.backbones.base import Backbone
from ted.extract.features import run_pass
from ted.extract.frames import FrameSize
from ted.extract.passes import Item
from ted.extract.plan import VideoPlan, plan_video
from ted.extract.settings import BackboneOptions, ExtractionSettings
from ted.extract.worker import extract_video
from ted.store import Unit, open_cache
from ted.store.errors import ConfigError
from tests.extract.conftest import ArrayFrames, features_of, load_clips, make_plan, random_frames

CPU = torch.device("cpu")
TAPS = ("up_blocks[1]", "up_blocks[2]")
SIZE = FrameSize(short_side=64)
Features = dict[tuple[int, str], NDArray[np.float32]]


@pytest.fixture
def load(weights: dict[str, Path]) -> Callable[..., Backbone]:
    """Load a video backbone whose clips are four frames long."""

    def load_with(name: str = "i2vgen-xl", **options: Any) -> Backbone:
        backbone = load_backbone(
            name, weights[name], device=CPU, dtype=torch.float32, options=BackboneOptions(**options)
        )
        backbone.clip_length = 4
        return backbone

    return load_with


def plan(
    backbone: Backbone,
    source: ArrayFrames,
    timesteps: tuple[int, ...] = (300,),
    taps: tuple[str, ...] = TAPS[1:],
    **settings: Any,
) -> VideoPlan:
    how = ExtractionSettings(**{"frame_size": SIZE, "overlap": 1, **settings})
    return plan_video(backbone, source, dataset="d", video="v", timesteps=timesteps, taps=taps, settings=how)


def extract(root: Path, backbone: Backbone, source: ArrayFrames, **choice: Any) -> Features:
    cache, planned = open_cache(root, create=True), plan(backbone, source, **choice)
    extract_video(cache, backbone, source, planned)
    return {
        key: Unit(spec.folder(cache.root)).features.compute().astype(np.float32) for key, spec in planned.specs.items()
    }


def change(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def test_lists_of_timesteps_and_taps_are_the_runs_one_by_one(tmp_path: Path, load: Callable[..., Backbone]) -> None:
    backbone, source = load(), random_frames(6)
    together = extract(tmp_path / "all", backbone, source, timesteps=(900, 300), taps=TAPS)
    assert list(together) == [(timestep, tap) for timestep in (900, 300) for tap in TAPS]
    for timestep, tap in together:
        alone = extract(tmp_path / f"{timestep}{tap}", backbone, source, timesteps=(timestep,), taps=(tap,))
        np.testing.assert_array_equal(alone[timestep, tap], together[timestep, tap])
    assert change(together[300, TAPS[1]], together[900, TAPS[1]]) > 0.01


def test_an_ensemble_is_the_mean_of_its_draws(tmp_path: Path, load: Callable[..., Backbone]) -> None:
    backbone, source = load(), random_frames(4)
    found = extract(tmp_path, backbone, source, ensemble=3, seed=2)[300, TAPS[1]]
    sums = [
        features_of(backbone, source, (64, 64), [300], TAPS[1:], seed=2, draws=draws)[300, TAPS[1]] * draws
        for draws in (1, 2, 3)
    ]
    draws = [sums[0], sums[1] - sums[0], sums[2] - sums[1]]
    expected = (sum(draws) / 3).permute(0, 2, 3, 1).numpy()  # type: ignore[union-attr,index]
    assert change(found, expected) < 1e-3
    for draw in draws:
        assert change(draw.permute(0, 2, 3, 1).numpy(), expected) > 0.01


def test_overlap_moves_the_windows(tmp_path: Path, load: Callable[..., Backbone]) -> None:
    """With 6 frames, windows begin at 0 and 2 for overlaps 0 to 2; with 8 frames, at 0 and 4, or at 0, 3 and 4."""
    backbone = load()
    short, long = random_frames(6), random_frames(8)
    key = (300, TAPS[1])
    none, one = (extract(tmp_path / f"s{n}", backbone, short, overlap=n)[key] for n in (0, 1))
    np.testing.assert_array_equal(none, one)
    none, one = (extract(tmp_path / f"l{n}", backbone, long, overlap=n)[key] for n in (0, 1))
    np.testing.assert_array_equal(none[:4], one[:4])
    assert min(change(one[frame], none[frame]) for frame in (4, 5, 6)) > 1e-3  # the window that begins at 3


def test_the_overlap_rule_is_planned_and_recorded(load: Callable[..., Backbone], adm: Backbone) -> None:
    backbone, source = load(), random_frames(7)
    first, mean = (plan(backbone, source, overlap_rule=rule) for rule in ("first", "mean"))
    assert [list(clip.kept_frames) for clip in first.clips] == [[0, 1, 2, 3], [4, 5, 6]]
    assert [list(clip.kept_frames) for clip in mean.clips] == [[0, 1, 2, 3], [3, 4, 5, 6]]
    one, other = (next(iter(planned.specs.values())).request for planned in (first, mean))
    assert (one.overlap_rule, other.overlap_rule) == ("first", "mean")
    assert one.digest() != other.digest()
    image = [plan(adm, source, taps=("output_blocks[7]",), overlap_rule=rule) for rule in ("first", "mean")]
    assert image[0].specs == image[1].specs
    with pytest.raises(ConfigError, match="first or mean"):
        plan(backbone, source, overlap_rule="last")


@pytest.mark.parametrize("name", ["i2vgen-xl", "svd"])
def test_without_temporal_layers_a_frame_depends_on_itself_and_the_condition(
    name: str, tmp_path: Path, load: Callable[..., Backbone]
) -> None:
    source, other = random_frames(4), random_frames(4)
    other.frames[2] = 255 - other.frames[2]
    changes = {}
    for temporal in (True, False):
        backbone = load(name, temporal=temporal)
        before, after = (
            extract(tmp_path / f"{temporal}{i}", backbone, frames)[300, TAPS[1]]
            for i, frames in enumerate((source, other))
        )
        changes[temporal] = [change(after[frame], before[frame]) for frame in range(4)]
    assert changes[False][2] > 1e-2
    assert [changes[False][frame] for frame in (0, 1, 3)] == [0, 0, 0]
    assert min(changes[True]) > 1e-3


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_frame_of_two_windows_is_their_mean(tmp_path: Path, load: Callable[..., Backbone], batch_size: int) -> None:
    """With 7 frames, windows begin at 0, 2 and 3: frame 3 counts three times, its neighbours twice."""
    backbone, source = load(), random_frames(7)
    key = (300, TAPS[1])
    found = extract(tmp_path / "mean", backbone, source, overlap_rule="mean", overlap=2, batch_size=batch_size)[key]
    planned = make_plan(backbone, source, (64, 64), [300], [TAPS[1]], overlap=2, overlap_rule="mean")
    clips = planned.clips
    assert [clip.start for clip in clips] == [0, 2, 3]
    loaded = load_clips(backbone, source, planned, range(3))
    windows: dict[int, list[NDArray[np.float32]]] = {}
    for index, clip in enumerate(clips):
        item = Item(clip=index, timestep=300, draw=0)
        (values,) = run_pass(backbone, [item], loaded, [TAPS[1]])[TAPS[1]]
        for frame, value in zip(clip.frames, values, strict=True):
            windows.setdefault(frame, []).append(value.permute(1, 2, 0).numpy())
    assert [len(windows[frame]) for frame in range(7)] == [1, 1, 2, 3, 2, 2, 1]
    for frame in range(7):
        assert change(found[frame], np.mean(windows[frame], axis=0)) < 1e-3  # float16 rounding
        for window in windows[frame] if len(windows[frame]) > 1 else ():
            assert change(found[frame], window) > 1e-2


def test_an_interrupted_mean_resumes_to_the_same_bytes(tmp_path: Path, load: Callable[..., Backbone]) -> None:
    backbone, source = load(), random_frames(9)
    planned = plan(backbone, source, overlap_rule="mean", overlap=2)
    whole, torn = (open_cache(tmp_path / name, create=True) for name in ("whole", "torn"))
    extract_video(whole, backbone, source, planned)
    extract_video(torn, backbone, source, planned)
    for spec in planned.specs.values():
        (spec.folder(torn.root) / "features/c/5/0/0/0").unlink()  # of the middle: two windows are computed again
    report = extract_video(torn, backbone, source, planned)
    assert 1 <= report.frames_computed < 9
    for spec in planned.specs.values():
        one, other = (Unit(spec.folder(cache.root)).content_hash for cache in (whole, torn))
        assert one == other
