"""Searches in separate blocks of frames give the same bits as one search."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ted.propagate import Fusion, SearchSpec, search
from ted.store import Cache, Unit, open_cache
from ted.store.errors import ConfigError, CorruptUnitError
from tests.propagate.test_engine import smooth
from tests.propagate.units import write_unit

GRID, FRAMES = (7, 9), 23
WANTED = SearchSpec(
    radius=3, top_k=4, fusions=tuple(Fusion(weights=(a, 1 - a), context=c) for a in (0.0, 0.4) for c in (6, 2))
)


class Apart:
    """Runs tasks on pickled copies of their arguments, as in another process, with any number of workers."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.tasks: list[range] = []

    def map(
        self, function: Callable[..., Any], tasks: Iterable[tuple[Any, ...]], *, ahead: int | None = None
    ) -> Iterator[Any]:
        import pickle

        for task in tasks:
            self.tasks.append(task[2])
            yield pickle.loads(pickle.dumps(function))(*pickle.loads(pickle.dumps(task)))


@pytest.fixture
def units(tmp_path: Path) -> list[Unit]:
    cache: Cache = open_cache(tmp_path / "cache", create=True)
    return [write_unit(cache, name, smooth(FRAMES, GRID, n, seed=n)) for name, n in (("video", 12), ("image", 5))]


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("frames", [None, range(9, 20)])
def test_blocks_give_the_same_candidates(units: list[Unit], count: int, frames: range | None) -> None:
    workers = Apart(count)
    found = list(search(units, WANTED, frames=frames, workers=workers))
    expected = [step for step in search(units, WANTED) if frames is None or step.frame in frames]
    assert [step.frame for step in found] == [step.frame for step in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.context == theirs.context
        for name in ("sources", "scores", "bounds"):
            assert torch.equal(getattr(ours.candidates, name), getattr(theirs.candidates, name))
    # Every frame is in one block, and the blocks are not too many.
    run = range(FRAMES) if frames is None else frames
    assert [frame for task in workers.tasks for frame in task] == list(run)
    assert len(workers.tasks) <= max(2 * count, len(run) // 4 + 1)


def test_a_unit_that_is_replaced_meanwhile_is_noticed(units: list[Unit], tmp_path: Path) -> None:
    steps = search(units, WANTED, workers=Apart(2))
    next(steps)
    cache = open_cache(tmp_path / "cache")
    spec = units[1].spec
    with cache.writer(spec, overwrite=True) as writer:
        for frame, features in enumerate(smooth(FRAMES, GRID, 5, seed=99)):
            writer.write(frame, features)
        writer.finish({})
    with pytest.raises(CorruptUnitError, match="replaced"):
        list(steps)


@pytest.mark.parametrize("frames", [range(3, 99), range(-1, 4), range(0, 8, 2)])
def test_runs_that_do_not_exist_are_refused(units: list[Unit], frames: range) -> None:
    with pytest.raises(ConfigError, match="frames"):
        search(units, WANTED, frames=frames)
