"""Writers killed at random times: partial units are refused, and a resumed unit equals an undisturbed one."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest

from ted.store import AffinitySpec, UnitSpec, open_cache, open_unit, verify_unit
from ted.store.errors import CacheError

from .test_writer import tree
from .unit_inputs import make_affinities, make_spec

FRAMES = 60
#: Program that imports everything once, and forks a writer for each cache read from stdin. The writer prints its
#: process id and a line before each frame, and waits after the allowed number of frames; then the exit code is printed.
WRITERS = f"""
import os, sys, time, traceback
import numpy as np
from pathlib import Path
from ted.store import open_cache
from tests.store.unit_inputs import make_affinities, make_frames, make_spec

os.fsync = lambda descriptor: None


def frames_of_features():
    spec = make_spec(frame_names=tuple(map(str, range({FRAMES}))))
    frames = [(np.random.default_rng(frame).standard_normal((16, 24, 32)),) for frame in range({FRAMES})]
    return spec, frames, lambda cache: cache.writer(spec)


def frames_of_affinities():
    spec = make_affinities(frame_count={FRAMES}, slots=9)
    return spec, make_frames(spec), lambda cache: cache.affinity_writer(spec)


spec, frames, open_writer = globals()["frames_of_" + sys.argv[1]]()


def write(root, limit):
    with open_writer(open_cache(Path(root), create=True)) as writer:
        for frame in sorted(set(range({FRAMES})) - writer.done):
            if not limit:
                time.sleep(1000)
            limit -= 1
            print("frame", flush=True)
            writer.write(frame, *frames[frame])
            if frame % 2:
                writer.commit()
        writer.finish({{}})


for line in sys.stdin:
    child = os.fork()
    if not child:
        print(os.getpid(), flush=True)
        code = 1
        try:
            limit, root = line.rstrip().split(" ", 1)
            write(root, int(limit))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
SPECS: dict[str, UnitSpec | AffinitySpec] = {
    "features": make_spec(frame_names=tuple(map(str, range(FRAMES)))),
    "affinities": make_affinities(frame_count=FRAMES, slots=9),
}


class Writers:
    """Runs writers of one kind of unit, one after the other, in separate processes."""

    def __init__(self, kind: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITERS, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(self, cache: Path, kill: tuple[int, float] | None = None) -> int:
        """Write the unit of a cache; kill the process after some frames and seconds. Return its exit code.

        The writer waits after the allowed frames, so a late kill on a busy machine finds it at the same frame.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        limit = FRAMES if kill is None or kill[0] == FRAMES else kill[0] + 3
        print(limit, cache, file=self._process.stdin, flush=True)
        child = int(self._process.stdout.readline())
        if kill is not None:
            frames, seconds = kill
            said = [self._process.stdout.readline() for _ in range(frames)]
            assert said == ["frame\n"] * frames
            time.sleep(seconds)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        return int(next(line for line in iter(self._process.stdout.readline, "") if line != "frame\n"))


@pytest.mark.parametrize("kind", SPECS)
def test_killed_at_random_moments(tmp_path: Path, kind: str) -> None:
    spec = SPECS[kind]
    cache = open_cache(tmp_path / "b", create=True)
    folder = spec.folder(cache.root)
    rng = random.Random(7)
    with Writers(kind) as writers:
        assert writers.run(tmp_path / "a") == 0
        for _ in range(7):
            code = writers.run(cache.root, (rng.randrange(5), rng.uniform(0, 0.004)))
            assert code == -signal.SIGKILL
            with pytest.raises(CacheError):
                open_unit(folder)
        assert writers.run(cache.root) == 0
    assert tree(cache.root) == tree(tmp_path / "a")


@pytest.mark.parametrize("kind", SPECS)
def test_killed_about_the_end(tmp_path: Path, kind: str) -> None:
    """After the last frame, the writer writes the marker and deletes its journal and claim."""
    spec = SPECS[kind]
    rng = random.Random(8)
    with Writers(kind) as writers:
        assert writers.run(tmp_path / "a") == 0
        for number in range(2):
            cache = open_cache(tmp_path / str(number), create=True)
            assert writers.run(cache.root, (FRAMES, rng.uniform(0, 0.02))) in (0, -signal.SIGKILL)
            folder = spec.folder(cache.root)
            try:
                open_unit(folder)
            except CacheError:
                assert writers.run(cache.root) == 0
            assert verify_unit(folder).state == "ok"
            names = {"claim.json", "journal.jsonl"}  # a process killed after the marker leaves these
            left = {path: data for path, data in tree(cache.root).items() if Path(path).name not in names}
            assert left == tree(tmp_path / "a")
