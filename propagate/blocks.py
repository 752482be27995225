"""The heavy step of a video in blocks of frames, which workers compute apart."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch

from ..store.errors import CorruptUnitError
from ..store.unit import Unit
from .cluster import InProcess, Workers
from .engine import FrameCandidates, search
from .spec import SearchSpec

__all__ = ["search_units"]

# A block reads its context anew: with fewer frames than this, reading costs too much; with more, the last block makes
# all others wait, and its results take memory.
_FEWEST, _MOST = 4, 24


@dataclass(frozen=True, kw_only=True)
class _Reference:
    """A feature unit, to be opened by whoever needs it."""

    folder: Path
    content_hash: str

    def open(self) -> Unit:
        unit = Unit(self.folder)
        if unit.content_hash != self.content_hash:
            raise CorruptUnitError(f"{self.folder} was replaced while it was used: run the command again")
        return unit


def search_units(
    units: Sequence[Unit],
    wanted: SearchSpec,
    *,
    frames: range | None = None,
    device: torch.device | str = "cpu",
    workers: Workers | None = None,
) -> Iterator[FrameCandidates]:
    """Find the sources that fusions of a video's features need, in blocks of frames on workers.

    Whoever computes a block reads its frames and their contexts. The result is the same wherever that is.

    Parameters
    ----------
    units
        The parts: features of one video.
    wanted
        What to look for.
    frames
        Indices of frames, a run of them; all by default.
    device
        Where workers compute.
    workers
        Who computes; this process by default, which reads each frame once.

    Returns
    -------
    iterator of FrameCandidates
        As `search` yields them, on `device` if this process computes, else on the CPU.

    Raises
    ------
    ConfigError, CorruptUnitError
        As `search` does; CorruptUnitError also when a unit is replaced meanwhile.
    """
    if workers is None or isinstance(workers, InProcess):
        return search(units, wanted, frames=frames, device=device)
    run = range(units[0].shape[0]) if frames is None else frames
    first = wanted.annotated[0]
    after, before = range(max(run.start, first), run.stop), range(run.start, min(run.stop, first))
    blocks = [*_blocks(after, workers.count), *reversed([*_blocks(before, workers.count)])]
    references = tuple(_Reference(folder=unit.folder.absolute(), content_hash=unit.content_hash) for unit in units)
    tasks = ((references, wanted, block, str(device)) for block in blocks)
    return (step for block in workers.map(_block, tasks) for step in block)


def _blocks(run: range, workers: int) -> Iterator[range]:
    count = max(1, -(-len(run) // min(_MOST, max(_FEWEST, -(-len(run) // (2 * workers))))))
    edges = [run.start + number * len(run) // count for number in range(count + 1)]
    yield from (range(start, stop) for start, stop in pairwise(edges) if start < stop)


def _block(units: Sequence[_Reference], wanted: SearchSpec, frames: range, device: str) -> list[FrameCandidates]:
    opened = [unit.open() for unit in units]
    return [step.to("cpu") for step in search(opened, wanted, frames=frames, device=device)]
