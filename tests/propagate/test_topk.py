import torch

from ted.propagate.topk import best_sources
from ted.propagate.windows import Tile


def row_tile(width: int) -> Tile:
    everything = range(width)
    return Tile(rows=range(1), columns=everything, key_rows=range(1), key_columns=everything)


def test_similarities_apart_by_rounding_tie() -> None:
    # What a matrix product makes of four equal sources: the last bits differ with their place.
    row = torch.tensor([0.3, 0.5 - 6e-8, 0.5, 0.5 + 6e-8, 0.5, 0.9])
    block = row.expand(1, 1, 6, 1, 6).contiguous()
    positions, values = best_sources(block, row_tile(6), 6, 2, 1e-6)
    assert positions.sort(dim=1).values.tolist() == [[1, 5]] * 6
    assert positions[:, 0].tolist() == [5] * 6
    torch.testing.assert_close(values, row[positions], atol=0, rtol=0)
    exact, _ = best_sources(block, row_tile(6), 6, 2, 0.0)
    assert exact.sort(dim=1).values.tolist()[0] == [3, 5]


def test_differences_beyond_the_tolerance_decide() -> None:
    row = torch.tensor([0.5, 0.5 + 3e-6, 0.5 + 6e-6, 0.1])
    positions, _ = best_sources(row.expand(1, 1, 4, 1, 4).contiguous(), row_tile(4), 4, 2, 1e-6)
    assert positions.tolist() == [[2, 1]] * 4


def test_ties_across_frames_and_rows_are_filled_in_order() -> None:
    tile = Tile(rows=range(2), columns=range(2), key_rows=range(2), key_columns=range(2))
    block = torch.full((3, 2, 2, 2, 2), 0.25)
    block[2, :, :, 1, 0] = 0.75  # position 2 * 4 + 2
    positions, values = best_sources(block, tile, 1, 6, 1e-6)
    assert positions.tolist() == [[10, 0, 1, 2, 3, 4]] * 4
    assert values.tolist() == [[0.75] + [0.25] * 5] * 4
