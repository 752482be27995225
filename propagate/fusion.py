"""Fusing features: what the cosines of several parts make together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..store.errors import ConfigError, SchemaError

__all__ = ["Fusion"]


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """One way of weighing the parts of a feature, over some length of context.

    The similarity of two pixels is that of their fused features, of which TED's two parts (Eq. 4) are the common case::

        sim = sum_i w_i^2 cos_i / sum_i w_i^2

    (undivided without renormalisation): a few cosines and scalars, so the fused features are never built.

    Attributes
    ----------
    weights
        Weight of each part, at least 0 and not all 0.
    context
        Number of last frames that serve as sources beside the annotated ones, at least 0.
    renormalize
        Whether the fused feature is L2-normalised again.

    Raises
    ------
    ConfigError
        When no weight is positive, or one is negative or not finite.
    """

    weights: tuple[float, ...]
    context: int
    renormalize: bool = True

    def __post_init__(self) -> None:
        total = sum(weight * weight for weight in self.weights)
        if not 0 < total < float("inf") or min(self.weights) < 0:
            raise ConfigError(
                f"weights of features must be at least 0 and one of them positive, not {list(self.weights)}"
            )

    @property
    def scales(self) -> tuple[float, ...]:
        """What each part's cosine is multiplied by."""
        squares = [weight * weight for weight in self.weights]
        total = sum(squares) if self.renormalize else 1.0
        return tuple(square / total for square in squares)

    def similarity(self, cosines: torch.Tensor) -> torch.Tensor:
        """Return the similarities, (...), of pixels with these cosines, (part, ...), float32."""
        # Term by term, in the order of the parts: the same bits whatever else is computed beside. A part of weight 0
        # adds an exact zero.
        scales = self.scales
        similarity = cosines[0] * scales[0]
        for cosine, scale in zip(cosines[1:], scales[1:], strict=True):
            similarity = similarity + cosine * scale
        return similarity

    def to_json(self) -> dict[str, Any]:
        """Return the fusion as JSON values."""
        return {"weights": list(self.weights), "context": self.context, "renormalize": self.renormalize}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Fusion":
        """Build a fusion from what `to_json` gave; raises SchemaError when it is something else."""
        try:
            return cls(**{**values, "weights": tuple(values["weights"])})
        except (TypeError, KeyError, ConfigError) as error:
            raise SchemaError(f"the cache records a fusion that this version does not know: {error}") from error
