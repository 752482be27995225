"""The cosine kernel: the similarity of fused features (TED, Eq. 4), found exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from ...fusion import Fusion
from ...transfer import on_device
from ..base import Kernel
from ..candidates import Candidates
from .exactness import proven
from .pairs import pair_cosines, unit_vectors

if TYPE_CHECKING:
    from ...spec import SearchSpec
    from .index import CosineIndex

UnitVectors = tuple[torch.Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class CosineKernel(Kernel):
    """Cosine similarity of L2-normalised features; each component score is the cosine of one part.

    Fused features are the concatenation of all parts, each times its weight. Their similarity is a weighted sum::

        sim = sum_i w_i^2 cos_i / sum_i w_i^2

    Without renormalisation the sum is not divided. The fused features are never built.
    """

    name: ClassVar[str] = "cosine"
    joint_contexts: ClassVar[bool] = True

    @property
    def identity(self) -> Any:
        """The kernel's name; all cache formats record it."""
        return "cosine-float32-1"

    def prepare(self, parts: Sequence[torch.Tensor]) -> UnitVectors:
        """Return L2-normalised features, (y, x, channel) for each part, which are both queries and keys."""
        return tuple(map(unit_vectors, parts))

    def index(self, spec: "SearchSpec", capacity: int) -> "CosineIndex":
        """Return an empty index for a search."""
        from .index import CosineIndex

        return CosineIndex(spec, capacity)

    def scales(self, fusion: Fusion) -> tuple[float, ...]:
        """Return the factor of each part's cosine in the similarity."""
        squares = [weight * weight for weight in fusion.weights]
        total = sum(squares) if fusion.renormalize else 1.0
        return tuple(square / total for square in squares)

    def similarity(self, scores: torch.Tensor, fusion: Fusion) -> torch.Tensor:
        """Compute similarities, (...), from cosines, (part, ...)."""
        # Sum term by term, in the order of the parts, so that the bits do not depend on other pairs. A part of weight 0
        # adds an exact zero.
        scales = self.scales(fusion)
        similarity = scores[0] * scales[0]
        for cosine, scale in zip(scores[1:], scales[1:], strict=True):
            similarity = similarity + cosine * scale
        return similarity

    def similarities(self, scores: torch.Tensor, fusions: Sequence[Fusion]) -> torch.Tensor:
        """Compute `similarity` for several fusions: (fusion, ...), with the same bits."""
        if len(fusions) == 1:
            return self.similarity(scores, fusions[0])[None]
        scales = on_device([self.scales(fusion) for fusion in fusions], scores.device, scores.dtype)
        factors = scales.T.view(len(scores), -1, *[1] * (scores.ndim - 1))
        similarity = scores[0] * factors[0]
        for cosine, factor in zip(scores[1:], factors[1:], strict=True):
            similarity = similarity + cosine * factor
        return similarity

    @torch.no_grad()
    def similarity_map(
        self, query: UnitVectors, cell: tuple[int, int], keys: UnitVectors, fusion: Fusion
    ) -> torch.Tensor:
        """Return the similarity of one pixel with every pixel of a frame, (y, x), bit-identical to a search's.

        Values lie in [-1, 1] if the fusion is renormalised.
        """
        height, width = keys[0].shape[:2]
        everywhere = torch.arange(height * width, device=keys[0].device)[None]
        cosines = [
            pair_cosines(part[cell][None], key.flatten(0, 1), everywhere) for part, key in zip(query, keys, strict=True)
        ]
        return self.similarity(torch.stack(cosines), fusion).view(height, width)

    def same_similarity(self, one: Fusion, other: Fusion) -> bool:
        """Tell whether two fusions give every pair of pixels the same similarity."""
        return self.scales(one) == self.scales(other) and one.renormalize == other.renormalize

    def proven(
        self,
        candidates: Candidates,
        spec: "SearchSpec",
        fusion: Fusion,
        top_k: int,
        *,
        cells: int,
        frames: int,
        annotated: int = 1,
    ) -> torch.Tensor:
        """Return for which pixels the k best candidates are certain to be the k best sources; see `Kernel.proven`."""
        if self.serves(spec, fusion, top_k):
            return torch.ones(len(candidates.sources), dtype=torch.bool, device=candidates.sources.device)
        return proven(self, candidates, spec, fusion, top_k, cells=cells, frames=frames, annotated=annotated)
