"""Keys in memory: exact to the last bit, rounded to the nearest value, and without a copy in bfloat16."""

import pytest
import torch

from ted.propagate.kernels.cosine.keys import EXTRA, PartKeys
from ted.propagate.kernels.cosine.pairs import unit_vectors
from ted.propagate.kernels.cosine.precision import BFLOAT16, FLOAT16, FLOAT32, Precision


def frames(grid: tuple[int, int], channels: int) -> torch.Tensor:
    values = unit_vectors(torch.randn(3, *grid, channels, generator=torch.Generator().manual_seed(0)))
    # Halves that round up, down and to even, zeros, tiny and negative values.
    hard = [
        0x3F008000,
        0x3F018000,
        0x3F007FFF,
        0x3F00FFFF,
        0x80000000 - 2**32,
        0,
        1,
        0xBF008001 - 2**32,
        0xBF7FFFFF - 2**32,
    ]
    values[1, 0, 0, : len(hard)] = torch.tensor(hard, dtype=torch.int32).view(torch.float32)
    return values


@pytest.mark.parametrize("precision", [FLOAT32, FLOAT16, BFLOAT16], ids=["float32", "float16", "bfloat16"])
def test_keys_are_exact_to_the_last_bit(precision: Precision) -> None:
    values = frames((3, 5), 12)
    keys = PartKeys.empty(values[0], 3, precision)
    for slot in (2, 0, 1):
        keys.put(slot, values[slot])
    stored = keys.of(slice(3), slice(15))
    assert torch.equal(stored.contiguous().view(torch.int32), values.flatten(1, 2).view(torch.int32))
    assert keys.cells == 16  # whole segments
    where = torch.tensor([0, 16, 16 + 14, 2 * 16 + 3])
    assert torch.equal(keys[where], torch.stack([values[0, 0, 0], values[1, 0, 0], values[1, 2, 4], values[2, 0, 3]]))
    assert torch.equal(keys.some([1]).of(slice(1), slice(15)), stored[1:2])
    if precision.is_low:
        rounded = keys.of(slice(3), slice(15), low=True)
        assert rounded.dtype == precision.dtype
        nearest = values.flatten(1, 2).to(precision.dtype)
        off = (rounded[..., :-EXTRA].float() - stored).abs()
        assert bool((off <= (nearest.float() - stored).abs()).all())  # halves may go either way
        assert bool((rounded[..., -EXTRA : 2 - EXTRA] == 1).all())


def test_bfloat16_keys_take_the_memory_of_float32_ones() -> None:
    sizes = {}
    for precision in (FLOAT32, FLOAT16, BFLOAT16):
        features = [torch.empty(60, 104, channels, device="meta") for channels in (640, 512)]
        sizes[precision] = sum(PartKeys.empty(part, 29, precision).nbytes for part in features)
    assert sizes[FLOAT32] == 29 * 60 * 104 * 1152 * 4
    assert sizes[BFLOAT16] < 1.01 * sizes[FLOAT32]
    assert sizes[FLOAT16] > 1.5 * sizes[FLOAT32]
