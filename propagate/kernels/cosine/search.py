"""What both engines share: operands of products, exact cosines, and the check of errors."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ...transfer import on_device
from ..candidates import Candidates, keep_best
from .keys import EXTRA, PartKeys
from .pairs import pair_cosines
from .precision import Precision

if TYPE_CHECKING:
    from ...spec import SearchSpec
    from .kernel import CosineKernel

#: Queries (cell, channel) of the whole grid, and a function that returns the keys (frame, cell, channel) of some cells.
Operand = tuple[torch.Tensor, Callable[[slice], torch.Tensor]]

_NOWHERE = torch.iinfo(torch.int64).max
# Maximum number of similarities whose errors are checked together.
_AT_ONCE = 2**24


@dataclass(eq=False, kw_only=True)
class Search(ABC):
    """Search of one frame's sources in some frames of its context, in windows of one radius.

    Attributes
    ----------
    query, keys
        Features of the frame, (y, x, channel), float32, L2-normalised, and the keys of the context, for each part.
    product_precision
        Precision of the keys' products.
    slots
        The slot of each position in the context that is searched.
    groups
        For each fusion, groups of positions that have a common top-k.
    radius, circle
        Half the side of the square window, and the radius of the circle that limits it, if any.
    memo
        Values that are the same for all frames.
    order
        (slot,), int64: the position of each slot; -1 if it is not searched.
    scales, table_scales
        For each fusion, the scales of the parts' cosines, which sum to 1; and for each of these those of the tables.
    single
        Whether all fusions have the same scales, so that one table of fused similarities serves them all.
    """

    query: Sequence[torch.Tensor]
    keys: Sequence[PartKeys]
    product_precision: Precision
    slots: dict[int, int]
    spec: "SearchSpec"
    groups: Sequence[Sequence[Sequence[int]]]
    radius: int
    circle: int | None
    memo: dict[Hashable, Any]

    def __post_init__(self) -> None:
        self.kernel: CosineKernel = self.spec.kernel  # type: ignore[assignment]
        self.grid = (self.query[0].shape[0], self.query[0].shape[1])
        self.device = self.query[0].device
        order, slot_of = [-1] * (max(self.slots.values()) + 1), [0] * (max(self.slots) + 1)
        for position, slot in self.slots.items():
            order[slot], slot_of[position] = position, slot
        self.order = on_device(order, self.device)
        self._slot_of = on_device(slot_of, self.device)
        scales = [self.kernel.scales(fusion) for fusion in self.spec.fusions]
        self.scales = [tuple(scale / sum(own) for scale in own) for own in scales]
        self.single = len(set(self.scales)) == 1
        self.table_scales = {parts: (1.0,) if self.single else parts for parts in self.scales}
        self._tables: dict[Precision, tuple[list[list[Operand]], torch.Tensor]] = {}

    @abstractmethod
    def run(self, budget: int | None = None) -> Candidates:
        """Find the candidates of all pixels, with at most `budget` similarities in memory if possible."""

    def precision(self) -> Precision:
        """Return the precision of the keys, with its error estimated from a sample of pairs."""
        wanted = self.product_precision
        if not wanted.is_low:
            return wanted
        errors = []
        cells = self.grid[0] * self.grid[1]
        some = slice(0, cells, max(1, cells // 1024))
        last = on_device([self.slots[position] for position in sorted(self.slots)[-4:]], self.device)
        for query, keys in zip(self.query, self.keys, strict=True):
            samples = query.flatten(0, 1)[some].expand(len(last), -1, -1)
            errors.append(wanted.sampled_error(samples, keys.of(last, some)))
        return wanted.estimated(errors)

    def tables(self, precision: Precision) -> tuple[list[list[Operand]], torch.Tensor]:
        """Return each table's operands, and the shift of each query, (table, query), that its products lack.

        A table is the sum of its operands' products: one table of fused similarities, or one table for each part.
        """
        if precision not in self._tables:
            scales = self.scales[0] if self.single else (1.0,) * len(self.query)
            pairs = [self._operand(part, scale, precision) for part, scale in enumerate(scales) if scale > 0]
            operands, shift = [operand for operand, _ in pairs], torch.stack([shift for _, shift in pairs])
            self._tables[precision] = (
                ([operands], shift.sum(0, keepdim=True)) if self.single else ([[one] for one in operands], shift)
            )
        return self._tables[precision]

    def _operand(self, part: int, scale: float, precision: Precision) -> tuple[Operand, torch.Tensor]:
        query, keys, slots = self.query[part].flatten(0, 1), self.keys[part], slice(len(self.order))
        if not precision.is_low:
            return (query * scale, lambda cells: keys.of(slots, cells)), query.new_zeros(len(query))
        # Rounding errors are smaller near zero: shift the similarity of good sources there. The same cell in the last
        # frame is usually a good source.
        last = keys.of(self.slots[max(self.slots)], slice(len(query)))
        scaled = query * scale
        shift = (scaled * last).sum(-1)
        queries = torch.nn.functional.pad(scaled, (0, EXTRA)).to(precision.dtype)
        queries[:, -EXTRA] = -shift
        queries[:, 1 - EXTRA] = -queries[:, -EXTRA].float() - shift  # what rounding the shift has lost
        return (queries, lambda cells: keys.of(slots, cells, low=True)), shift

    def cosines(self, queries: slice | torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
        """Return the cosines, (part, query, c), of some queries of the grid with their sources; 0 in empty slots."""
        cells = self.grid[0] * self.grid[1]
        known = sources.clamp(min=0)
        # Empty slots may map to a position that is not searched; their cosines are masked.
        slots = self._slot_of[(known // cells).clamp(max=len(self._slot_of) - 1)]
        where = slots * self.keys[0].cells + known % cells
        cosines = [
            pair_cosines(query.flatten(0, 1)[queries], keys, where)
            for query, keys in zip(self.query, self.keys, strict=True)
        ]
        return torch.stack(cosines).masked_fill_(sources < 0, 0)

    def wrong(
        self,
        values: torch.Tensor,
        shift: torch.Tensor,
        cosines: torch.Tensor,
        sources: torch.Tensor,
        precision: Precision,
    ) -> torch.Tensor:
        """Return which queries have a source whose similarity is off by more than the error bound: (query,), bool.

        `values` and `shift` are entries of the tables, (table, query, c), and what these lack, (table, query).
        """
        if self.single:
            off = values[0] - weighted(cosines, self.scales[0]) + shift[0, :, None]
            return ((off.abs_() > precision.bound(values[0])) & (sources >= 0)).any(1)
        scales = on_device([*self.table_scales.values()], self.device)  # (fusion, table)
        off, wrong = values - cosines + shift[:, :, None], []
        step = max(1, _AT_ONCE // (len(scales) * sources.shape[1]))
        for found, error in zip(torch.split(values, step, 1), torch.split(off, step, 1), strict=True):
            wrong.append((combined(error, scales).abs_() > precision.bound(combined(found, scales))).any(0))
        return (torch.cat(wrong) & (sources >= 0)).any(1)

    def best(self, sources: torch.Tensor, cosines: torch.Tensor) -> Candidates:
        """Keep the k best sources of each fusion and group."""
        similarities, top_k = self.kernel.similarities, self.spec.top_k
        cells = self.grid[0] * self.grid[1]
        return keep_best(sources, cosines, similarities, self.spec.fusions, self.groups, top_k, cells)


def weighted(tables: Sequence[torch.Tensor] | torch.Tensor, scales: Sequence[float]) -> torch.Tensor:
    """Return the sum of tables, each times its scale."""
    terms = [table if scale == 1 else table * scale for table, scale in zip(tables, scales, strict=True) if scale > 0]
    return terms[0] if len(terms) == 1 else torch.stack(terms).sum(0)


def combined(tables: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Return the sums of tables, (table, ...), for several scales, (fusion, table): (fusion, ...), a new tensor."""
    factors = scales.T.reshape(len(tables), -1, *[1] * (tables.ndim - 1))
    total = tables[0] * factors[0]
    for table, factor in zip(tables[1:], factors[1:], strict=True):
        total.addcmul_(table, factor)
    return total


def distinct(sources: torch.Tensor, values: torch.Tensor, lists: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sort the sources of each query, (query, c), of one or several lists; likewise their values, (table, query, c).

    Repetitions are dropped, and empty slots (-1) moved to the end.
    """
    rank, order = sources.masked_fill(sources < 0, _NOWHERE).sort(dim=1)
    if lists > 1:  # keep the first occurrence of a source that is in several lists
        rank[:, 1:].masked_fill_(rank[:, 1:] == rank[:, :-1], _NOWHERE)
        rank, again = rank.sort(dim=1)
        order = order.gather(1, again)
    width = max(1, int((rank < _NOWHERE).sum(1).max()))
    rank, order = rank[:, :width], order[:, :width]
    return rank.masked_fill(rank == _NOWHERE, -1), values.gather(2, order.expand(len(values), -1, -1))
