"""Random paths follow the specified arrangement and motion."""

import numpy as np
import pytest

from ted.pipeline.synthetic.paths import draw_paths, gaps
from ted.pipeline.synthetic.scene import SceneSpec
from ted.store.errors import ConfigError

RADII = np.array([26.0, 38.0])


def paths(seed: int, **fields: object) -> np.ndarray:
    spec = SceneSpec(seed=seed, **fields)  # type: ignore[arg-type]
    return draw_paths(spec, RADII, np.random.default_rng(seed))


@pytest.mark.parametrize("motion", ["straight", "curved", "bouncing"])
@pytest.mark.parametrize("arrangement", ["near", "random", "crossing"])
def test_objects_stay_inside_and_begin_apart(arrangement: str, motion: str) -> None:
    for seed in range(5):
        drawn = paths(seed, arrangement=arrangement, motion=motion)
        assert drawn.shape == (2, 16, 2)
        assert (drawn >= RADII[:, None, None]).all()
        assert (drawn <= 255 - RADII[:, None, None]).all()
        between = gaps(drawn, RADII)[0]
        assert between[0] >= 3
        if arrangement == "near":
            assert between.min() >= 3
            assert np.median(between) <= 0.2 * 256
        if arrangement == "crossing":
            assert between.min() < 0
            assert between[-1] >= 3
            # They overlap where they meet; between two frames they may be even nearer.
            assert between.min() < -0.5 * RADII.min()


def test_gaps_of_hand_placed_objects() -> None:
    placed = np.array([[[0.0, 0.0], [0.0, 0.0]], [[30.0, 40.0], [10.0, 0.0]], [[0.0, 100.0], [0.0, 0.0]]])
    np.testing.assert_allclose(
        gaps(placed, np.array([10.0, 15.0, 20.0])), [[25, -15], [70, -30], [67.08 - 35, -25]], atol=0.01
    )


def test_kinds_of_motion() -> None:
    straight = np.diff(paths(1, motion="straight"), axis=1)
    np.testing.assert_allclose(straight, straight[:, :1].repeat(15, axis=1), atol=1e-9)
    curved = np.diff(paths(1, motion="curved"), axis=1)
    lengths = np.linalg.norm(curved, axis=-1)
    np.testing.assert_allclose(lengths, lengths[:, :1].repeat(15, axis=1), rtol=1e-9)  # arcs at a constant speed
    angles = np.unwrap(np.arctan2(curved[..., 1], curved[..., 0]), axis=1)
    turns = np.diff(angles, axis=1)
    np.testing.assert_allclose(turns, turns[:, :1].repeat(14, axis=1), atol=1e-9)
    assert np.abs(turns).min() > 1e-4
    bounced = 0
    for seed in range(8):
        steps = np.diff(paths(seed, motion="bouncing", frames=40), axis=1)
        bounced += int((np.abs(np.diff(np.sign(steps), axis=1)) == 2).any())
    assert bounced >= 6


def test_what_cannot_be_arranged_is_refused() -> None:
    spec = SceneSpec(frames=2, arrangement="crossing")
    with pytest.raises(ConfigError, match=r"found no paths of 2 objects .* 'crossing' in 2 frames"):
        draw_paths(spec, np.array([40.0, 40.0]), np.random.default_rng(0))
