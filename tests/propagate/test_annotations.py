"""Annotations in any frames: objects that join late, corrections, and frames before the first annotation."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ted.propagate import (
    AnnotatedLabel,
    Fusion,
    PropagationSettings,
    SearchSpec,
    TrackingSession,
    WeightedSettings,
    cache_affinities,
    find_cached,
    part_weights,
    propagate,
    search,
    sweep,
)
from ted.propagate.context import frame_context, propagation_order
from ted.store import open_cache
from ted.store.errors import ConfigError, LabelError, SchemaError
from tests.propagate.test_candidate_search import Apart
from tests.propagate.test_engine import first_label, smooth, two_parts
from tests.propagate.units import write_unit
from tests.propagate.volumes import Counting, volume
from tests.references import dense_propagation as dense

GRID, FRAMES = (6, 8), 12
SETTINGS = PropagationSettings(top_k=5, radius=3, context=3, temperature=0.1)


def given_objects(objects: dict[int, list[int]]) -> dict[int, tuple[npt.NDArray[np.float32], list[int]]]:
    """Random one-hot labels by frame of the listed objects (of three); cells of the others are background."""
    generator, labels = np.random.default_rng(5), {}
    for frame, known in objects.items():
        owners = generator.choice([0, *known], GRID)
        labels[frame] = np.stack([owners == channel for channel in range(4)]).astype(np.float32), known
    return labels


def as_labels(given: dict[int, tuple[npt.NDArray[np.float32], list[int]]]) -> dict[int, AnnotatedLabel]:
    return {
        frame: AnnotatedLabel(label=torch.from_numpy(label), channels=tuple(known))
        for frame, (label, known) in given.items()
    }


def test_orders_and_contexts_by_hand() -> None:
    assert [list(part) for part in propagation_order(range(7), (3, 5))] == [[4, 5, 6], [2, 1, 0]]
    assert [list(part) for part in propagation_order(range(7), (0,))] == [[1, 2, 3, 4, 5, 6], []]
    assert [list(part) for part in propagation_order(range(2, 5), (6,))] == [[], [4, 3, 2]]
    assert [list(part) for part in propagation_order(range(2, 5), (1,))] == [[2, 3, 4], []]
    assert [list(part) for part in propagation_order(range(3, 3), (1,))] == [[], []]
    contexts = {frame: frame_context(frame, (3, 5), 2) for frame in (0, 2, 4, 5, 6, 8)}
    assert contexts == {0: (3, 2, 1), 2: (3,), 4: (3,), 5: (3, 4), 6: (3, 5, 4), 8: (3, 5, 6, 7)}


@pytest.mark.parametrize(
    "objects",
    [
        {0: [1, 2], 4: [3]},  # one joins
        {2: [1], 3: [2, 3], 8: [1]},  # two join, one is corrected; two frames before
        {11: [1, 2, 3]},  # all backward
        {5: [2], 6: [1], 7: [3], 11: [2]},
    ],
)
def test_whole_videos_equal_the_dense_reference(objects: dict[int, list[int]]) -> None:
    arrays = [smooth(FRAMES, GRID, 20, seed=3), smooth(FRAMES, GRID, 7, seed=4)]
    given = given_objects(objects)
    expected = dense.propagate_annotated(
        arrays, part_weights(0.4), given, temperature=0.1, top_k=5, radius=3, context=3
    )
    produced = dict(propagate(two_parts(arrays, 0.4), as_labels(given), SETTINGS))
    first = min(objects)
    assert list(produced) == [*range(first, FRAMES), *range(first - 1, -1, -1)] == list(expected)
    for frame, label in produced.items():
        difference = np.abs(label.numpy() - expected[frame]).max(0)
        assert (difference < 1e-5).mean() > 0.98
        torch.testing.assert_close(label.sum(0), torch.ones(GRID))
    for frame, (label, known) in given.items():
        assert np.array_equal(produced[frame][known].numpy(), label[known])


def test_objects_are_unknown_before_they_join() -> None:
    given = as_labels(given_objects({2: [1], 6: [2, 3]}))
    produced = dict(propagate([(volume(smooth(FRAMES, GRID, 9, seed=1)), 1.0)], given, SETTINGS))
    for frame in range(FRAMES):
        assert bool(produced[frame][2:].any()) == (frame >= 6)
    # What joined early is carried on as if nothing else had joined, in the cells that are not taken.
    alone = dict(propagate([(volume(smooth(FRAMES, GRID, 9, seed=1)), 1.0)], {2: given[2]}, SETTINGS))
    for frame in (0, 1, 3, 4, 5):
        assert torch.equal(alone[frame], produced[frame])
    free = given[6].label[0] > 0
    assert torch.equal(alone[6][:, free], produced[6][:, free])


def test_an_object_visible_before_it_joins_is_followed() -> None:
    """Frames before an object's first annotation do not count as background, whatever their number."""
    frames, context = 10, 6
    values = np.repeat(smooth(1, GRID, 30, seed=9), frames, axis=0)  # a still video: each pixel resembles itself most
    settings = PropagationSettings(top_k=context, radius=0, context=context, temperature=0.1)
    first = np.zeros((3, *GRID), dtype=np.float32)
    first[1, :2], first[0, 2:] = 1, 1
    joined = first.copy()
    joined[:, 4:] = 0
    joined[2, 4:] = 1
    annotations = {
        0: AnnotatedLabel(label=torch.from_numpy(first), channels=(1,)),
        6: AnnotatedLabel(label=torch.from_numpy(joined), channels=(2,)),
    }
    produced = dict(propagate([(volume(values), 1.0)], annotations, settings))
    for frame in range(frames):
        expected = torch.from_numpy(joined if frame >= 6 else first)
        torch.testing.assert_close(produced[frame], expected, atol=1e-6, rtol=0)


def test_a_correction_stays_in_the_context() -> None:
    """With no last frames, every frame takes its labels from the annotated ones alone."""
    settings = PropagationSettings(top_k=1, radius=0, context=0, temperature=1e-4)
    frame = smooth(1, GRID, 30, seed=9)
    still = [(volume(np.repeat(frame, 6, axis=0)), 1.0)]
    first, later = first_label(GRID), first_label(GRID).roll(1, dims=2)
    produced = dict(propagate(still, {0: AnnotatedLabel(label=first), 2: AnnotatedLabel(label=later)}, settings))
    assert all(torch.equal(produced[frame], first) for frame in (0, 1))
    assert torch.equal(produced[2], later)
    # Both are equally similar: of equal sources the earlier frame wins.
    assert all(torch.equal(produced[frame], first) for frame in (3, 4, 5))


def test_backward_is_forward_in_the_mirror() -> None:
    values = smooth(FRAMES, GRID, 20, seed=6)
    forward = dict(propagate([(volume(values), 1.0)], first_label(GRID), SETTINGS))
    mirrored = {FRAMES - 1: AnnotatedLabel(label=first_label(GRID))}
    backward = dict(propagate([(volume(values[::-1].copy()), 1.0)], mirrored, SETTINGS))
    for frame, label in forward.items():
        assert torch.equal(backward[FRAMES - 1 - frame], label)


def test_each_direction_reads_each_frame_once() -> None:
    part = Counting(smooth(20, GRID, 4, seed=13), chunk=1)
    list(propagate([(part, 1.0)], {7: AnnotatedLabel(label=first_label(GRID))}, SETTINGS))
    assert part.reads == [*range(7, 20), *range(7, -1, -1)]


def test_blocks_and_kept_affinities_give_the_same(tmp_path: Path) -> None:
    annotated = (2, 4)
    cache = open_cache(tmp_path / "cache", create=True)
    units = [write_unit(cache, name, smooth(6, GRID, n, seed=n)) for name, n in (("video", 12), ("image", 5))]
    fusion = Fusion(weights=(0.4, 0.6), context=3)
    wanted = SearchSpec(radius=3, top_k=5, fusions=(fusion,), annotated=annotated)
    expected = list(search(units, wanted))
    kept = cache_affinities(cache, units, wanted)
    assert SearchSpec.from_json(kept.unit.spec.search) == wanted
    for steps in (kept.steps(), search(units, wanted, workers=Apart(2))):
        for ours, theirs in zip(steps, expected, strict=True):
            assert (ours.frame, ours.context, ours.annotated) == (theirs.frame, theirs.context, theirs.annotated)
            assert torch.equal(ours.candidates.sources, theirs.candidates.sources)
            assert torch.equal(ours.candidates.scores, theirs.candidates.scores)
    setting = WeightedSettings(
        weights=(0.4, 0.6), settings=PropagationSettings(radius=3, top_k=5, context=fusion.context)
    )
    found = find_cached(cache, units, setting, annotated)
    assert [item.unit.folder for item, _ in found] == [kept.unit.folder]
    assert found[0][0].unproven(fusion, 4) == 0
    assert find_cached(cache, units, setting) == []


def test_a_sweep_equals_runs_of_their_own() -> None:
    video, image = smooth(FRAMES, GRID, 16, seed=1), smooth(FRAMES, GRID, 7, seed=2)
    given = as_labels(given_objects({2: [1, 2], 5: [3], 9: [1]}))
    settings = [
        WeightedSettings(
            weights=part_weights(alpha),
            settings=PropagationSettings(temperature=temperature, top_k=4, radius=3, context=context),
        )
        for alpha, temperature, context in ((0.0, 0.2, 1), (0.4, 0.05, 4), (0.4, 0.2, 1))
    ]
    found = {(item, frame): label for item, frame, label in sweep([volume(video), volume(image)], given, settings)}
    assert len(found) == len(settings) * (FRAMES - 1)
    for item in settings:
        parts = list(zip((volume(video), volume(image)), item.weights, strict=True))
        for frame, label in propagate(parts, given, item.settings):
            if frame != 2:
                assert torch.equal(found[item, frame], label), (item, frame)


def test_annotations_that_do_not_fit_are_refused() -> None:
    parts = [(volume(smooth(4, GRID, 6, seed=1)), 1.0)]
    with pytest.raises(LabelError, match="frame 4 is annotated"):
        propagate(parts, {4: AnnotatedLabel(label=first_label(GRID))}, SETTINGS)
    with pytest.raises(LabelError, match="nothing is annotated"):
        propagate(parts, {}, SETTINGS)
    wanted = SearchSpec(radius=3, top_k=5, fusions=(Fusion(weights=(1.0,), context=3),), annotated=(0, 4))
    with pytest.raises(ConfigError, match="frame 4 is annotated"):
        search([parts[0][0]], wanted)
    for annotated in ((), (3, 1), (1, 1), (-1,)):
        with pytest.raises(ConfigError, match="annotated frames"):
            SearchSpec(radius=3, top_k=5, fusions=wanted.fusions, annotated=annotated)
    with pytest.raises(SchemaError):
        SearchSpec.from_json({**wanted.to_json(), "annotated": 3})


def test_other_annotations_of_the_same_frames_share_affinities() -> None:
    parts = [(volume(smooth(6, GRID, 6, seed=18)), 1.0)]
    session = TrackingSession(parts, SETTINGS)
    assert [step.frame for step in session.affinities(annotated=(2, 3))] == [3, 4, 5, 1, 0]
    for seed in (1, 2):
        generator = torch.Generator().manual_seed(seed)
        labels = {frame: AnnotatedLabel(label=torch.rand(2, *GRID, generator=generator)) for frame in (2, 3)}
        expected = dict(propagate(parts, labels, SETTINGS))
        for frame, annotation in labels.items():
            session.annotate(frame, annotation)
        for frame, label in session.labels():
            assert torch.equal(label, expected[frame])
        assert session.last_run.searched == 0
