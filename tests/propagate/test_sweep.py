"""A sweep of many settings equals separate runs, bit for bit."""

import itertools
from typing import Any

import pytest
import torch

from ted.propagate import Fusion, PropagationSettings, WeightedSettings, part_weights, plan_passes, propagate, sweep
from ted.store.errors import ConfigError, LabelError
from tests.propagate.test_engine import first_label, smooth
from tests.propagate.volumes import Counting, volume

GRID, FRAMES = (8, 11), 7


def weighted(alpha: float, **values: Any) -> WeightedSettings:
    return WeightedSettings(weights=part_weights(alpha), settings=PropagationSettings(**values))


def grid_of_settings(**lists: list[float]) -> list[WeightedSettings]:
    axes = {"alpha": [0.4], "temperature": [0.2], "top_k": [5], "radius": [3], "context": [4], **lists}
    return [weighted(**dict(zip(axes, values, strict=True))) for values in itertools.product(*axes.values())]


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_every_setting_equals_a_run_of_its_own(every: int) -> None:
    """Sweep all settings at once; by default, compare every fifth one, which covers each value of each parameter."""
    video, image = smooth(FRAMES, GRID, 16, seed=1), smooth(FRAMES, GRID, 7, seed=2)
    settings = grid_of_settings(
        alpha=[0.0, 0.3, 0.5, 1.0], temperature=[0.05, 0.2], top_k=[1, 4, 7], radius=[2, 4], context=[0, 2, 28]
    )
    settings += [weighted(0.3, radius=2, top_k=3, context=2, renormalize=False)]
    found = {
        (item, frame): label
        for item, frame, label in sweep([volume(video), volume(image)], first_label(GRID), settings)
    }
    assert len(found) == len(settings) * (FRAMES - 1)
    for item in settings[::-every]:
        parts = list(zip((volume(video), volume(image)), item.weights, strict=True))
        for frame, label in propagate(parts, first_label(GRID), item.settings):
            if frame:
                assert torch.equal(found[item, frame], label), (item, frame)


def test_features_are_read_once_for_each_radius() -> None:
    video, image = Counting(smooth(FRAMES, GRID, 6, seed=3), 2), Counting(smooth(FRAMES, GRID, 5, seed=4), 3)
    settings = grid_of_settings(alpha=[0.2, 0.4, 0.6], temperature=[0.1, 0.3], top_k=[2, 5], context=[1, 4])
    list(sweep([video, image], first_label(GRID), settings))
    assert video.reads == image.reads == list(range(FRAMES))
    list(sweep([video, image], first_label(GRID), grid_of_settings(radius=[1, 2], alpha=[0.5, 1.0])))
    assert video.reads == 3 * list(range(FRAMES))


def test_features_that_no_setting_weighs_are_not_read() -> None:
    video, image = Counting(smooth(FRAMES, GRID, 6, seed=3), 2), Counting(smooth(FRAMES, GRID, 5, seed=4), 2)
    list(sweep([video, image], first_label(GRID), grid_of_settings(alpha=[1.0], top_k=[2, 3])))
    assert video.reads == list(range(FRAMES))
    assert image.reads == []


def test_where_grids_differ_the_ends_of_alpha_go_by_themselves() -> None:
    settings = grid_of_settings(alpha=[0.0, 0.5, 0.7, 1.0], temperature=[0.1, 0.2])
    together = plan_passes(settings, [GRID, GRID])
    assert [shared.parts for shared in together] == [(0, 1)]
    assert len(together[0].search.fusions) == 4
    apart = plan_passes(settings, [GRID, (4, 6)])
    assert [shared.parts for shared in apart] == [(1,), (0, 1), (0,)]
    assert sorted(map(len, (shared.settings for shared in apart))) == [2, 2, 4]
    assert {item for shared in apart for item in shared.settings} == set(settings)
    fine, coarse = smooth(FRAMES, GRID, 6, seed=5), smooth(FRAMES, (4, 6), 5, seed=6)
    with pytest.raises(ConfigError, match="one by one"):
        list(sweep([volume(fine), volume(coarse)], first_label(GRID), settings))
    inner = [item for item in settings if all(item.weights)]
    expected = {}
    for item in inner:
        parts = list(zip((volume(fine), volume(coarse)), item.weights, strict=True))
        expected |= {
            (item, frame): label for frame, label in propagate(parts, first_label(GRID), item.settings) if frame
        }
    found = list(sweep([volume(fine), volume(coarse)], first_label(GRID), inner))
    assert len(found) == len(expected)
    assert all(torch.equal(expected[item, frame], label) for item, frame, label in found)


def test_a_label_of_another_grid_is_refused() -> None:
    values = smooth(3, GRID, 5, seed=7)
    with pytest.raises(LabelError, match="grid"):
        list(sweep([volume(values), volume(values)], first_label((5, 5)), grid_of_settings()))


def test_repeated_settings_count_once() -> None:
    (shared,) = plan_passes(grid_of_settings(alpha=[0.4, 0.4], top_k=[3, 9, 3]), [GRID, GRID])
    assert len(shared.settings) == 2
    assert shared.search.top_k == 9
    assert shared.search.fusions == (Fusion(weights=(0.4, 0.6), context=4),)
