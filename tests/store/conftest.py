"""A small cache with one unit of random features."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ted.store import Cache, FeatureRequest, Unit, UnitSpec, open_cache

FRAMES, GRID, CHANNELS = 5, (3, 4), 6


def make_spec(**changes: object) -> UnitSpec:
    request = FeatureRequest(
        video=str(changes.pop("video", "swan")),
        frames="f" * 64,
        backbone="adm",
        weights="sha256:00",
        frame_size=(24, 32),
        seed=int(str(changes.pop("seed", 0))),
    )
    values: dict[str, object] = {
        "dataset": "davis",
        "request": request,
        "timestep": 51,
        "tap": "up_blocks[2]",
        "frame_names": tuple(f"{i:05d}" for i in range(FRAMES)),
        "source_size": (48, 64),
    }
    return UnitSpec(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture
def spec() -> UnitSpec:
    return make_spec()


@pytest.fixture
def values() -> NDArray[np.float16]:
    rng = np.random.default_rng(3)
    return rng.standard_normal((FRAMES, *GRID, CHANNELS)).astype(np.float16)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return open_cache(tmp_path / "cache", create=True)


def write_unit(cache: Cache, spec: UnitSpec, values: NDArray[np.float16]) -> Unit:
    with cache.writer(spec) as writer:
        for frame, features in enumerate(values):
            writer.write(frame, features)
            writer.commit()
        writer.finish({"host": "here"})
    return Unit(spec.folder(cache.root))


@pytest.fixture
def unit(cache: Cache, spec: UnitSpec, values: NDArray[np.float16]) -> Unit:
    return write_unit(cache, spec, values)
