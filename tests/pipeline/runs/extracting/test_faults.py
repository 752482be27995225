"""`ted extract` killed at random moments, in all phases of its work: nothing is accepted early, nothing is lost."""

import collections
import itertools
import random
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from .conftest import tree
from .processes import Hook, Running, eventually, forget_soon, hurry, start
from .reader import Reader, features_of
from .steps import PHASES, At

#: Seconds that a run computes, about; kills at random times fall into this.
SECONDS = 2.0


@dataclass
class Trials:
    """Kills and resumptions on one cache after the other, each compared with the undisturbed one when it is whole."""

    folder: Path
    command: Sequence[str]
    expected: Mapping[str, bytes]
    values: Mapping[Path, NDArray[Any]]
    kills: collections.Counter[str] = field(default_factory=collections.Counter)
    caches: int = 0
    runs: int = 0
    accepted: int = 0
    refused: int = 0

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def run(self, *hooks: Hook) -> Running:
        self.runs += 1
        return start(self.folder / "log", *self.command, "--cache", self.cache, hooks=(hurry, forget_soon, *hooks))

    def kill(self, phase: str, rng: random.Random) -> bool:
        """Run the command and kill it, in a phase, or at any time where that is empty; tell whether it was."""
        log = self.folder / "steps"
        log.write_text("")
        number = 1 + int(rng.expovariate(0.05 if phase == "chunks" else 0.5))
        delay = rng.choice((0, rng.uniform(0, 0.002)))
        with Reader(self.cache, self.values) as reader:
            running = self.run(At(cache=self.cache, log=log, phase=phase, number=number, delay=delay))
            if not phase:
                if rng.random() < 0.8:
                    eventually(lambda: log.stat().st_size or running.ended)
                running.process.join(rng.uniform(0, SECONDS))
                running.process.kill()
            code = running.wait()
        self.accepted += reader.accepted
        self.refused += reader.refused
        if code == -signal.SIGKILL:
            self.kills[phase or f"any time: {self._describe(log)}"] += 1
            return True
        assert code == 0
        self.finish()
        return False

    def finish(self) -> None:
        """Resume until all is done, compare, and begin with another cache."""
        assert self.run().wait() == 0
        assert tree(self.cache) == self.expected
        self.caches += 1
        shutil.rmtree(self.cache)

    def _describe(self, log: Path) -> str:
        steps = log.read_text().split("\n")
        return f"after {steps[-2]}" if len(steps) > 1 else "before the first step"


@pytest.fixture
def trials(
    tmp_path: Path, command: tuple[str, ...], expected: Mapping[str, bytes], undisturbed: Path
) -> Iterator[Trials]:
    return Trials(tmp_path, command, expected, features_of(undisturbed))


def test_an_undisturbed_run_goes_through_all_phases_and_leaves_nothing_else(
    tmp_path: Path, command: tuple[str, ...], expected: Mapping[str, bytes], undisturbed: Path
) -> None:
    log = tmp_path / "steps"
    run = start(tmp_path, *command, "--cache", tmp_path / "cache", hooks=(hurry, At(cache=tmp_path / "cache", log=log)))
    assert run.wait() == 0
    assert set(log.read_text().split()) == {word for phase in PHASES for word in phase.split()}
    assert tree(tmp_path / "cache") == expected
    names = {Path(path).name for path in expected if not path.endswith(".zarr")} - {str(frame) for frame in range(11)}
    assert not [name for name in names if "claim" in name or "journal" in name or "partial" in name]


def test_killed_in_every_phase(trials: Trials) -> None:
    rng = random.Random(3)
    for phase in PHASES:
        trials.kill(phase, rng)
    assert trials.kills.total() >= 8
    trials.finish()
    assert trials.accepted
    assert trials.refused


@pytest.mark.slow
def test_killed_very_often(trials: Trials, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(11)
    phases = itertools.cycle([*PHASES, "", ""])
    while trials.kills.total() < 66:
        trials.kill(next(phases), rng)
    trials.finish()
    assert set(PHASES) <= set(trials.kills)
    with capsys.disabled():
        print(f"\n{trials.kills.total()} kills in {trials.runs} runs over {trials.caches} caches, all equal at the end")
        for phase, count in sorted(trials.kills.items()):
            print(f"{count:4d}  {phase}")
        print(f"units read while they were made: accepted {trials.accepted} times, refused {trials.refused} times")
