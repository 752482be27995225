import pytest

from ted.propagate.kernels.cosine.tiles import plan_tiles

CASES = [
    # grid, radius, frames, channels, budget
    ((30, 54), 15, 29, 52, 2**24),
    ((60, 104), 15, 29, 1152, 2**24),
    ((60, 104), 15, 29, 1152, 2**20),
    ((60, 104), 200, 29, 1152, 2**24),
    ((1, 1), 15, 1, 3, 2**20),
    ((1, 40), 3, 5, 8, 2**12),
    ((7, 5), 0, 2, 8, 64),
]


@pytest.mark.parametrize(("grid", "radius", "frames", "channels", "budget"), CASES)
def test_tiles_partition_the_grid_and_hold_every_window_exactly(
    grid: tuple[int, int], radius: int, frames: int, channels: int, budget: int
) -> None:
    seen: dict[tuple[int, int], int] = {}
    for tile in plan_tiles(grid, radius, frames=frames, channels=channels, budget=budget):
        reached: tuple[set[int], set[int]] = (set(), set())
        for axis, queries in enumerate((tile.rows, tile.columns)):
            for query in queries:
                reached[axis].update(key for key in range(grid[axis]) if abs(key - query) <= radius)
        assert set(tile.key_rows) == reached[0]
        assert set(tile.key_columns) == reached[1]
        assert tile.queries == len(tile.rows) * len(tile.columns)
        for y in tile.rows:
            for x in tile.columns:
                seen[y, x] = seen.get((y, x), 0) + 1
    assert seen == {(y, x): 1 for y in range(grid[0]) for x in range(grid[1])}


@pytest.mark.parametrize(("grid", "radius", "frames", "channels", "budget"), CASES)
def test_rows_meet_exactly_those_that_see_them(
    grid: tuple[int, int], radius: int, frames: int, channels: int, budget: int
) -> None:
    for tile in plan_tiles(grid, radius, frames=frames, channels=channels, budget=budget)[:20]:
        pairs = 0
        for key_row in tile.key_rows:
            rows = [row for row in tile.rows if abs(row - key_row) <= radius]
            assert list(tile.seen_from(key_row)) == rows
            assert rows
            pairs += len(rows)
        assert tile.products(frames) == frames * pairs * len(tile.columns) * len(tile.key_columns)


@pytest.mark.parametrize(("grid", "radius", "frames", "channels", "budget"), CASES)
def test_blocks_stay_within_the_budget(
    grid: tuple[int, int], radius: int, frames: int, channels: int, budget: int
) -> None:
    tiles = plan_tiles(grid, radius, frames=frames, channels=channels, budget=budget)
    assert max(tile.products(frames) for tile in tiles) <= budget


def test_few_products_are_wasted_at_paper_scale() -> None:
    tiles = plan_tiles((60, 104), 15, frames=29, channels=1152, budget=2**25)
    axes = [sum(min(size, i + 16) - max(0, i - 15) for i in range(size)) for size in (60, 104)]
    assert sum(tile.products(29) for tile in tiles) < 1.3 * 29 * axes[0] * axes[1]


def test_budget_below_a_single_window_leaves_single_queries() -> None:
    tiles = plan_tiles((6, 8), 2, frames=3, channels=4, budget=1)
    assert [tile.queries for tile in tiles] == [1] * 48
