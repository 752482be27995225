"""`track`: one call for one video, on synthetic frames with features that need no weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ted.pipeline import Tracks, track, tracking
from ted.pipeline.synthetic.rendering import Clip, render
from ted.pipeline.synthetic.scene import SceneSpec
from ted.store import open_cache
from ted.store.errors import ConfigError, FrameError, LabelError, TedError, UnitNotFoundError

from .conftest import Cli

RGB, POSITION = "rgb:0:stride4", "position:0:stride4"
COMMON: dict[str, Any] = {"frame_size": 96, "radius": 4, "top_k": 5, "temperature": 0.05}


@pytest.fixture(scope="module")
def clip() -> Clip:
    return render(SceneSpec(frames=6, size=(96, 128), radius=(16, 16), motion="bouncing", identical=False, seed=3))


@pytest.fixture(scope="module")
def frames(clip: Clip) -> Any:
    return np.stack(list(clip.frames))


@pytest.fixture(scope="module")
def folder(frames: Any, clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of frames, with the first mask beside it."""
    root = tmp_path_factory.mktemp("clip")
    (root / "walk").mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(root / "walk" / f"{index:05d}.png")
    Image.fromarray(clip.masks[0]).save(root / "mask.png")
    return root


@pytest.fixture(scope="module")
def tracks(frames: Any, clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Tracks:
    cache = tmp_path_factory.mktemp("track") / "cache"
    return track(frames, clip.masks[0], features={RGB: 1, POSITION: 0.5}, cache=cache, **COMMON)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be extracted."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a network runs")

    monkeypatch.setattr(tracking, "extract_features", fail)


def iou(one: Any, other: Any) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_objects_are_tracked(tracks: Tracks, clip: Clip) -> None:
    assert tracks.masks.shape == (6, 96, 128)
    assert tracks.masks.dtype == np.uint8
    assert set(np.unique(tracks.masks)) == {0, 1, 2}
    for number in (1, 2):
        assert iou(tracks.masks[0] == number, clip.masks[0] == number) > 0.9
        assert iou(tracks.masks[-1] == number, clip.masks[-1] == number) > 0.6


def test_a_path_and_an_array_give_what_the_commands_give(
    cli: Cli, folder: Path, clip: Clip, tmp_path: Path, no_network: None
) -> None:
    """Features that `ted extract` made are used, and `save` writes the files of `ted propagate`."""
    source = (folder / "walk", "--cache", tmp_path / "cache")
    assert cli("extract", *source, "--feature", RGB, "--frame-size", 96).code == 0
    options = ("--radius", 4, "--top-k", 5, "--temperature", 0.05, "--feature", f"{RGB}=1")
    mask = folder / "mask.png"
    assert cli("propagate", *source, "--mask", mask, *options, "--out", tmp_path / "commands").code == 0
    for given in (mask, clip.masks[0], {0: str(mask)}):
        found = track(folder / "walk", given, features=RGB, cache=tmp_path / "cache", **COMMON)
        saved = found.save(tmp_path / "call")
        assert saved == tmp_path / "call" / "walk"
        expected = tmp_path / "commands" / "walk"
        assert sorted(path.name for path in saved.iterdir()) == sorted(path.name for path in expected.iterdir())
        for path in expected.glob("*.png"):
            assert (saved / path.name).read_bytes() == path.read_bytes()
            assert np.array_equal(found.masks[int(path.stem)], np.asarray(Image.open(path)))
        assert json.loads((saved / "ted.json").read_text()) == json.loads((expected / "ted.json").read_text())
    assert "there before" in cli("propagate", *source, "--mask", mask, *options, "--out", tmp_path / "call").err


def test_retuning_runs_no_network(tracks: Tracks, frames: Any, clip: Clip, no_network: None) -> None:
    other = tracks.retune(temperature=1.0, top_k=1, alpha=0.2)
    assert (other.settings.temperature, other.settings.top_k, other.settings.radius) == (1.0, 1, 4)
    assert [weight for _, weight in other.parts] == [0.2, 0.8]
    assert tracks.settings.temperature == 0.05
    again = track(
        frames,
        clip.masks[0],
        features=[RGB, POSITION],
        alpha=0.2,
        cache=tracks.parts[0][0].folder.parents[5],
        **{**COMMON, "temperature": 1.0, "top_k": 1},
    )
    assert np.array_equal(other.masks, again.masks)
    assert not np.array_equal(other.retune(temperature=0.05, top_k=5).masks, other.masks)
    assert tracks._session.last_run.searched == 0, "candidates in memory serve another temperature"
    assert tracks._session.last_run.reused > 0
    assert not np.array_equal(other.masks, tracks.masks)


def test_features_of_other_frame_sizes_and_other_frames_are_extracted(frames: Any, clip: Clip, tmp_path: Path) -> None:
    def sizes() -> list[tuple[int, int]]:
        return sorted(unit.request.frame_size for unit in open_cache(tmp_path).units())

    first = track(frames, clip.masks[0], features=RGB, cache=tmp_path, **COMMON)
    assert sizes() == [(96, 128)]
    track(frames, clip.masks[0], features=RGB, cache=tmp_path, **{**COMMON, "frame_size": (48, 64)})
    assert sizes() == [(48, 64), (96, 128)]
    second = track(frames[:4], clip.masks[0], features=RGB, cache=tmp_path, **COMMON)
    assert second.video.name != first.video.name
    assert second.masks.shape == (4, 96, 128)


@pytest.mark.parametrize(
    ("options", "reused"),
    [
        ((), True),
        (("--fps", 8), False),
        (("--condition-on", "clip"), False),
        (("--no-temporal",), False),
        (("--overlap", 0), False),
        (("--ensemble", 2), False),
        (("--weights", "demo-video=random:3"), False),
    ],
)
def test_only_features_of_the_same_request_are_reused(
    cli: Cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[object, ...], reused: bool
) -> None:
    """Cached features that another option made are not used in place of those that the call would make."""
    cache, feature = tmp_path / "cache", "demo-video:500:up_blocks[1]"
    source = (folder / "walk", "--cache", cache, "--feature", feature, "--frame-size", 32)
    assert cli("extract", *source, *options).code == 0
    made: list[object] = []

    def extract(*arguments: Any, **_: object) -> Any:
        made.append(arguments[2])
        raise FrameError("it would be extracted")

    monkeypatch.setattr(tracking, "extract_features", extract)
    arguments: dict[str, Any] = {"features": feature, "cache": cache, "frame_size": 32}
    if reused:
        track(folder / "walk", folder / "mask.png", **arguments)
    else:
        with pytest.raises(FrameError):
            track(folder / "walk", folder / "mask.png", **arguments)
    assert bool(made) != reused


def test_missing_features_share_passes_and_a_digest_names_cached_ones(
    frames: Any, clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    whole = tracking.extract_features

    def extract(*arguments: Any, **options: Any) -> Any:
        done = whole(*arguments, **options)
        passes.append(len(done))
        return done

    monkeypatch.setattr(tracking, "extract_features", extract)
    common: dict[str, Any] = {"mask": clip.masks[0], "cache": tmp_path, **COMMON}
    both = track(frames, features=["rgb:0:stride8", "rgb:0:stride16"], **common)
    assert passes == [1]
    (fine, _), (coarse, _) = both.parts
    assert (fine.spec.tap, coarse.spec.tap) == ("stride8", "stride16")
    named = track(frames, features=f"rgb@{fine.request.digest()[:8]}:0:stride8", **common)
    assert named.parts[0][0].folder == fine.folder
    with pytest.raises(UnitNotFoundError):
        track(frames, features="rgb@00000000:0:stride8", **common)
    assert passes == [1]


def test_masks_of_later_frames(frames: Any, clip: Clip, tmp_path: Path) -> None:
    both = track(
        frames,
        {1: np.where(clip.masks[1] == 1, 1, 0), 3: np.where(clip.masks[3] == 2, 2, 0)},
        features={RGB: 1, POSITION: 1},
        cache=tmp_path,
        **COMMON,
    )
    assert iou(both.masks[0] == 1, clip.masks[0] == 1) > 0.6, "backward, too"
    assert iou(both.masks[5] == 2, clip.masks[5] == 2) > 0.6
    assert set(np.unique(both.masks[2])) == {0, 1}


def test_a_boolean_mask_is_one_object(frames: Any, clip: Clip, tmp_path: Path) -> None:
    one = track(frames, clip.masks[0] > 0, features=RGB, cache=tmp_path, **COMMON)
    assert set(np.unique(one.masks)) == {0, 1}


def test_the_overlay_shows_every_frame(tracks: Tracks, tmp_path: Path) -> None:
    from ted.extract.frames import VideoFrames

    path = tracks.overlay(tmp_path / "walk.mp4")
    assert path == tmp_path / "walk.mp4"
    movie = VideoFrames(path)
    assert len(movie) == 6
    assert movie.size == (96, 128)
    frame = movie.read(5).astype(int)
    plain = tracks.video.frames.read(5).astype(int)
    difference = np.abs(frame - plain).mean(-1)
    inside = tracks.masks[5] > 0
    assert difference[inside].mean() > 3 * difference[~inside].mean()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"features": "rgb"}, ConfigError, "is not BACKBONE:TIMESTEP:TAP"),
        ({"features": []}, ConfigError, "name a feature"),
        ({"alpha": 0.5}, ConfigError, "alpha weighs two features, but there is 1"),
        ({"features": {RGB: 1, POSITION: 1}, "alpha": 0.5}, ConfigError, "either alpha or a weight"),
        ({"temprature": 1}, ConfigError, "there is no setting 'temprature'"),
        ({"top_k": 0}, ConfigError, "top_k must be"),
        ({"features": "rgb:0:nothing"}, ConfigError, "unknown tap .nothing. for backbone .rgb."),
        ({"mask": np.zeros((96, 128), np.uint8)}, LabelError, "no object"),
        ({"mask": np.ones((10, 10), np.uint8)}, LabelError, r"the mask is \(10, 10\), but the frames are \(96, 128\)"),
        ({"mask": {9: np.ones((96, 128), np.uint8)}}, LabelError, "there is a mask of frame 9"),
        ({"mask": {}}, LabelError, "no mask is given"),
        ({"video": np.zeros((3, 4, 4), np.uint8)}, FrameError, r"frames are \(frame, y, x, 3\)"),
        ({"video": "nothing-here.mp4"}, TedError, "nothing-here"),
    ],
)
def test_what_makes_no_sense_is_an_error(
    frames: Any, clip: Clip, tmp_path: Path, changes: dict[str, Any], error: type[TedError], message: str
) -> None:
    arguments = {"video": frames, "mask": clip.masks[0], "features": RGB, "cache": tmp_path, **COMMON, **changes}
    with pytest.raises(error, match=message):
        track(arguments.pop("video"), arguments.pop("mask"), **arguments)
