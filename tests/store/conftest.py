"""A small cache with one unit of random features; affinities of it; ways to damage them."""

import contextlib
import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ted.store import AffinitySpec, AffinityUnit, Cache, Unit, UnitSpec, open_cache, parse_codec
from ted.store.errors import Hint, TedError

from .unit_inputs import CHANNELS, FRAMES, GRID, make_affinities, make_frames, make_spec

if multiprocessing.parent_process() is None:  # child processes do not need the commands, which import torch
    from tests.pipeline.conftest import cli, davis_source

    __all__ = ["cli", "davis_source"]


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


@contextlib.contextmanager
def raises_with_hint(kind: type[TedError], hint: Hint) -> Iterator[None]:
    with pytest.raises(kind) as raised:
        yield
    assert raised.value.hint == hint


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


def write_affinities(cache: Cache, spec: AffinitySpec) -> AffinityUnit:
    with cache.affinity_writer(spec) as writer:
        for frame, values in enumerate(make_frames(spec)):
            if frame:
                writer.write(frame, *values)
            else:
                writer.write_empty(frame)
            writer.commit()
        writer.finish({"host": "here"})
    return AffinityUnit(spec.folder(cache.root))


def damage_chunk(unit: Path, key: str, damage: str) -> None:
    """Damage the chunk of frame 3: flip a bit, cut off or add bytes, delete it, or swap it with frame 1's."""
    chunk = unit / key
    data = bytearray(chunk.read_bytes())
    if damage == "flip":
        data[7] ^= 1
    elif damage == "truncate":
        data = data[:-5]
    elif damage == "extend":
        data += b"x"
    elif damage == "swap":  # both chunks are whole, with valid CRCs
        other = unit / key.replace("/3/", "/1/")
        data = bytearray(other.read_bytes())
        other.write_bytes(chunk.read_bytes())
    chunk.write_bytes(data)
    if damage == "delete":
        chunk.unlink()


def write_codec(cache: Cache, unit: Unit, notation: str) -> Unit:
    """Store the features of a float16 unit with another codec, fitted to them."""
    form, values = parse_codec(notation), unit.features.compute()
    spec = replace(unit.spec, form=form.name, source=unit.content_hash)
    with cache.writer(spec) as writer:
        if parameters := form.fit(values):
            writer.set_parameters(parameters)
        for frame, features in enumerate(values):
            writer.write(frame, features)
            writer.commit()
        writer.finish({"host": "here"})
    return Unit(spec.folder(cache.root))


def assert_affinities_equal(unit: AffinityUnit) -> None:
    for frame, values in enumerate(make_frames(unit.spec)):
        for read, wanted in zip(unit.read(frame), values, strict=True):
            assert read.dtype == wanted.dtype
            np.testing.assert_array_equal(read, wanted)


@pytest.fixture
def affinities(cache: Cache) -> AffinityUnit:
    return write_affinities(cache, make_affinities())


@pytest.fixture
def unit_folder(tmp_path: Path) -> Path:
    return tmp_path / "unit"
