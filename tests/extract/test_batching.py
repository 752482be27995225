import sys

import pytest
import torch

from ted.extract.backbones.base import Backbone
from ted.extract.batching import fit_batch_size, largest_batch
from ted.extract.runtime import MemoryMeter, free_memory, is_out_of_memory

from .conftest import make_plan, random_frames


@pytest.mark.parametrize(
    ("available", "most", "expected"),
    [
        (1000, 64, 8),  # 100 + 90 n: 10 would fit, 8 is the power of two below
        (820, 64, 8),
        (819, 64, 4),
        (1000, 6, 4),
        (1000, 1, 1),
        (300, 64, 2),
        (200, 64, 1),
        (10, 64, 1),  # not even one fits: the pass itself will say so
    ],
)
def test_the_largest_power_of_two_that_fits(available: int, most: int, expected: int) -> None:
    assert largest_batch(lambda items: 100 + 90 * items, available, most) == expected


def test_two_items_are_not_tried_where_one_hardly_fits() -> None:
    asked: list[int] = []

    def peak(items: int) -> int:
        asked.append(items)
        return 1000 * items

    assert largest_batch(peak, 900, 64) == 1
    assert asked == [1]


@pytest.mark.parametrize(("free", "expected"), [(1 << 40, 8), (0, 1)])
def test_a_processor_takes_the_default_if_that_fits(
    adm: Backbone, monkeypatch: pytest.MonkeyPatch, free: int, expected: int
) -> None:
    monkeypatch.setattr("ted.extract.batching.free_memory", lambda device: free)
    monkeypatch.setattr("ted.extract.batching.MemoryMeter.peak", 1000)
    assert fit_batch_size(adm, make_plan(adm, random_frames(1), (64, 64))) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is known on Linux only")
def test_the_peak_of_a_process_is_that_since_the_meter_was_made() -> None:
    torch.ones(50 << 20, dtype=torch.uint8)  # freed before
    meter = MemoryMeter(torch.device("cpu"))
    held = torch.ones(200 << 20, dtype=torch.uint8)
    del held
    assert 190 << 20 < meter.peak < 230 << 20
    assert 0 < free_memory(torch.device("cpu")) < 1 << 50


def test_memory_that_ran_out_is_recognised() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
