"""The synthetic video of two balls."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ted.pipeline.datasets.masks_io import read_mask
from ted.pipeline.datasets.sources import Source, open_sources
from ted.pipeline.synth.balls import BallsSpec, render, write_davis
from ted.store.errors import ConfigError

SMALL = BallsSpec(frames=12, size=(72, 96), radius=12)


def centre(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    return np.argwhere(mask).mean(axis=0)


@pytest.mark.parametrize("size", [(72, 96), (96, 72), (80, 80)])
@pytest.mark.parametrize("seed", range(4))
def test_both_balls_are_whole_and_apart_in_the_first_frame(size: tuple[int, int], seed: int) -> None:
    frames, masks = render(replace(SMALL, size=size, seed=seed))
    assert frames.shape == (12, *size, 3)
    assert frames.dtype == masks.dtype == np.uint8
    assert masks.shape == (12, *size)
    assert set(np.unique(masks)) == {0, 1, 2}
    for ball in (1, 2):
        assert (masks[0] == ball).sum() == pytest.approx(np.pi * 12**2, rel=0.03)
        assert not (masks == ball)[:, [0, -1]].any()
        assert not (masks == ball)[..., [0, -1]].any()


def test_masks_are_discs_and_the_nearer_ball_hides_the_other() -> None:
    hidden = 0
    for seed in range(5):
        _, masks = render(replace(SMALL, seed=seed, frames=24))
        area = np.array([[(mask == ball).sum() for ball in (1, 2)] for mask in masks])
        near = int(np.argmax(area.min(axis=0)))
        # The nearer ball is always whole: every pixel within its radius, and no other.
        for mask in masks:
            points = mask == near + 1
            distance = np.linalg.norm(np.indices(mask.shape).transpose(1, 2, 0) - centre(points), axis=-1)
            assert distance[points].max() < 12.6
            assert distance[~points].min() > 11.4
        hidden += bool(area[:, 1 - near].min() < 0.5 * np.pi * 12**2)
    assert hidden >= 3  # in most videos the farther one is mostly hidden at some time


@pytest.mark.parametrize("seed", range(4))
def test_masks_show_the_ball_that_the_frame_shows(seed: int) -> None:
    frames, masks = render(replace(SMALL, seed=seed, frames=24, identical=False))
    chroma = frames / frames.sum(axis=-1, keepdims=True)
    first, second = (chroma[0][masks[0] == ball].mean(axis=0) for ball in (1, 2))
    towards_first = (chroma - (first + second) / 2) @ (first - second) > 0
    for shown, mask in zip(towards_first, masks, strict=True):
        for ball in (1, 2):
            points = mask == ball
            if points.sum() > 60:
                assert (shown[points] == (ball == 1)).mean() > 0.9


def test_motion_is_smooth_and_stays_inside() -> None:
    _, masks = render(BallsSpec(frames=60, size=(72, 96), radius=8, seed=2))
    area = [(masks == ball).sum(axis=(1, 2)) for ball in (1, 2)]
    near = int(np.argmax([a.min() for a in area])) + 1
    path = np.array([centre(mask == near) for mask in masks])
    steps = np.diff(path, axis=0)
    speeds = np.linalg.norm(steps, axis=1)
    assert 0.5 < np.median(speeds) < 6
    assert speeds.max() < np.median(speeds) + 0.6
    assert (np.sign(np.round(steps, 1)).min(axis=0) < 0).any()
    bounces = np.count_nonzero(np.diff(np.sign(np.round(steps, 1)), axis=0))
    assert 1 <= bounces <= 10


@pytest.mark.parametrize("identical", [True, False])
def test_balls_look_alike_when_they_should(identical: bool) -> None:
    spec = replace(SMALL, identical=identical, size=(72, 120))
    frames, masks = render(spec)
    colours = [frames[0][masks[0] == ball].mean(axis=0) for ball in (1, 2)]
    difference = np.abs(colours[0] - colours[1]).max()
    assert (difference < 4) == identical
    if not identical:
        assert difference > 60
    # Both stand out from the background.
    outside = frames[0][masks[0] == 0].mean(axis=0)
    assert all(np.abs(colour - outside).max() > 20 for colour in colours)


def test_background_is_textured_and_does_not_move() -> None:
    frames, masks = render(SMALL)
    still = (masks == 0).all(axis=0)
    # Edges of balls are smooth over a pixel around the mask: look further away.
    still = ~np.asarray([np.roll(~still, shift, axis=axis) for axis in (0, 1) for shift in (-2, -1, 0, 1, 2)]).any(
        axis=0
    )
    assert still.any()
    assert (frames[:, still] == frames[0, still]).all()
    assert frames[0, still].std() > 8


def test_videos_are_a_function_of_their_spec() -> None:
    frames, masks = render(SMALL)
    again = render(SMALL)
    np.testing.assert_array_equal(frames, again[0])
    np.testing.assert_array_equal(masks, again[1])
    assert (render(replace(SMALL, seed=1))[0] != frames).any()


@pytest.mark.parametrize("change", [{"frames": 0}, {"radius": 0}, {"radius": 40}, {"size": (20, 96)}, {"seed": -1}])
def test_videos_that_cannot_be_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="balls"):
        replace(SMALL, **change)


def test_one_frame() -> None:
    assert render(replace(SMALL, frames=1))[0].shape == (1, 72, 96, 3)


def test_written_as_davis_and_read_back(tmp_path: Path) -> None:
    rendered = {name: render(replace(SMALL, seed=seed)) for seed, name in enumerate(["balls 1", "balls.2"])}
    for name in [*rendered, "balls 1"]:
        write_davis(tmp_path, name, *rendered[name])
    assert (tmp_path / "ImageSets/2017/val.txt").read_text() == "balls 1\nballs.2\n"
    videos = open_sources([Source(path=tmp_path)])
    assert [video.name for video in videos] == list(rendered)
    for video in videos:
        frames, masks = rendered[video.name]
        assert list(video.annotations()) == [f"{i:05d}" for i in range(12)]
        for index, path in enumerate(video.annotations().values()):
            np.testing.assert_array_equal(read_mask(path, video.frames.size), masks[index])
            # JPEG of quality 95: close, and nothing else.
            assert np.abs(video.frames.read(index).astype(float) - frames[index]).mean() < 3


def test_unusable_names_and_arrays_are_refused(tmp_path: Path) -> None:
    frames, masks = render(SMALL)
    for name in ("..", "a/b", ""):
        with pytest.raises(ConfigError, match="name of a sequence"):
            write_davis(tmp_path, name, frames, masks)
    with pytest.raises(ConfigError, match="do not fit together"):
        write_davis(tmp_path, "a", frames[:-1], masks)
    assert not list(tmp_path.iterdir())
