"""Exact search for the most similar sources under one or several fusions of cosines.

Matrix products compute the similarities of all sources in a window. Their last bits depend on the matrices' shapes, and
they may have low precision, so they only select candidates. The candidates are compared by cosines computed pair by
pair, whose bits depend only on the pair. So the result does not depend on the engine, its blocks, workers, or other
settings.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ...context import positions_within
from ...slots import Slots
from ..base import ContextIndex
from ..candidates import Candidates, keep_best
from .cells import CellSearch
from .keys import PartKeys
from .precision import Precision, best_precision
from .rows import RowSearch
from .search import Search, distinct

if TYPE_CHECKING:
    from ...spec import SearchSpec

UnitVectors = Sequence[torch.Tensor]


def best_engine(device: torch.device) -> type[Search]:
    """Return the engine for a device.

    At the paper's scale, the cell engine computes 1.2 times the products of the windows in 36,000 operations, the row
    engine 4.7 times in 400. A CPU starts an operation in the time of a few thousand multiply-adds, a GPU in that of a
    billion.
    """
    return CellSearch if device.type == "cpu" else RowSearch


class CosineIndex(ContextIndex):
    """An index of a context's features.

    Parameters
    ----------
    spec
        The search.
    capacity
        Maximum number of frames in the index.
    engine
        `CellSearch` or `RowSearch`, which find the same candidates; by default `best_engine` of the features' device.
    precision
        Precision of the products that select candidates; it does not change the result. Default: the fastest one on the
        features' device.
    budget
        Maximum number of similarities in memory; it does not change the result.

    Attributes
    ----------
    keys
        The keys of each part; empty until a frame is added.
    """

    def __init__(
        self,
        spec: "SearchSpec",
        capacity: int,
        *,
        engine: type[Search] | None = None,
        precision: Precision | None = None,
        budget: int | None = None,
    ) -> None:
        self.spec = spec
        self.keys: list[PartKeys] = []
        self._engine = engine
        self._precision = precision
        self._budget = budget
        self._slots = Slots()
        self._capacity = capacity
        self._memo: dict[Hashable, Any] = {}

    def keep(self, frames: Iterable[int]) -> None:
        """Drop all other frames."""
        self._slots.keep(frames)

    def add(self, frame: int, features: UnitVectors) -> None:
        """Add a frame: one tensor per part, (y, x, channel), float32, L2-normalised."""
        if not self.keys:
            precision = self.precision(features[0].device)
            self.keys = [PartKeys.empty(values, self._capacity, precision) for values in features]
        slot = self._slots.put(frame)
        for keys, values in zip(self.keys, features, strict=True):
            keys.put(slot, values)

    def precision(self, device: torch.device) -> Precision:
        """Return the precision of the products."""
        if self._precision is None:
            self._precision = best_precision(device, torch.get_num_threads())
        return self._precision

    @torch.no_grad()
    def search(self, features: UnitVectors, context: Sequence[int], annotated: int) -> Candidates:
        """Find the k most similar sources of each pixel under each fusion; see `ContextIndex.search`.

        Between equally similar sources, the one with the lower (context frame, y, x) is preferred.
        """
        spec = self.spec
        slots = self._slots.of(context)
        within = [positions_within(len(context), annotated, fusion.context) for fusion in spec.fusions]
        reach = spec.radius - 1 if spec.window == "circle" else spec.radius
        circle = spec.radius if spec.window == "circle" else None
        everywhere = max(features[0].shape[:2])
        if spec.unrestricted_first:
            passes = [(range(annotated), everywhere, None), (range(annotated, len(context)), reach, circle)]
        else:
            passes = [(range(len(context)), reach, circle)]
        found, copies = [], {}
        for positions, radius, limit in passes:
            first = dict[int, int]()  # frame -> its first position in this pass
            for position in positions:
                copies[position] = first.setdefault(context[position], position)
            if first:
                groups = self._groups([sorted({copies[at] for at in places if at in positions}) for places in within])
                unique = {position: slots[position] for position in first.values()}
                found.append(self._pass(features, unique, groups, radius, limit))
        cells = features[0].shape[0] * features[0].shape[1]
        if len(found) == 1 and all(position == original for position, original in copies.items()):
            return found[0]
        sources, scores = _merged(found, copies, cells)
        return keep_best(
            sources, scores, spec.kernel.similarities, spec.fusions, self._groups(within), spec.top_k, cells
        )

    def _pass(
        self,
        features: UnitVectors,
        slots: dict[int, int],
        groups: Sequence[Sequence[Sequence[int]]],
        radius: int,
        circle: int | None,
    ) -> Candidates:
        """Search some positions of the context, given with their slots, in windows of one radius."""
        keys = self.keys
        if 2 * len(slots) <= max(slots.values()):  # do not multiply frames that are not searched
            rows = sorted(set(slots.values()))
            keys = [part.some(rows) for part in keys]
            slots = {position: rows.index(slot) for position, slot in slots.items()}
        device = features[0].device
        engine = self._engine or best_engine(device)
        search = engine(
            query=features,
            keys=keys,
            product_precision=self.precision(device),
            slots=slots,
            spec=self.spec,
            groups=groups,
            radius=radius,
            circle=circle,
            memo=self._memo,
        )
        return search.run(self._budget)

    def _groups(self, within: Sequence[Sequence[int]]) -> list[list[list[int]]]:
        """Return, for each fusion, the groups of positions that have a common top-k."""
        if self.spec.per_frame:
            return [[[position] for position in positions] for positions in within]
        return [[list(positions)] for positions in within]


def _merged(found: Sequence[Candidates], copies: dict[int, int], cells: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Merge the candidates of several passes, and repeat those of frames that occur several times in the context.

    `copies` has, for each position in the context, the searched position with the same frame in the same pass.
    """
    sources = torch.cat([piece.sources for piece in found], dim=1)
    scores = torch.cat([piece.scores for piece in found], dim=2)
    position = torch.div(sources, cells, rounding_mode="floor")
    repeated = [(at, original) for at, original in copies.items() if at != original]
    more = [torch.where(position == original, sources + (at - original) * cells, -1) for at, original in repeated]
    return distinct(torch.cat([sources, *more], dim=1), torch.cat([scores] * (1 + len(more)), dim=2), 1)
