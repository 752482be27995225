"""Fusion of several features: the weights of the parts and the length of the context."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..store.errors import ConfigError, SchemaError


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """Weights of the parts that are fused, and the length of the context.

    TED fuses two parts, video and image features (Eq. 4). The kernel defines the meaning of a weight: the cosine kernel
    concatenates the parts, each times its weight.

    Attributes
    ----------
    weights
        Weight of each part, at least 0 and not all 0.
    context
        Number of last frames in the context beside the annotated ones, at least 0.
    renormalize
        Whether the fused feature is L2-normalised again before similarities are computed.

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

    def to_json(self) -> dict[str, Any]:
        """Return the fusion as JSON values."""
        return {"weights": list(self.weights), "context": self.context, "renormalize": self.renormalize}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Fusion":
        """Build a fusion from the result of `to_json`; raise SchemaError for other values."""
        try:
            return cls(**{**values, "weights": tuple(values["weights"])})
        except (TypeError, KeyError, ConfigError) as error:
            raise SchemaError(f"the cache records a fusion that this version does not know: {error}") from error
