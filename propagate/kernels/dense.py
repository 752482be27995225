"""Base class of kernels that score every source in the window, in blocks of queries to limit memory."""

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..context import positions_within
from ..fusion import Fusion
from .base import ContextIndex, Kernel
from .candidates import Candidates, keep_best
from .window import inside_window

if TYPE_CHECKING:
    from ..spec import SearchSpec

QueriesAndKeys = tuple[torch.Tensor, torch.Tensor]

# Least side of a block of queries, in cells.
_LEAST_SIDE = 8


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
    block_scores_on_gpu
        The same on a GPU, where fewer and larger operations are faster.
    """

    block_scores: ClassVar[int] = 2**25
    block_scores_on_gpu: ClassVar[int] = 2**26

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

    def score_context(
        self, queries: torch.Tensor, keys: torch.Tensor, inside: torch.Tensor, frames: Sequence[int]
    ) -> torch.Tensor:
        """Score queries with the keys of their context; by default `score`.

        `frames` has the number of keys of each context frame, in the order of `keys`.
        """
        return self.score(queries, keys, inside)

    def index(self, spec: "SearchSpec", capacity: int) -> ContextIndex:
        """Return an empty index for a search."""
        return _DenseIndex(self, spec)

    def similarity_map(
        self, query: QueriesAndKeys, cell: tuple[int, int], keys: QueriesAndKeys, fusion: Fusion
    ) -> torch.Tensor:
        """Return the similarity of one pixel with every pixel of a frame, (y, x)."""
        height, width = keys[1].shape[1:3]
        inside = torch.ones(1, height * width, dtype=torch.bool, device=keys[1].device)
        queries = query[0][:, cell[0], cell[1]][:, None]
        scores = self.score_context(queries, keys[1].flatten(1, 2), inside, (height * width,))
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
        components = max(components, self._kernel.component_count(len(spec.fusions[0].weights)))
        rows, columns = self._block_sides(components * len(context), (height, width), _few_blocks(queries.device))
        rectangles = [(ys, xs) for ys in _spans(height, rows) for xs in _spans(width, columns)]
        blocks = [self._block(queries, keys, annotated, groups, ys, xs) for ys, xs in rectangles]
        most = max(block.sources.shape[1] for block in blocks)
        pad = torch.nn.functional.pad
        found = Candidates(
            sources=torch.cat([pad(block.sources, (0, most - block.sources.shape[1]), value=-1) for block in blocks]),
            scores=torch.cat([pad(block.scores, (0, most - block.scores.shape[2])) for block in blocks], dim=1),
            bounds=torch.cat([block.bounds for block in blocks], dim=1),
        )
        cells = torch.arange(height * width, device=queries.device).view(height, width)
        order = torch.cat([_cut(cells, ys, xs).flatten() for ys, xs in rectangles]).argsort()
        return Candidates(sources=found.sources[order], scores=found.scores[:, order], bounds=found.bounds[:, order])

    def _block_sides(self, scores: int, grid: tuple[int, int], few: bool) -> list[int]:
        """Return (rows, columns) of queries in a block, which has `scores` scores for a query and a cell."""
        spec, kernel = self._spec, self._kernel
        # Half a window: larger blocks score many sources outside the windows, smaller ones make more calls.
        longest = max(grid) if few else max(_LEAST_SIDE, spec.radius // 2 + 1)
        most = kernel.block_scores_on_gpu if few else kernel.block_scores
        sides = [min(size, longest) for size in grid]
        while max(sides) > 1:
            reach = [
                size if spec.unrestricted_first else min(size, side + 2 * spec.radius)
                for size, side in zip(grid, sides, strict=True)
            ]
            if scores * math.prod(sides) * math.prod(reach) <= most:
                break
            longer = int(sides[1] > sides[0])
            sides[longer] = -(-sides[longer] // 2)
        return sides

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
        near = [
            range(max(0, side.start - spec.radius), min(size, side.stop + spec.radius))
            for side, size in zip((rows, columns), (height, width), strict=True)
        ]
        cells = torch.arange(height * width, device=queries.device).view(height, width)
        here, around = _cut(cells, rows, columns).flatten(), _cut(cells, *near).flatten()
        dy, dx = (
            torch.arange(reach.start, reach.stop, device=cells.device)
            - torch.arange(side.start, side.stop, device=cells.device)[:, None]
            for side, reach in zip((rows, columns), near, strict=True)
        )
        in_window = inside_window(dy[:, None, :, None], dx[:, None], spec.radius, spec.window)
        in_window = in_window.reshape(len(here), len(around))
        whole = annotated if spec.unrestricted_first else 0
        held, listed, windows, frames = [], [], [], []
        for spots, cut, own in (
            (range(whole), (range(height), range(width)), cells.flatten()),
            (range(whole, len(keys)), near, around),
        ):
            if spots:
                held.append(torch.cat([_cut(keys[at], *cut, first=1) for at in spots], dim=1).flatten(1, 2))
                # (key,): flat indices into (context frame, y, x), rising.
                starts = torch.arange(spots.start, spots.stop, device=own.device)[:, None] * (height * width)
                listed.append((starts + own).flatten())
                window = in_window.new_ones(len(here), len(own)) if spots.start < whole else in_window
                windows.append(window.repeat(1, len(spots)))
                frames += [len(own)] * len(spots)
        sources, inside = torch.cat(listed), torch.cat(windows, dim=1)
        every = torch.cat(held, dim=1) if len(held) > 1 else held[0]
        scores = kernel.score_context(queries.flatten(1, 2)[:, here], every, inside, frames)
        best = sources.new_empty((len(here), 0))
        for fusion, several in zip(spec.fusions, groups, strict=True):
            similar = kernel.similarity(scores, fusion)
            lists = [best] if best.shape[1] else []
            for positions in several:
                if len(positions) == len(keys) and not whole:  # every frame has the same window
                    lists.append(_best(similar.view(len(here), len(keys), -1), in_window, spec.top_k))
                else:
                    own = torch.tensor(positions, device=sources.device)
                    among = inside & torch.isin(sources // (height * width), own)
                    lists.append(_best(similar[:, None], among, spec.top_k))
            best = _merged(lists, len(sources))
        empty = best == len(sources)
        best.masked_fill_(empty, 0)
        kept = sources[best].masked_fill_(empty, -1)
        kept_scores = scores.gather(2, best.expand(len(scores), -1, -1)).masked_fill_(empty, 0)
        return keep_best(kept, kept_scores, kernel.similarities, spec.fusions, groups, spec.top_k, height * width)


def _few_blocks(device: torch.device) -> bool:
    """Tell whether starting an operation takes longer than most operations on blocks that fit a processor's cache."""
    return device.type != "cpu"


def _cut(values: torch.Tensor, rows: range, columns: range, *, first: int = 0) -> torch.Tensor:
    """Return a rectangle along the axes `first` (y) and `first` + 1 (x)."""
    return values.narrow(first, rows.start, len(rows)).narrow(first + 1, columns.start, len(columns))


def _spans(size: int, length: int) -> list[range]:
    return [range(start, min(start + length, size)) for start in range(0, size, length)]


def _best(similarity: torch.Tensor, inside: torch.Tensor, top_k: int) -> torch.Tensor:
    """Return the sources with the k largest finite similarities of each query, (query, k); ties: the first sources.

    Similarities are (query, frame, key), the mask `inside` is (query, key), and sources are indices into (frame, key).
    Queries with fewer sources have the number of all sources in the other slots.
    """
    frames, keys = similarity.shape[1:]
    count = frames * keys
    if count <= top_k:
        masked = similarity.masked_fill(~inside[:, None], -torch.inf).flatten(1)
        return torch.where(masked > -torch.inf, torch.arange(count, device=masked.device), count)
    # The k + 1 keys with the largest maxima over the frames hold the k + 1 largest similarities.
    largest, some = similarity.amax(1).masked_fill_(~inside, -torch.inf).topk(min(top_k + 1, keys))
    few = similarity.gather(2, some[:, None].expand(-1, frames, -1)).masked_fill_(
        largest[:, None] == -torch.inf, -torch.inf
    )
    values, slots = few.flatten(1).topk(top_k + 1)
    sources = slots // some.shape[1] * keys + some.gather(1, slots % some.shape[1])
    kth, following = values[:, -2, None], values[:, -1, None]
    if bool(((kth == following) & (kth > -torch.inf)).any()):
        masked = similarity.masked_fill(~inside[:, None], -torch.inf).flatten(1)
        equal = masked == kth
        late = equal & (equal.cumsum(1) > top_k - (masked > kth).sum(1, keepdim=True))
        values, sources = masked.masked_fill_(late, -torch.inf).topk(top_k)
    return sources[:, :top_k].masked_fill(values[:, :top_k] == -torch.inf, count)


def _merged(lists: Sequence[torch.Tensor], count: int) -> torch.Tensor:
    """Return the union of each row's sources, rising, (query, c); `count` at the end of shorter rows."""
    sources = torch.cat([*lists], dim=1).sort(dim=1).values
    if len(lists) > 1:
        sources[:, 1:].masked_fill_(sources[:, 1:] == sources[:, :-1], count)
        sources = sources.sort(dim=1).values[:, : max(1, int((sources < count).sum(1).max()))]
    return sources
