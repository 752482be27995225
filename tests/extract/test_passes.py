import itertools

import pytest

from ted.extract.passes import Item, Passes


@pytest.mark.parametrize("size", [1, 2, 3, 5, 24, 100])
def test_every_item_is_in_exactly_one_pass_in_order(size: int) -> None:
    passes = Passes(clips=3, timesteps=(300, 51), draws=4, size=size)
    real = [item for number in range(len(passes)) for item in passes.items(number)[: passes.real(number)]]
    expected = itertools.product(range(3), (300, 51), range(4))
    assert real == [Item(clip=clip, timestep=timestep, draw=draw) for clip, timestep, draw in expected]


def test_the_last_pass_is_filled_up_with_its_last_item() -> None:
    passes = Passes(clips=1, timesteps=(7,), draws=5, size=3)
    assert [item.draw for item in passes.items(1)] == [3, 4, 4]
    assert passes.real(1) == 2


@pytest.mark.parametrize("size", [1, 3, 4, 7])
def test_needed_are_the_passes_that_hold_a_wanted_item(size: int) -> None:
    passes = Passes(clips=4, timesteps=(10, 20, 30), draws=2, size=size)
    for wanted in ({(0, 10)}, {(1, 30), (3, 20)}, {(2, 20)}, set(itertools.product(range(4), (10, 20, 30))), set()):
        expected = [
            number
            for number in range(len(passes))
            if any((item.clip, item.timestep) in wanted for item in passes.items(number)[: passes.real(number)])
        ]
        assert passes.needed(wanted) == expected
