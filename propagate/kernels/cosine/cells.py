"""Engine for processors: small products over tiles of cells, which waste few operations and stay in the cache."""

from collections.abc import Sequence

import torch

from ..candidates import Candidates
from .admission import TooManyCandidatesError, admit, stacked
from .precision import Precision, exact_products
from .scores import TileScores
from .search import Search, distinct
from .tiles import Tile, plan_tiles

# Maximum number of similarities of a tile, over all tables. Larger tiles are slightly faster and take more memory.
_BUDGET = 2**23


class CellSearch(Search):
    """Search tile by tile; every product that is not in a window is avoided as far as possible."""

    def run(self, budget: int | None = None) -> Candidates:
        """Find the candidates of all pixels; `budget` determines the size of tiles."""
        height, width = self.grid
        tables = 1 if self.single else len(self.query)
        tiles = plan_tiles(
            self.grid,
            self.radius,
            frames=len(self.order),
            channels=sum(part.shape[-1] for part in self.query),
            budget=(budget or _BUDGET) // tables,
        )
        precision, size = self.precision(), max(tile.products(len(self.order)) for tile in tiles)
        buffers: dict[torch.dtype, list[torch.Tensor]] = {}
        pixels = torch.arange(height * width, device=self.device).view(height, width)
        found: list[tuple[torch.Tensor, Candidates]] = []
        for tile in tiles:
            part: Candidates | None = None
            while part is None:
                if precision.dtype not in buffers:
                    empty = [torch.empty(size, dtype=precision.dtype, device=self.device) for _ in range(tables)]
                    buffers = {precision.dtype: empty}
                part, precision = self.tile(tile, precision, buffers[precision.dtype])
            here = pixels[tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop]
            found.append((here.flatten(), part))
        sources, scores = stacked([(part.sources, part.scores) for _, part in found])
        bounds = torch.cat([part.bounds for _, part in found], dim=1)
        order = torch.cat([here for here, _ in found]).argsort()
        return Candidates(sources=sources[order], scores=scores[:, order], bounds=bounds[:, order])

    def tile(
        self, tile: Tile, precision: Precision, buffers: Sequence[torch.Tensor]
    ) -> tuple[Candidates | None, Precision]:
        """Find a tile's candidates; return None and the next precision to try if errors exceeded their bound."""
        tables, shift = self.tables(precision)
        with exact_products():
            scores = TileScores(tile, tables, len(self.order), self.grid[1], buffers, circle=self.circle)
        together: dict[tuple[int, ...], dict[tuple[float, ...], None]] = {}
        for parts, several in zip(self.scales, self.groups, strict=True):
            for positions in filter(None, several):
                together.setdefault(tuple(positions), {})[self.table_scales[parts]] = None
        try:
            pieces = [
                admit(scores, [*some], precision, self.order, self.grid, self.spec.top_k, self._frames(positions))
                for positions, some in together.items()
            ]
        except TooManyCandidatesError:
            return None, precision.wider()
        sources, values = (torch.cat(lists, dim=-1) for lists in zip(*pieces, strict=True))
        sources, values = distinct(sources, values, len(pieces))
        cells = torch.arange(self.grid[0] * self.grid[1], device=self.device).view(self.grid)
        here = cells[tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop].flatten()
        cosines = self.cosines(here, sources)
        if bool(self.wrong(values, shift[:, here], cosines, sources, precision).any()):
            return None, precision.wider()
        return self.best(sources, cosines), precision

    def _frames(self, positions: Sequence[int]) -> list[int] | None:
        """Return the slots of some positions; None for all slots."""
        slots = sorted(self.slots[position] for position in positions)
        return None if len(slots) == len(self.order) else slots
