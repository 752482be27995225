"""Cached affinities give the same results as the features, or report that they may not."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ted.propagate import (
    CachedAffinities,
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
)
from ted.propagate import affinity_cache as module
from ted.store import Cache, Unit, open_cache
from ted.store.errors import ConfigError
from tests.propagate.helpers import FrameAffinity, affinities
from tests.propagate.test_engine import first_label, smooth
from tests.propagate.units import write_unit
from tests.propagate.volumes import volume

GRID, FRAMES = (8, 11), 9


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return open_cache(tmp_path / "cache", create=True)


def arrays() -> list[NDArray[np.float16]]:
    return [smooth(FRAMES, GRID, 20, seed=1), smooth(FRAMES, GRID, 7, seed=2)]


@pytest.fixture
def units(cache: Cache) -> list[Unit]:
    return [write_unit(cache, name, values) for name, values in zip(("video", "image"), arrays(), strict=True)]


def wanted(
    alphas: Sequence[float] = (0.4,), contexts: Sequence[int] = (5,), top_k: int = 6, each: bool = False
) -> SearchSpec:
    fusions = tuple(Fusion(weights=(alpha, 1 - alpha), context=context) for alpha in alphas for context in contexts)
    return SearchSpec(radius=3, top_k=top_k, fusions=fusions, per_frame=each)


def test_kept_steps_are_those_of_the_search(cache: Cache, units: list[Unit]) -> None:
    what = wanted((0.0, 0.5, 1.0), (5, 2))
    kept = cache_affinities(cache, units, what)
    assert kept.search == what
    found = list(search(units, what))
    read = list(kept.steps())
    assert len(read) == len(found) == FRAMES - 1
    for ours, theirs in zip(read, found, strict=True):
        assert (ours.frame, ours.context, ours.grid) == (theirs.frame, theirs.context, theirs.grid)
        for name in ("sources", "scores", "bounds"):
            assert torch.equal(getattr(ours.candidates, name), getattr(theirs.candidates, name))


def test_settings_that_were_searched_for_read_bit_for_bit(cache: Cache, units: list[Unit]) -> None:
    kept = cache_affinities(cache, units, wanted((0.0, 0.4, 1.0)))
    for alpha in (0.0, 0.4, 1.0):
        for temperature, top_k in ((0.2, 6), (0.05, 2)):
            settings = PropagationSettings(temperature=temperature, top_k=top_k, radius=3, context=5)
            own = WeightedSettings(weights=part_weights(alpha), settings=settings)
            expected = dict(propagate(list(zip(units, own.weights, strict=True)), first_label(GRID), settings))
            assert kept.serves(own.fusion(), top_k)
            assert kept.search.serves(own)
            for frame, label in TrackingSession(kept, own, first_label(GRID)).labels():
                assert torch.equal(label, expected[frame])
    other = WeightedSettings(weights=(0.5, 0.5), settings=settings)
    with pytest.raises(ConfigError, match="searched for other settings"):
        list(TrackingSession(kept, other, first_label(GRID)).labels())


ALPHAS, CONTEXTS, TOP_KS = (0.0, 0.3, 0.45, 0.5, 0.6, 0.9), (5, 3, 8), (3, 8, 10)


@pytest.fixture(scope="module")
def truths() -> dict[tuple[float, int], list[FrameAffinity]]:
    """Separate searches for each alpha and context; the first 3 or 8 of the 10 best are the top-3 or top-8."""
    values = [volume(array) for array in arrays()]
    found = {}
    for alpha, context in product(ALPHAS, CONTEXTS):
        own = PropagationSettings(top_k=max(TOP_KS), radius=3, context=context)
        found[alpha, context] = list(affinities(list(zip(values, (alpha, 1 - alpha), strict=True)), own))
    return found


@pytest.mark.parametrize("each", [False, True])
def test_what_is_called_proven_is_what_the_features_give(
    cache: Cache, units: list[Unit], truths: dict[tuple[float, int], list[FrameAffinity]], each: bool
) -> None:
    """For settings near a cached one, the sources of proven pixels equal those of a separate search."""
    kept = cache_affinities(cache, units, wanted((0.3, 0.6), (5,), top_k=8, each=each))
    steps, shares = list(kept.steps()), {}
    cells = GRID[0] * GRID[1]
    for (alpha, context), truth in truths.items():
        fusion = Fusion(weights=(alpha, 1 - alpha), context=context)
        for top_k in TOP_KS:
            certain = []
            for step, own in zip(steps, truth, strict=True):
                good = step.proven(fusion, top_k)
                certain.append(good)
                ranked = step.rank(fusion, top_k)
                # Sources of a longer context are those of the shorter one with other numbers.
                ours = torch.tensor(step.context)[ranked.sources // cells] * cells + ranked.sources % cells
                theirs = own.affinity.sources[:, :top_k]
                theirs = torch.tensor(own.context)[theirs // cells] * cells + theirs % cells
                assert torch.equal(ours[good], theirs[good])
                assert torch.equal(ranked.similarity[good], own.affinity.similarity[good][:, :top_k])
            shares[alpha, context, top_k] = torch.cat(certain).double().mean().item()
        assert kept.unproven(fusion, top_k) == pytest.approx(1 - shares[alpha, context, top_k])
    # The test is not vacuous: cached settings are proven, those in between mostly, distant ones or larger k not.
    assert shares[0.3, 5, 8] == shares[0.6, 5, 3] == 1
    assert shares[0.45, 5, 3] > 0.5
    assert shares[0.5, 5, 3] > shares[0.9, 5, 3]
    assert shares[0.3, 5, 10] < 0.8
    assert shares[0.3, 8, 8] < 1
    if each:
        assert shares[0.3, 3, 8] == shares[0.6, 3, 3] == 1
    else:
        assert 0 < shares[0.3, 3, 8] < 1


def test_keeping_resumes_where_it_was_interrupted(
    cache: Cache, units: list[Unit], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    original = module.search

    def failing(*arguments, **options):  # type: ignore[no-untyped-def]
        nonlocal calls
        for step in original(*arguments, **options):
            calls += 1
            if calls == 4:
                raise KeyboardInterrupt
            yield step

    monkeypatch.setattr(module, "search", failing)
    with pytest.raises(KeyboardInterrupt):
        cache_affinities(cache, units, wanted())
    monkeypatch.setattr(module, "search", original)
    asked: list[range] = []

    def watching(*arguments, **options):  # type: ignore[no-untyped-def]
        asked.append(options["frames"])
        return original(*arguments, **options)

    monkeypatch.setattr(module, "search", watching)
    done: list[int] = []
    kept = cache_affinities(cache, units, wanted(), progress=done.append)
    assert asked == [range(4, FRAMES)]
    assert done[0] == 4  # the annotated frame and three more
    assert sum(done) == FRAMES
    for ours, theirs in zip(kept.steps(), search(units, wanted()), strict=True):
        assert torch.equal(ours.candidates.sources, theirs.candidates.sources)
    assert cache_affinities(cache, units, wanted()).unit.content_hash == kept.unit.content_hash


def test_finding_what_serves(cache: Cache, units: list[Unit]) -> None:
    cache_affinities(cache, units, wanted((0.3,), top_k=3))
    both = cache_affinities(cache, units, wanted((0.0, 0.4)))
    settings = PropagationSettings(radius=3, context=5, top_k=6)
    fused = WeightedSettings(weights=(0.4, 0.6), settings=settings)
    found = find_cached(cache, units, fused)
    assert found[0][0].unit.content_hash == both.unit.content_hash
    assert found[0][0].search.serves(fused.of_parts(found[0][1]))
    assert len(found) == 2
    # The image features alone are a fusion of both in which the others have no weight.
    alone = WeightedSettings(weights=(1.0,), settings=settings)
    kept, parts = find_cached(cache, units[1:], alone)[0]
    assert alone.of_parts(parts).weights == (0.0, 1.0)
    assert kept.search.serves(alone.of_parts(parts))
    both_weighted = replace(fused, weights=(0.0, 0.6))
    assert find_cached(cache, units, both_weighted)[0][1] == (None, 1)
    for change in ({"radius": 4}, {"window": "circle"}, {"unrestricted_first": True}, {"context_fill": True}):
        assert find_cached(cache, units, replace(fused, settings=replace(settings, **change))) == []
    assert find_cached(cache, units[::-1], fused) == []  # the order of a sum
    assert find_cached(cache, [units[0], units[0]], fused) == []
    other = write_unit(cache, "image", smooth(FRAMES, GRID, 7, seed=3), video="other")
    assert find_cached(cache, [units[0], other], fused) == []


def test_kept_affinities_outlive_their_features(cache: Cache, units: list[Unit]) -> None:
    kept = cache_affinities(cache, units, wanted())
    expected = [step.candidates.sources for step in kept.steps()]
    for unit in units:
        cache.remove(unit.folder)
    (entry,) = cache.affinities("davis", "swan")
    assert entry.state == "complete"
    for step, sources in zip(CachedAffinities(entry.open()).steps(), expected, strict=True):
        assert torch.equal(step.candidates.sources, sources)


def test_a_kept_frame_at_paper_scale_takes_about_a_megabyte(cache: Cache, units: list[Unit]) -> None:
    kept = cache_affinities(cache, units, wanted(top_k=6))
    per_source = kept.unit.marker.total_bytes / ((FRAMES - 1) * GRID[0] * GRID[1] * 6)
    assert per_source < 14  # 4 bytes of index, two cosines of 4, and what frames have in common


def test_values_are_stored_as_found(cache: Cache, units: list[Unit]) -> None:
    kept = cache_affinities(cache, units, wanted())
    sources, cosines, bounds = kept.unit.read(3)
    values = [unit.features[2:4].compute().astype(np.float64) for unit in units]
    for part, value in enumerate(values):
        unit = value / np.linalg.norm(value, axis=-1, keepdims=True)
        # The last context frame of frame 3, at position 2 after the first frame and frame 1, is frame 2.
        cells = GRID[0] * GRID[1]
        pixel, slot = next((p, s) for p in range(cells) for s in range(6) if sources[p, s] // cells == 2)
        own = unit[1].reshape(cells, -1)[pixel] @ unit[0].reshape(cells, -1)[sources[pixel, slot] % cells]
        assert cosines[part, pixel, slot] == pytest.approx(own, abs=1e-6)
    assert bounds.shape == (1, GRID[0] * GRID[1])
