"""Base class of kernels that score every source in the window, in blocks of queries to limit memory."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..context import positions_within
from ..fusion import Fusion
from .base import ContextIndex, Kernel
from .candidates import Candidates, keep_best, rows_of
from .window import inside_window

if TYPE_CHECKING:
    from ..spec import SearchSpec

__all__ = ["DenseKernel", "QueriesAndKeys"]

QueriesAndKeys = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class DenseKernel(Kernel):
    """Base class of kernels that are defined by scores of queries with keys.

    A subclass implements `prepare`, `score` and `similarity`, and `component_count` if that is not the number of parts.
    `prepare` returns queries and keys, (component, y, x, channel) each, for example one component for each head.

    Attributes
    ----------
    block_scores
        Maximum number of scores in memory, over all components. It is a constant, so that results do not depend on the
        settings searched.
    """

    block_scores: ClassVar[int] = 2**25

    @abstractmethod
    def prepare(self, parts: Sequence[torch.Tensor]) -> QueriesAndKeys:
        """Return queries and keys of a frame, (component, y, x, channel) each."""

    @abstractmethod
    def score(self, queries: torch.Tensor, keys: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        """Score queries with keys.

        Parameters
        ----------
        queries
            (component, query, channel).
        keys
            (component, key, channel): all sources of these queries, in the order of (context frame, y, x).
        inside
            (query, key), bool: whether the source lies in the query's window; all True in a similarity map.

        Returns
        -------
        torch.Tensor
            (component, query, key), float32; values outside the window are not used.
        """

    def index(self, spec: "SearchSpec", capacity: int) -> ContextIndex:
        """Return an empty index for a search."""
        return _DenseIndex(self, spec)

    def similarity_map(
        self, query: QueriesAndKeys, cell: tuple[int, int], keys: QueriesAndKeys, fusion: Fusion
    ) -> torch.Tensor:
        """Return the similarity of one pixel with every pixel of a frame, (y, x)."""
        height, width = keys[1].shape[1:3]
        inside = torch.ones(1, height * width, dtype=torch.bool, device=keys[1].device)
        scores = self.score(query[0][:, cell[0], cell[1]][:, None], keys[1].flatten(1, 2), inside)
        return self.similarity(scores, fusion).view(height, width)


class _DenseIndex(ContextIndex):
    def __init__(self, kernel: DenseKernel, spec: "SearchSpec") -> None:
        self._kernel = kernel
        self._spec = spec
        self._keys: dict[int, torch.Tensor] = {}

    def keep(self, frames: Iterable[int]) -> None:
        self._keys = {frame: self._keys[frame] for frame in frames if frame in self._keys}

    def add(self, frame: int, features: QueriesAndKeys) -> None:
        self._keys[frame] = features[1]

    @torch.no_grad()
    def search(self, features: QueriesAndKeys, context: Sequence[int], annotated: int) -> Candidates:
        spec, queries = self._spec, features[0]
        components, height, width = queries.shape[:3]
        keys = [self._keys[frame] for frame in context]
        groups = [
            [[position] for position in positions] if spec.per_frame else [positions]
            for positions in (positions_within(len(context), annotated, fusion.context) for fusion in spec.fusions)
        ]
        # Rows of queries in a block, or columns if a single row exceeds the limit.
        reach = height if spec.unrestricted_first else min(height, 2 * spec.radius + 1)
        per_query = components * len(context) * reach * width
        rows = max(1, self._kernel.block_scores // (per_query * width * 2))
        columns = width if rows > 1 else min(width, max(1, self._kernel.block_scores // per_query))
        blocks = [
            self._block(queries, keys, annotated, groups, ys, xs)
            for ys in _spans(height, rows)
            for xs in _spans(width, columns)
        ]
        most = max(block.sources.shape[1] for block in blocks)
        pad = torch.nn.functional.pad
        found = Candidates(
            sources=torch.cat([pad(block.sources, (0, most - block.sources.shape[1]), value=-1) for block in blocks]),
            scores=torch.cat([pad(block.scores, (0, most - block.scores.shape[2])) for block in blocks], dim=1),
            bounds=torch.cat([block.bounds for block in blocks], dim=1),
        )
        if columns == width:
            return found
        order = torch.cat(
            [
                torch.arange(y * width + xs.start, y * width + xs.stop)
                for y in range(height)
                for xs in _spans(width, columns)
            ]
        ).argsort()
        order = order.to(found.sources.device)
        return Candidates(sources=found.sources[order], scores=found.scores[:, order], bounds=found.bounds[:, order])

    def _block(
        self,
        queries: torch.Tensor,
        keys: Sequence[torch.Tensor],
        annotated: int,
        groups: Sequence[Sequence[Sequence[int]]],
        rows: range,
        columns: range,
    ) -> Candidates:
        """Find the candidates of a rectangle of queries."""
        spec, kernel = self._spec, self._kernel
        height, width = queries.shape[1:3]
        near = slice(max(0, rows.start - spec.radius), min(height, rows.stop + spec.radius))
        cells = torch.arange(height * width, device=queries.device).view(height, width)
        here = cells[rows.start : rows.stop, columns.start : columns.stop].flatten()
        spans = [
            slice(0, height) if spec.unrestricted_first and position < annotated else near
            for position in range(len(keys))
        ]
        held = torch.cat([key[:, span].flatten(1, 2) for key, span in zip(keys, spans, strict=True)], dim=1)
        # (key,): flat indices into (context frame, y, x), rising.
        sources = torch.cat([cells[span].flatten() + position * height * width for position, span in enumerate(spans)])
        position, cell = sources // (height * width), sources % (height * width)
        inside = inside_window(
            cell // width - (here // width)[:, None], cell % width - (here % width)[:, None], spec.radius, spec.window
        )
        if spec.unrestricted_first:
            inside |= position < annotated
        scores = kernel.score(queries.flatten(1, 2)[:, here], held, inside)
        chosen = torch.zeros_like(inside)
        for fusion, several in zip(spec.fusions, groups, strict=True):
            similar = kernel.similarity(scores, fusion)
            for positions in several:
                among = inside & torch.isin(position, torch.tensor(positions, device=position.device))
                chosen |= _best(similar.masked_fill(~among, -torch.inf), spec.top_k)
        query, column = chosen.nonzero(as_tuple=True)
        listed, listed_scores = rows_of(query, sources[column], scores[:, query, column], len(here))
        return keep_best(listed, listed_scores, kernel.similarity, spec.fusions, groups, spec.top_k, height * width)


def _spans(size: int, length: int) -> list[range]:
    return [range(start, min(start + length, size)) for start in range(0, size, length)]


def _best(similarity: torch.Tensor, top_k: int) -> torch.Tensor:
    """Return the mask of the k largest finite values of each row, (query, key), bool; ties: the first keys."""
    if similarity.shape[1] <= top_k:
        return similarity > -torch.inf
    kth = similarity.topk(top_k, sorted=False).values.amin(1, keepdim=True)
    larger, equal = similarity > kth, similarity == kth
    room = top_k - larger.sum(1, keepdim=True)
    return (larger | (equal & (equal.cumsum(1) <= room))) & (similarity > -torch.inf)
