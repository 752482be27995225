"""The attention kernel: self-attention of an image network, taken from a frame to its context (DRIFT-style)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import torch

from ...store.errors import ConfigError
from ..fusion import Fusion
from .candidates import Candidates
from .cosine.pairs import unit_vectors
from .dense import DenseKernel, QueriesAndKeys

if TYPE_CHECKING:
    from ..features import PartInfo
    from ..spec import SearchSpec

# Margin of proofs: similarities and their bounds differ by rounding.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class _Layer:
    """An attention layer, or a feature that is compared by cosines, which counts as a layer with one head.

    Attributes
    ----------
    queries, keys
        Index of the part with queries and with keys.
    parts
        Indices of all parts of the layer.
    roles
        Which vectors of those parts are compared: ``"q"`` or ``"k"`` each; empty for cosines.
    heads
        Number of heads of the parts.
    weights
        Weight of each head.
    width
        Number of channels of a head.
    """

    queries: int
    keys: int
    parts: tuple[int, ...]
    roles: str
    heads: int
    weights: tuple[float, ...]
    width: int

    @property
    def used(self) -> list[int]:
        """Heads with a weight."""
        return [head for head, weight in enumerate(self.weights) if weight > 0]


@dataclass(frozen=True, kw_only=True)
class AttentionKernel(DenseKernel):
    """Attention probabilities of a pixel over all sources in its window and context.

    With queries q, keys k and d channels for each head h::

        A_h(i, j) = softmax over j of scale * q_h(i) . k_h(j) / sqrt(d)
        similarity(i, j) = sum over layers of w_layer * (sum over h of w_h A_h(i, j)) / sum of w_layer

    w_layer are the weights of the fusion. A feature without heads joins as a layer with one head and
    A = softmax(cosine / cosine_temperature). Similarities are finished weights: those of the top-k sources are divided
    by their sum. Softmaxes are in float32, over the whole window before the top-k.
    """

    name: ClassVar[str] = "attention"
    finished_weights: ClassVar[bool] = True

    scale: float = field(default=1.0, metadata={"help": "Factor of q.k / sqrt(d); larger is sharper."})
    per_frame: bool = field(
        default=False, metadata={"help": "One softmax for each context frame, averaged, instead of one over all."}
    )
    compare: str = field(default="qk", metadata={"help": "Vectors that are compared: qk, qq or kk."})
    head: int = field(default=-1, metadata={"help": "The only head used, counted from 0 over all layers; -1: all."})
    head_weights: tuple[float, ...] = field(
        default=(), metadata={"help": "Weight of each head of all layers, or of each layer; equal by default."}
    )
    learned: bool = field(default=False, metadata={"help": "Use the weights of heads that were learned for the video."})
    cosine_temperature: float = field(
        default=0.1, metadata={"help": "Divides the cosines of features without attention heads."}
    )

    _layers: ClassVar[tuple[_Layer, ...]] = ()  # set by `bind`

    def __post_init__(self) -> None:
        for name in ("scale", "cosine_temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be a positive number, not {getattr(self, name)}")
        if self.compare not in ("qk", "qq", "kk"):
            raise ConfigError(f"compare must be qk, qq or kk, not {self.compare!r}")
        if self.head_weights and not (min(self.head_weights) >= 0 and 0 < sum(self.head_weights) < math.inf):
            raise ConfigError(f"head_weights must be at least 0 and one positive, not {list(self.head_weights)}")
        if self.learned and (self.head >= 0 or self.head_weights):
            raise ConfigError("learned weights of heads replace head and head_weights: leave them out")
        if self.head < -1 or (self.head >= 0 and self.head_weights):
            raise ConfigError("head is the number of one head, from 0, without head_weights; or -1 for all heads")

    def bind(self, parts: "Sequence[PartInfo]") -> "AttentionKernel":
        """Return the kernel for these parts.

        Raises
        ------
        ConfigError
            If no part holds attention, a layer lacks queries or keys, or the parts have another number of heads than
            there are weights.
        """
        if self.learned:
            raise ConfigError("learned weights of heads are read for each video's run; name them in head_weights here")
        bound = replace(self)
        object.__setattr__(bound, "_layers", self._layers_of(parts))
        return bound

    def prepare(self, parts: Sequence[torch.Tensor]) -> QueriesAndKeys:
        """Return scaled queries, and keys: (1, y, x, channel) each, the used heads of all layers one after another."""
        if not self._layers:
            raise ConfigError("the kernel 'attention' must be bound to its parts first")
        queries: list[torch.Tensor] = []
        keys: list[torch.Tensor] = []
        for layer in self._layers:
            if not layer.roles:
                vectors = unit_vectors(parts[layer.queries])
                queries.append(vectors / self.cosine_temperature)
                keys.append(vectors)
                continue
            factor = self.scale / math.sqrt(layer.width)
            for index, role, target in ((layer.queries, 0, queries), (layer.keys, 1, keys)):
                heads = parts[index].reshape(*parts[index].shape[:2], layer.heads, -1)[..., layer.used, :]
                if heads.shape[-1] == 2 * layer.width:  # queries and keys in one part
                    heads = heads.chunk(2, dim=-1)["qk".index(layer.roles[role])]
                target.append(heads.flatten(-2) * (factor if role == 0 else 1.0))
        return torch.cat(queries, dim=-1)[None], torch.cat(keys, dim=-1)[None]

    def score(self, queries: torch.Tensor, keys: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        """Score queries with the keys of one frame; see `score_context`."""
        return self.score_context(queries, keys, inside, (keys.shape[1],))

    def score_context(
        self, queries: torch.Tensor, keys: torch.Tensor, inside: torch.Tensor, frames: Sequence[int]
    ) -> torch.Tensor:
        """Return each layer's attention, summed over its heads, for each of its parts: (part, query, key)."""
        scores = queries.new_empty((sum(len(layer.parts) for layer in self._layers), *inside.shape))
        heads = self.attention(queries, keys, inside, frames)
        for layer in self._layers:
            total = scores[layer.parts[0]].zero_()
            for head in layer.used:
                total.add_(next(heads), alpha=layer.weights[head])
            for part in layer.parts[1:]:
                scores[part] = total
        return scores

    def attention(
        self, queries: torch.Tensor, keys: torch.Tensor, inside: torch.Tensor, frames: Sequence[int]
    ) -> Iterator[torch.Tensor]:
        """Yield the attention of each used head, (query, key); the parameters are those of `score_context`."""
        outside = (inside.to(queries.dtype) - 1).mul_(torch.finfo(queries.dtype).max)  # faster than torch.where
        start = 0
        for layer in self._layers:
            for _ in layer.used:
                channels = slice(start, start + layer.width)
                start += layer.width
                logits = torch.addmm(outside, queries[0, :, channels], keys[0, :, channels].T)
                if self.per_frame:
                    apart = torch.split(logits, list(frames), dim=-1)
                    yield torch.cat([one.softmax(-1) for one in apart], dim=-1) / len(frames)
                else:
                    yield logits.softmax(-1)

    def similarity(self, scores: torch.Tensor, fusion: Fusion) -> torch.Tensor:
        """Compute similarities, (...), from the layers' attention, (part, ...)."""
        shares = _shares(fusion)
        similarity = scores[0] * shares[0]
        for score, share in zip(scores[1:], shares[1:], strict=True):
            similarity = similarity + score * share
        return similarity

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
        """Return for which pixels the k best candidates are certain to be the k best sources; see `Kernel.proven`.

        Notes
        -----
        Attention is not negative. So if a source outside the candidates has at most the similarity b under weights w,
        it has at most b * max(w'_part / w_part) under weights w'. A softmax depends on the whole context, so nothing is
        known of another context.
        """
        shape = {"cells": cells, "frames": frames, "annotated": annotated}
        result = super().proven(candidates, spec, fusion, top_k, **shape)
        ranked = self.rank(candidates, fusion, top_k, **shape).similarity
        kth = ranked[:, top_k - 1] if ranked.shape[1] >= top_k else ranked.new_full((len(ranked),), -math.inf)
        for own, bound in zip(spec.fusions, candidates.bounds, strict=True):
            if own.context != fusion.context and min(own.context, fusion.context) < frames - annotated:
                continue
            pairs = zip(_shares(fusion), _shares(own), strict=True)
            growth = max(new / old if old else math.inf for new, old in pairs if new)
            result = result | (bound == -math.inf)  # every source in the window is a candidate
            if growth < math.inf:
                result = result | (kth > bound * growth * (1 + _ROUNDING))
        return result

    def _layers_of(self, parts: "Sequence[PartInfo]") -> tuple[_Layer, ...]:
        found: list[tuple[int, int, tuple[int, ...], str, PartInfo]] = []
        for index, part in enumerate(parts):
            if part.role == "qk":
                found.append((index, index, (index,), self.compare, part))
            elif part.role:
                partners = {other.role: at for at, other in enumerate(parts) if other.layer == part.layer}
                lacking = [role for role in self.compare if role not in partners]
                if lacking:
                    raise ConfigError(
                        f"the kernel 'attention' compares {self.compare}, but the feature {part.layer}:{lacking[0]} "
                        f"is missing beside {part.layer}:{part.role}"
                    )
                if part.role == self.compare[0]:
                    several = tuple(partners.values())
                    found.append((index, partners[self.compare[1]], several, self.compare, part))
            else:
                found.append((index, index, (index,), "", part))
        count = sum(part.heads for *_, roles, part in found if roles)
        if not count:
            raise ConfigError(
                "the kernel 'attention' needs a feature of attention, whose tap ends in :qk, such as "
                "sd21:51:up_blocks[3].attentions[0].attn1:qk"
            )
        weights = iter(self._weights([part.heads for *_, roles, part in found if roles]))
        return tuple(
            _Layer(
                queries=queries,
                keys=keys,
                parts=several,
                roles=roles,
                heads=part.heads if roles else 1,
                weights=tuple(next(weights) for _ in range(part.heads)) if roles else (1.0,),
                width=part.channels // ((2 if part.role == "qk" else 1) * part.heads) if roles else part.channels,
            )
            for queries, keys, several, roles, part in found
        )

    def _weights(self, heads: Sequence[int]) -> list[float]:
        """Return the weight of each head of the layers, which have these numbers of heads; a layer's mean sum is 1."""
        count = sum(heads)
        if self.head >= count:
            raise ConfigError(f"there is no head {self.head}: the features have {count} heads, 0 to {count - 1}")
        if self.head >= 0:
            given = [float(head == self.head) for head in range(count)]
        elif not self.head_weights:
            return [1 / number for number in heads for _ in range(number)]
        elif len(self.head_weights) == count:
            given = list(self.head_weights)
        elif set(heads) == {len(self.head_weights)}:
            given = list(self.head_weights) * len(heads)
        else:
            numbers = " + ".join(map(str, heads))
            raise ConfigError(f"there are {len(self.head_weights)} head weights for {numbers} heads")
        return [len(heads) * weight / sum(given) for weight in given]


def _shares(fusion: Fusion) -> list[float]:
    total = sum(fusion.weights)
    return [weight / total for weight in fusion.weights]
