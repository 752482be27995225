"""Sessions equal new runs of `propagate`, bit for bit, after any sequence of changes."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ted.propagate import (
    AffinitySource,
    AnnotatedLabel,
    CachedAffinities,
    FeatureSearch,
    FeatureVolume,
    PropagationSettings,
    SearchSpec,
    SessionCancelled,
    SessionRun,
    TrackingSession,
    WeightedSettings,
    cache_affinities,
    part_weights,
    propagate,
)
from ted.store import open_cache
from ted.store.errors import ConfigError, LabelError
from tests.propagate.test_candidate_search import Apart
from tests.propagate.test_engine import first_label, smooth
from tests.propagate.units import write_unit
from tests.propagate.volumes import Counting, volume

GRID, FRAMES = (6, 8), 14
SETTINGS = PropagationSettings(top_k=4, radius=2, context=4, temperature=0.1)


def volumes() -> list[FeatureVolume]:
    return [volume(smooth(FRAMES, GRID, 12, seed=1)), volume(smooth(FRAMES, GRID, 5, seed=2))]


def label(seed: int, channels: tuple[int, ...] | None = None) -> AnnotatedLabel:
    owners = torch.randint(4, GRID, generator=torch.Generator().manual_seed(seed))
    one_hot = torch.nn.functional.one_hot(owners, 4).permute(2, 0, 1).float()
    return AnnotatedLabel(label=one_hot, channels=channels)


def assert_fresh(session: TrackingSession, parts: list[FeatureVolume]) -> None:
    """Check that a session's labels equal those of a separate run."""
    weighted = list(zip(parts, session.weights, strict=True))
    expected = list(propagate(weighted, session.annotations, session.settings))
    found = list(session.labels())
    assert [frame for frame, _ in found] == [frame for frame, _ in expected]
    for (frame, ours), (_, theirs) in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs), frame


def change(session: TrackingSession, choice: random.Random) -> str:
    """Change a session at random; return what was changed."""
    settings = session.settings
    kind = choice.choice(["temperature", "top_k", "context", "weights", "radius", "annotate", "annotate", "remove"])
    if kind == "temperature":
        session.settings = replace(settings, temperature=choice.choice([0.05, 0.1, 0.3]))
    elif kind == "top_k":
        session.settings = replace(settings, top_k=choice.choice([1, 4, 9, 30]))
    elif kind == "context":
        session.settings = replace(settings, context=choice.choice([0, 2, 4, 7]))
    elif kind == "weights":
        session.weights = part_weights(choice.choice([0.0, 0.4, 0.401, 0.7, 1.0]))
    elif kind == "radius":
        session.settings = replace(settings, radius=choice.choice([1, 2]), window=choice.choice(["square", "circle"]))
    elif kind == "annotate":
        channels = choice.choice([None, (0, 2), (1,)])
        session.annotate(choice.randrange(FRAMES), label(choice.randrange(99), channels))
    elif len(session.annotations) > 1:
        session.remove(choice.choice(list(session.annotations)))
    return kind


@pytest.mark.parametrize("memory", [2**30, 60_000, 0])
@pytest.mark.parametrize(
    "seed", [0, 1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)]
)
def test_any_sequence_of_changes_gives_the_labels_of_a_fresh_run(seed: int, memory: int) -> None:
    choice, parts = random.Random(seed), volumes()
    session = TrackingSession(
        list(zip(parts, (0.4, 0.6), strict=True)), SETTINGS, {choice.randrange(FRAMES): label(0)}, memory=memory
    )
    total = SessionRun()
    for _ in range(16):
        change(session, choice)
        assert_fresh(session, parts)
        for name in ("searched", "reused", "unchanged"):
            setattr(total, name, getattr(total, name) + getattr(session.last_run, name))
        assert session._used <= memory
    if memory:
        assert min(total.searched, total.reused, total.unchanged) > 0
    else:
        assert total.reused == total.unchanged == 0


@pytest.mark.parametrize("memory", [2**30, 0])
def test_labels_do_not_depend_on_the_source_of_candidates(tmp_path: Path, memory: int) -> None:
    """Candidates come from the cache, workers, or memory; the session's settings and annotations change."""
    cache = open_cache(tmp_path / "cache", create=True)
    units = [write_unit(cache, name, smooth(FRAMES, GRID, n, seed=n)) for name, n in (("video", 12), ("image", 5))]
    own = WeightedSettings(weights=(0.4, 0.6), settings=SETTINGS)
    sources = [
        AffinitySource(cache, units, use="keep"),
        AffinitySource(cache, units, workers=Apart(2)),
        FeatureSearch(units, workers=Apart(3)),
    ]
    sessions = [TrackingSession(source, own, {5: label(0)}, memory=memory) for source in sources]
    choice = random.Random(8)
    for _ in range(4):
        for session in sessions:
            assert_fresh(session, units)
        change(sessions[0], choice)
        for session in sessions[1:]:
            session.settings, session.weights = sessions[0].settings, sessions[0].weights
            for frame in {*session.annotations} - {*sessions[0].annotations}:
                session.remove(frame)
            for frame, annotation in sessions[0].annotations.items():
                session.annotate(frame, annotation)
    origins = [source._found[own, (5,)].origin for source in sources if isinstance(source, AffinitySource)]
    assert origins == ["features, kept", "kept"]


@pytest.mark.parametrize("memory", [2**30, 0])
def test_corrected_labels_are_the_context_of_later_frames(memory: int) -> None:
    """The labels are those of the affinities, applied by hand with the correction; other runs do not see it."""
    parts = list(zip(volumes(), (0.4, 0.6), strict=True))
    session = TrackingSession(parts, SETTINGS, {1: label(0), 4: label(1, (1,))}, memory=memory)
    plain, asked = dict(session.labels()), []

    def correct(frame: int, found: torch.Tensor) -> torch.Tensor:
        asked.append(frame)
        return found.flip(0) if frame == 2 else found

    found = dict(session.labels(correct=correct))
    assert session.last_run.searched == (0 if memory else FRAMES - 1)
    expected, by_hand = {1: label(0).label}, []
    for item in session.affinities():
        sources = torch.stack([expected[frame].flatten(1) for frame in item.context], 1).flatten(1)
        summed = (sources[:, item.affinity.sources] * item.weights).sum(-1).reshape(expected[1].shape)
        if item.frame == 4:
            expected[4] = label(1, (1,)).over(summed)
        else:
            by_hand.append(item.frame)
            expected[item.frame] = summed.flip(0) if item.frame == 2 else summed
    assert asked == by_hand
    for frame, value in expected.items():
        torch.testing.assert_close(found[frame], value, rtol=0, atol=1e-5)
    assert not torch.allclose(found[FRAMES - 1], plain[FRAMES - 1], atol=1e-3)
    again = dict(session.labels())
    assert all(torch.equal(again[frame], value) for frame, value in plain.items())


def test_approximate_affinities_of_a_shorter_context_give_labels(tmp_path: Path) -> None:
    """The cached search has a shorter context and fewer sources than the setting; its labels are those of the cache."""
    cache = open_cache(tmp_path / "cache", create=True)
    unit = write_unit(cache, "video", smooth(FRAMES, GRID, 12, seed=1))
    small = WeightedSettings(weights=(1.0,), settings=replace(SETTINGS, context=2))
    large = replace(small, settings=replace(SETTINGS, context=6))
    kept = cache_affinities(cache, [unit], SearchSpec.of(small.settings, [small.fusion()]))
    source = AffinitySource(cache, [unit], use="approximate")
    assert 0 < source.find([large], (0,)).unproven < 1
    expected = dict(TrackingSession(CachedAffinities(kept.unit), small, label(0).label).labels())
    for frame, found in TrackingSession(source, large, label(0).label, memory=0).labels():
        assert torch.equal(found, expected[frame])


def test_many_settings_share_a_search_and_memory() -> None:
    part = Counting(smooth(FRAMES, GRID, 12, seed=1), chunk=1)
    session = TrackingSession([(part, 1.0)], SETTINGS, {3: label(0)})
    settings = [
        WeightedSettings(weights=(1.0,), settings=replace(SETTINGS, **values))
        for values in ({"context": 1}, {"top_k": 2}, {"context": 6, "temperature": 0.2}, {"context": 1, "top_k": 9})
    ]

    def check() -> None:
        expected = [dict(propagate([(part, 1.0)], session.annotations, item.settings)) for item in settings]
        part.reads.clear()
        for frame, found in session.sweep(settings):
            assert all(torch.equal(one, other[frame]) for one, other in zip(found, expected, strict=True)), frame

    check()
    assert sorted(part.reads) == [*range(4), *range(3, FRAMES)], "both directions read the annotated frame"
    settings = [replace(item, settings=replace(item.settings, temperature=0.3)) for item in settings]
    check()
    assert session.last_run == SessionRun(reused=FRAMES - 1)
    check()
    assert session.last_run == SessionRun(unchanged=FRAMES - 1)
    assert part.reads == []
    with pytest.raises(ConfigError, match="one search must have the same kernel and window"):
        list(session.sweep([settings[0], replace(settings[0], settings=replace(SETTINGS, radius=1))]))


def counted(**options: Any) -> tuple[TrackingSession, Counting]:
    part = Counting(smooth(FRAMES, GRID, 12, seed=1), chunk=1)
    session = TrackingSession([(part, 1.0)], SETTINGS, {3: label(0)}, **options)
    list(session.labels())
    assert session.last_run == SessionRun(searched=FRAMES - 1)
    part.reads.clear()
    return session, part


@pytest.mark.parametrize(
    "values", [{"temperature": 0.3}, {"top_k": 2}, {"top_k": 16}, {"temperature": 0.2, "top_k": 1}]
)
def test_other_temperatures_and_smaller_top_k_read_no_feature(values: dict[str, Any]) -> None:
    session, part = counted()
    session.settings = replace(session.settings, **values)
    labels = dict(session.labels())
    assert session.last_run == SessionRun(reused=FRAMES - 1)
    assert part.reads == []
    session.settings = SETTINGS
    assert any(not torch.equal(found, labels[frame]) for frame, found in session.labels())


def test_nothing_is_computed_where_nothing_has_changed() -> None:
    session, part = counted()
    list(session.labels())
    assert session.last_run == SessionRun(unchanged=FRAMES - 1)
    assert part.reads == []


def test_a_corrected_annotation_labels_what_follows_it_and_reads_no_feature() -> None:
    session, part = counted()
    session.annotate(8, label(1))
    list(session.labels())
    assert session.last_run == SessionRun(searched=FRAMES - 9, reused=1, unchanged=7)  # later contexts hold frame 8
    part.reads.clear()
    session.annotate(8, label(2))
    list(session.labels())
    assert session.last_run == SessionRun(reused=FRAMES - 8, unchanged=7)
    assert part.reads == []
    session.annotate(8, label(2))  # the same again
    list(session.labels())
    assert session.last_run == SessionRun(reused=1, unchanged=FRAMES - 2)


def test_shorter_contexts_are_read_where_they_are_proven() -> None:
    """All sources of a window are candidates, which proves all pixels."""
    part = Counting(smooth(FRAMES, GRID, 12, seed=1), chunk=1)
    session = TrackingSession(
        [(part, 1.0)], PropagationSettings(radius=1, top_k=9 * 5 + 1, context=4), {0: label(0)}, memory=2**30
    )
    list(session.labels())
    part.reads.clear()
    session.settings = replace(session.settings, context=2)
    expected = dict(propagate([(volume(smooth(FRAMES, GRID, 12, seed=1)), 1.0)], session.annotations, session.settings))
    assert all(torch.equal(found, expected[frame]) for frame, found in session.labels())
    assert session.last_run == SessionRun(reused=FRAMES - 1)
    assert part.reads == []


def test_a_cancelled_session_goes_on_where_it_stopped() -> None:
    parts = volumes()
    session = TrackingSession(list(zip(parts, (0.4, 0.6), strict=True)), SETTINGS, {0: label(0)})
    labels = session.labels()
    for _ in range(5):
        next(labels)
    session.cancel()
    with pytest.raises(SessionCancelled):
        next(labels)
    assert_fresh(session, parts)
    assert session.last_run == SessionRun(searched=FRAMES - 5, unchanged=4)
    session.annotate(2, label(7))
    count = iter(range(99))
    with pytest.raises(SessionCancelled):
        list(session.labels(cancelled=lambda: next(count) == 6))
    session.settings = replace(session.settings, temperature=0.3)
    assert_fresh(session, parts)


def test_wrong_annotations_and_parts_are_refused_at_once() -> None:
    session = TrackingSession([(volumes()[0], 1.0)], SETTINGS)
    with pytest.raises(LabelError, match="nothing is annotated"):
        session.labels()
    with pytest.raises(LabelError, match="frame 3 is not annotated"):
        session.remove(3)
    session.annotate(FRAMES, first_label(GRID))
    with pytest.raises(LabelError, match=f"frame {FRAMES} is annotated"):
        session.labels()
    session.remove(FRAMES)
    session.annotate(0, first_label((5, 5)))
    with pytest.raises(LabelError, match="grid"):
        session.labels()
    with pytest.raises(ConfigError):
        TrackingSession([(volumes()[0], 0.0)], SETTINGS)
