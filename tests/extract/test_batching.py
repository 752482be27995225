import pytest
import torch

from ted.extract.backbones.base import Backbone
from ted.extract.batching import fit_batch_size, largest_batch
from ted.extract.runtime import is_out_of_memory

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


def test_a_processor_takes_the_default(adm: Backbone) -> None:
    assert fit_batch_size(adm, make_plan(adm, random_frames(1), (64, 64))) is None


def test_memory_that_ran_out_is_recognised() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
