import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from ted.propagate import FeatureReader
from ted.store.errors import ConfigError, CorruptUnitError, Hint
from tests.propagate.volumes import Counting, Untouchable, volume

CPU = torch.device("cpu")


def noise(*shape: int, seed: int = 0, dtype: type = np.float16) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("chunk", [1, 3, 10])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_frames_are_float32_and_in_order(chunk: int, dtype: type) -> None:
    values = noise(7, 3, 4, 5, dtype=dtype)
    frames = list(FeatureReader([(volume(values, chunk), 1.0)]).frames(CPU))
    assert len(frames) == 7
    for number, (frame, (part,)) in enumerate(frames):
        assert frame == number
        assert part.dtype == torch.float32
        assert torch.equal(part, torch.from_numpy(values[frame]).float())


def test_read_only_arrays_are_accepted() -> None:
    values = noise(4, 3, 4, 5)
    values.flags.writeable = False
    assert len(list(FeatureReader([(volume(values, 4), 1.0)]).frames(CPU))) == 4


def test_the_coarser_grid_is_resized_and_not_normalised() -> None:
    fine, coarse = noise(2, 8, 10, 3), 5 * noise(2, 4, 5, 6, seed=1)
    sources = FeatureReader([(volume(coarse), 0.5), (volume(fine), 0.5)])
    assert sources.grid == (8, 10)
    part = next(sources.frames(CPU))[1][0]
    raw = torch.from_numpy(coarse[0]).float().permute(2, 0, 1)[None]
    expected = functional.interpolate(raw, size=(8, 10), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    torch.testing.assert_close(part, expected)


@pytest.mark.parametrize("chunks", [(1, 1), (4, 3), (10, 2)])
def test_every_frame_is_read_once_and_only_a_block_ahead(chunks: tuple[int, int]) -> None:
    parts = [Counting(noise(10, 2, 3, 4), chunk) for chunk in chunks]
    frames = FeatureReader([(part, 1.0) for part in parts]).frames(CPU)
    for done, _ in enumerate(itertools.islice(frames, 4), 1):
        for part, chunk in zip(parts, chunks, strict=True):
            assert len(part.reads) <= -(-done // chunk) * chunk + chunk
    assert len(list(frames)) == 6
    for part in parts:
        assert part.reads == list(range(10))


def test_parts_without_weight_are_not_looked_at() -> None:
    sources = FeatureReader([(Untouchable(), 0.0), (volume(noise(3, 2, 2, 4)), 0.7)])
    assert sources.weights == (0.7,)
    assert len(list(sources.frames(CPU))) == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(bad: float) -> None:
    values = noise(5, 2, 3, 4)
    values[3, 1, 2, 0] = bad
    frames = FeatureReader([(volume(noise(5, 2, 3, 4)), 0.5), (volume(values), 0.5)]).frames(CPU)
    with pytest.raises(CorruptUnitError, match=r"frame 3 \(part 2 of 2\)") as error:
        list(frames)
    assert error.value.hint == Hint("verify")


def test_parts_that_do_not_fit_together_are_refused() -> None:
    values = noise(5, 2, 3, 4)
    with pytest.raises(ConfigError, match="different frame counts"):
        FeatureReader([(volume(values), 0.5), (volume(values[:4]), 0.5)])
    with pytest.raises(ConfigError, match="not empty"):
        FeatureReader([(volume(values[:0]), 0.5)])


def test_the_finest_part_gives_grid_and_frame_size() -> None:
    """Backbones may need frames of different sizes, whose grids cover the same picture."""
    coarse, fine = volume(noise(5, 2, 3, 4), frame_size=(64, 96)), volume(noise(5, 4, 5, 6), frame_size=(56, 84))
    for parts in ([coarse, fine], [fine, coarse]):
        sources = FeatureReader([(part, 0.5) for part in parts])
        assert (sources.grid, sources.frame_size) == ((4, 5), (56, 84))
    assert FeatureReader([(coarse, 1.0), (fine, 0.0)]).frame_size == (64, 96)


@pytest.mark.parametrize("weights", [(0.0, 0.0), (-0.5, 1.0), (float("nan"), 1.0)])
def test_useless_weights_are_refused(weights: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="weight"):
        FeatureReader([(volume(noise(2, 2, 2, 2)), weight) for weight in weights])


@pytest.mark.parametrize("chunk", [1, 3, 4])
def test_only_chunks_that_hold_wanted_frames_are_read(chunk: int) -> None:
    values = noise(11, 2, 3, 4)
    part = Counting(values, chunk)
    wanted = [0, 6, 7, 8]
    frames = dict(FeatureReader([(part, 1.0)]).frames(CPU, wanted))
    assert list(frames) == wanted
    for frame, (features,) in frames.items():
        assert torch.equal(features, torch.from_numpy(values[frame]).float())
    chunks = sorted({frame // chunk for frame in wanted})
    assert part.reads == [frame for number in chunks for frame in range(11) if frame // chunk == number]
