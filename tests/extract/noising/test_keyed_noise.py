import dataclasses
import itertools
from typing import Any

import pytest
import torch

from ted.extract.noising.keyed_noise import NOISE_SCHEME, NoiseKey, draw_noise

SHAPE = (2, 3, 8, 8)
KEY = NoiseKey(seed=0, video="blackswan", start=14)


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"video": "blackswan2"}, {"start": 15}, {"draw": 1}, {"purpose": "conditioning"}]
)
def test_every_part_of_the_key_matters(change: dict[str, Any]) -> None:
    first, second = draw_noise(KEY, SHAPE), draw_noise(dataclasses.replace(KEY, **change), SHAPE)
    correlation = float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])
    assert abs(correlation) < 4 / first.numel() ** 0.5


def test_parts_of_the_key_do_not_run_together() -> None:
    pairs = [
        (NoiseKey(seed=1, video="1", start=0), NoiseKey(seed=11, video="", start=0)),
        (NoiseKey(seed=0, video="a1", start=2), NoiseKey(seed=0, video="a", start=12)),
        (NoiseKey(seed=0, video="a", start=1, draw=23), NoiseKey(seed=0, video="a", start=12, draw=3)),
        (NoiseKey(seed=0, video="a", start=1, draw=2), NoiseKey(seed=0, video="a", start=2, draw=1)),
    ]
    for first, second in pairs:
        assert not torch.equal(draw_noise(first, SHAPE), draw_noise(second, SHAPE))


def test_same_key_same_noise_in_any_order() -> None:
    keys = [
        NoiseKey(seed=s, video=v, start=i, draw=d) for s, v, i, d in itertools.product((0, 1), "ab", (0, 7), (0, 1))
    ]
    forward = {key: draw_noise(key, SHAPE) for key in keys}
    torch.manual_seed(99)
    backward = {}
    for key in reversed(keys):
        torch.randn(3)
        backward[key] = draw_noise(key, SHAPE)
    assert all(torch.equal(forward[key], backward[key]) for key in keys)
    assert len({tuple(noise.flatten().tolist()) for noise in forward.values()}) == len(keys)


def test_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    draw_noise(KEY, SHAPE)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_threads_do_not_matter() -> None:
    shape, threads = (3, 256, 256), torch.get_num_threads()
    first = draw_noise(KEY, shape)
    torch.set_num_threads(1 if threads > 1 else 2)
    second = draw_noise(KEY, shape)
    torch.set_num_threads(threads)
    assert torch.equal(first, second)


def test_float32_on_the_cpu_whatever_the_defaults() -> None:
    expected = draw_noise(KEY, SHAPE)
    torch.set_default_dtype(torch.float64)
    try:
        noise = draw_noise(KEY, SHAPE)
    finally:
        torch.set_default_dtype(torch.float32)
    assert noise.dtype == torch.float32
    assert noise.device.type == "cpu"
    assert noise.shape == SHAPE
    assert torch.equal(noise, expected)


@pytest.mark.parametrize("count", [1, 5, 15, 16, 17, 100])
def test_only_the_number_of_values_matters(count: int) -> None:
    flat = draw_noise(KEY, (count,))
    assert torch.equal(draw_noise(KEY, (1, count, 1)).flatten(), flat)
    assert torch.equal(draw_noise(KEY, [count, 1]).flatten(), flat)


def test_standard_normal() -> None:
    noise = torch.stack([draw_noise(NoiseKey(seed=3, video="v", start=i), (4, 60, 104)) for i in range(40)]).double()
    count = noise.numel()  # about a million
    assert abs(noise.mean()) < 4 / count**0.5
    assert abs(noise.var() - 1) < 4 * (2 / count) ** 0.5
    assert abs((noise**4).mean() - 3) < 4 * (96 / count) ** 0.5
    below = torch.tensor([float((noise < x).double().mean()) for x in (-2.0, -1.0, 0.0, 1.0, 2.0)])
    expected = 0.5 * (1 + torch.erf(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]) / 2**0.5))
    assert (below - expected).abs().max() < 4 * 0.5 / count**0.5
    # Frames, channels and neighbouring pixels are independent.
    for axis in range(4):
        first, second = noise.narrow(axis, 0, noise.shape[axis] - 1), noise.narrow(axis, 1, noise.shape[axis] - 1)
        assert abs((first * second).mean()) < 4.5 / first.numel() ** 0.5


def test_noise_of_the_scheme_is_pinned() -> None:
    """Cached features depend on this noise, so another rule must have another name."""
    pinned = [-0.161082, -0.384768, 0.443389, -0.406652, 0.703286, 0.017074]
    noise = draw_noise(KEY, (3, 4, 4)).flatten()[:6]
    assert NOISE_SCHEME == "sha256-philox-float32-1"
    # The last bits may depend on the processor's vector instructions.
    torch.testing.assert_close(noise, torch.tensor(pinned), rtol=1e-5, atol=1e-6)


def test_many_keys_do_not_collide() -> None:
    # Two of 80,000 keys of a hundred videos, a hundred frames each, whose hashes agree in 32 bits: all that torch's
    # own generator keeps of a seed.
    first, second = NoiseKey(seed=0, video="video35", start=48), NoiseKey(seed=0, video="video49", start=11, draw=4)
    assert not torch.equal(draw_noise(first, SHAPE), draw_noise(second, SHAPE))
