"""Rendered videos agree with their ground truth."""

import colorsys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from ted.pipeline.synthetic.captions import HUES, caption
from ted.pipeline.synthetic.rendering import Clip, render
from ted.pipeline.synthetic.scene import SceneSpec, Texture
from ted.pipeline.synthetic.statistics import clip_statistics
from ted.store.errors import ConfigError

SMALL = SceneSpec(size=(96, 128), radius=(10.0, 14.0), arrangement="crossing", motion="straight", seed=3)


def discs(clip: Clip) -> np.ndarray:
    """Return whether each pixel lies inside an object's outline, visible or not: (object, frame, y, x)."""
    y, x = np.indices(clip.masks.shape[1:])
    distance = np.hypot(x - clip.centres[..., 0, None, None], y - clip.centres[..., 1, None, None])
    return distance <= clip.radii[:, None, None, None]


@pytest.mark.parametrize("seed", range(3))
def test_masks_are_discs_and_nearer_ones_hide_others(seed: int) -> None:
    clip = render(replace(SMALL, seed=seed, identical=False))
    inside = discs(clip)
    assert ((clip.masks > 0) == inside.any(axis=0)).mean() > 0.9999
    both = inside.all(axis=0)
    assert both.any()
    seen = clip.masks[both]
    nearer = int(np.bincount(seen).argmax())
    assert (seen == nearer).mean() > 0.999  # the same one in front in all frames
    for number in (1, 2):
        alone = inside[number - 1] & ~inside[2 - number]
        assert (clip.masks[alone] == number).mean() > 0.999


@pytest.mark.parametrize("shape", ["box", "diamond"])
def test_other_outlines_have_the_area_of_the_ball(shape: str) -> None:
    clip = render(replace(SMALL, shape=shape, arrangement="near", radius=(12.0, 12.0)))  # type: ignore[arg-type]
    areas = [(clip.masks == number).sum(axis=(1, 2)) for number in (1, 2)]
    np.testing.assert_allclose(areas, np.pi * 144, rtol=0.08)
    mask = clip.masks[0] == 1
    width = np.flatnonzero(mask.any(axis=0)).size
    side = 12 * np.sqrt(np.pi)
    assert width == pytest.approx(side if shape == "box" else side * np.sqrt(2), abs=2)


def test_identical_objects_look_the_same_and_distinct_ones_do_not() -> None:
    def colours(clip: Clip) -> list[np.ndarray]:
        return [clip.frames[0][clip.masks[0] == number].mean(axis=0) for number in (1, 2)]

    for texture in ("plain", "mottled", "patched"):
        same = render(replace(SMALL, texture=texture))  # type: ignore[arg-type]
        assert same.radii[0] == same.radii[1]
        np.testing.assert_allclose(*colours(same), atol=4)
        other = render(replace(SMALL, texture=texture, identical=False))  # type: ignore[arg-type]
        assert np.abs(np.subtract(*colours(other))).max() > 25


def test_hue_can_be_the_heading() -> None:
    """Hues equal the angles of the paths; identical objects have everything else in common."""
    clip = render(replace(SMALL, hue="heading", texture="plain", objects=2))
    assert clip.radii[0] == clip.radii[1]
    for number in (1, 2):
        (x0, y0), (x1, y1) = clip.centres[number - 1, :2]
        red, green, blue = clip.frames[0][clip.masks[0] == number].mean(axis=0) / 255
        seen = colorsys.rgb_to_hsv(red, green, blue)[0] * 360
        turned = (seen - np.degrees(np.arctan2(y1 - y0, x1 - x0)) + 180) % 360 - 180
        assert abs(turned) < 8, (number, turned)
    drawn = render(replace(SMALL, texture="plain", objects=2))
    np.testing.assert_array_equal(clip.centres, drawn.centres)
    np.testing.assert_array_equal(clip.masks, drawn.masks)


def test_a_plain_background_has_one_colour() -> None:
    clip = render(replace(SMALL, ground="plain"))
    outside = clip.frames[0][clip.masks[0] == 0].astype(int)
    ring = np.median(outside, axis=0)
    assert np.mean(np.abs(outside - ring).max(axis=-1) <= 1) > 0.95  # all but the smooth edges
    assert (render(replace(SMALL, ground="plain")).frames[0] == clip.frames[0]).all()


def test_texture_moves_with_its_object() -> None:
    # At a whole number of pixels per frame, the picture of the object is only shifted.
    clip = render(SceneSpec(size=(96, 128), radius=(14.0, 14.0), objects=1, texture="patched", seed=1))
    first, last = (np.rint(clip.centres[0, frame]).astype(int) for frame in (0, 15))
    cut = [clip.frames[frame][y - 6 : y + 7, x - 6 : x + 7].astype(int) for frame, (x, y) in ((0, first), (15, last))]
    assert np.abs(cut[0] - cut[1]).mean() < 12
    assert np.abs(cut[0] - cut[0].mean(axis=(0, 1))).mean() > 20


def test_points_are_on_their_objects_and_visible_where_these_are_seen() -> None:
    clip = render(SMALL)
    np.testing.assert_array_equal(clip.points[:, 0], clip.centres)
    offsets = clip.points - clip.centres[:, None]
    np.testing.assert_allclose(offsets, offsets[:, :, :1].repeat(16, axis=2), atol=1e-9)
    assert np.linalg.norm(offsets, axis=-1).max() <= 0.8 * clip.radii.max() + 1e-9
    hidden = 0
    for number, points in enumerate(clip.points, start=1):
        for place, seen in zip(points, clip.visible[number - 1], strict=True):
            x, y = np.rint(place).astype(int).T
            at = clip.masks[np.arange(16), y, x]
            np.testing.assert_array_equal(seen, at == number)
            hidden += int((~seen).sum())
    assert hidden


def test_background_passes_by_or_stays() -> None:
    still = render(replace(SMALL, ground="camouflage"))
    touched = (still.masks > 0).any(axis=0).astype(np.uint8)
    free = cv2.dilate(touched, np.ones((5, 5), dtype=np.uint8)) == 0  # edges are smooth
    assert (still.frames[:, free] == still.frames[0, free]).all()
    moving = render(replace(SMALL, ground="camouflage", background="moving"))
    np.testing.assert_array_equal(moving.masks, still.masks)
    assert (moving.frames[-1][free] != moving.frames[0][free]).mean() > 0.1


def test_looks_do_not_change_paths_and_equal_specifications_give_equal_videos() -> None:
    clip = render(SMALL)
    np.testing.assert_array_equal(render(SMALL).frames, clip.frames)
    assert (render(replace(SMALL, seed=4)).frames != clip.frames).any()
    others = replace(SMALL, texture="patched", ground="camouflage")
    np.testing.assert_array_equal(render(others).masks, clip.masks)


def test_camouflage_is_in_the_objects_colours() -> None:
    spec = SceneSpec(identical=False, texture="patched", ground="camouflage", seed=2)
    clip = render(spec)
    outside, counts = np.unique(clip.frames[0][clip.masks[0] == 0], axis=0, return_counts=True)
    patches = outside[counts > 500].astype(float)  # not the edges of objects
    coloured = patches[np.ptp(patches, axis=1) > 10]
    assert len(patches) == 9
    assert len(coloured) == 6  # three of each object
    inside = clip.frames[0][clip.masks[0] > 0].astype(float)
    chroma = inside / inside.sum(axis=1, keepdims=True)
    for colour in coloured:
        assert np.abs(chroma - colour / colour.sum()).max(axis=1).min() < 0.02
    muted = render(replace(spec, ground="muted"))
    assert (
        np.ptp(muted.frames[0][muted.masks[0] == 0].astype(float), axis=1).max() < 100 < np.ptp(coloured, axis=1).max()
    )


def test_statistics_of_a_video_made_by_hand() -> None:
    masks = np.zeros((4, 40, 60), dtype=np.uint8)
    masks[:, 10:20, 5:15] = 1
    for frame, left in enumerate((40, 30, 20, 12)):  # the last overlaps the first object, which is in front
        masks[frame, 10:20, left : left + 10] = np.where(masks[frame, 10:20, left : left + 10] == 1, 1, 2)
    centres = np.stack(
        [np.full((4, 2), 9.5), np.stack([np.array([44.5, 34.5, 24.5, 16.5]), np.full(4, 14.5)], axis=-1)]
    )
    points = np.zeros((2, 1, 4, 2))
    clip = Clip(
        frames=np.zeros((4, 40, 60, 3), dtype=np.uint8),
        masks=masks,
        centres=centres,
        radii=np.array([5.0, 5.0]),
        points=points,
        visible=points[..., 0] > 0,
    )
    # Columns between the objects in the frames 1 to 3: 16, 6 and 1.
    assert clip_statistics(clip, 10).in_window == pytest.approx(2 / 3)
    assert clip_statistics(clip, 5).in_window == pytest.approx(1 / 3)
    measured = clip_statistics(clip, 16)
    assert measured.in_window == 1
    assert measured.overlapping == pytest.approx(1 / 3)  # by their outlines
    assert measured.least_visible == pytest.approx(0.7)
    assert measured.speed == pytest.approx((0 + 28 / 3) / 2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frames": 0}, "at least one frame"),
        ({"objects": 0}, "1 to 255 objects"),
        ({"radius": (60.0, 50.0)}, "do not fit"),
        ({"size": (60, 60)}, "do not fit"),
        ({"hue": "mood"}, "unknown hue 'mood'; there are: drawn, heading"),
        ({"texture": "wool"}, "unknown texture 'wool'; there are: plain, mottled, patched"),
    ],
)
def test_wrong_specifications_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SceneSpec(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("texture", ["plain", "patched"])
def test_names_say_colour_and_shape(texture: Texture) -> None:
    shapes = set()
    for seed in range(6):
        spec = SceneSpec(
            size=(64, 64),
            frames=1,
            radius=(6, 7),
            identical=False,
            hue_step=120,
            shape="mixed",
            texture=texture,
            seed=seed,
        )
        clip = render(spec)
        for number, name in enumerate(clip.names, start=1):
            first, shape = name.split()
            shapes.add(shape)
            inside = clip.masks[0] == number
            area, corners = inside.sum(), np.ptp(np.nonzero(inside), axis=1).min() ** 2
            assert abs(area / corners - {"ball": 0.785, "box": 1, "diamond": 0.5}[shape]) < 0.25
            red, green, blue = clip.frames[0][inside].mean(0) / 255
            hue = 360 * colorsys.rgb_to_hsv(red, green, blue)[0]
            assert first == "patched" if texture == "patched" else abs((hue - HUES[first] + 180) % 360 - 180) < 40
    assert shapes == {"ball", "box", "diamond"}
    same = render(SceneSpec(size=(64, 64), frames=1, radius=(6, 7), objects=2))
    assert len(same.names) == 2
    assert len(set(same.names)) == 1
    assert caption(["red ball", "blue box"], "muted") == "red ball and blue box on muted ground"
