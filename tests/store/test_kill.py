"""Writers killed at random moments: nothing is accepted early, and the resumed unit equals an undisturbed one."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ted.store import AffinitySpec, UnitSpec, open_cache, verify_unit
from ted.store.errors import CacheError
from ted.store.integrity import open_unit

from .conftest import make_affinities, make_spec
from .test_writer import tree

FRAMES = 40
WRITER = f"""
import sys, time
import numpy as np
from pathlib import Path
from ted.store import open_cache
from tests.store.conftest import make_spec

spec = make_spec(frame_names=tuple(map(str, range({FRAMES}))))
print("ready", flush=True)
with open_cache(Path(sys.argv[1]), create=True).writer(spec) as writer:
    for frame in range({FRAMES}):
        if frame not in writer.done:
            time.sleep(0.01)  # so that kills fall between any two steps, and not all after the last
            writer.write(frame, np.random.default_rng(frame).standard_normal((16, 24, 32)))
            if frame % 2:
                writer.commit()
    writer.finish({{}})
"""
AFFINITIES = f"""
import sys, time
from pathlib import Path
from ted.store import open_cache
from tests.store.conftest import make_affinities, make_frames

spec = make_affinities(frame_count={FRAMES}, slots=9)
frames = make_frames(spec)
print("ready", flush=True)
with open_cache(Path(sys.argv[1]), create=True).affinity_writer(spec) as writer:
    for frame in range({FRAMES}):
        if frame not in writer.done:
            time.sleep(0.01)
            writer.write(frame, *frames[frame])
            if frame % 2:
                writer.commit()
    writer.finish({{}})
"""
SPECS: dict[str, UnitSpec | AffinitySpec] = {
    WRITER: make_spec(frame_names=tuple(map(str, range(FRAMES)))),
    AFFINITIES: make_affinities(frame_count=FRAMES, slots=9),
}


def start(writer: str, cache: Path) -> "subprocess.Popen[str]":
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", writer, str(cache)], stdout=subprocess.PIPE, text=True, cwd=root)
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline() == "ready\n"
    return process


@pytest.mark.parametrize("writer", SPECS, ids=["features", "affinities"])
def test_killed_at_random_moments(tmp_path: Path, writer: str) -> None:
    spec = SPECS[writer]
    undisturbed = tmp_path / "a"
    assert start(writer, undisturbed).wait(60) == 0
    cache = open_cache(tmp_path / "b", create=True)
    folder = spec.folder(cache.root)
    rng = random.Random(7)
    kills = 0
    for _ in range(7):
        process = start(writer, cache.root)
        time.sleep(rng.uniform(0, 0.25))
        process.kill()
        process.wait()
        kills += process.returncode != 0
        if process.returncode == 0:
            break
        try:
            open_unit(folder)
        except CacheError:
            continue
        # Killed between the marker and the end: then everything is there.
        assert verify_unit(folder).state == "ok"
        break
    assert kills > 2
    if verify_unit(folder).state != "ok":
        assert start(writer, cache.root).wait(60) == 0
    names = {"claim.json", "journal.jsonl"}  # a process killed after the marker leaves these
    left = {path: data for path, data in tree(cache.root).items() if Path(path).name not in names}
    assert left == tree(undisturbed)
