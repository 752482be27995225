"""Parameters of label propagation, and the weights of the features that it fuses."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ..store.errors import ConfigError
from .fusion import Fusion

__all__ = ["PropagationSettings", "WeightedSettings", "part_weights"]


@dataclass(frozen=True, kw_only=True)
class PropagationSettings:
    """Parameters of label propagation (TED, Algorithm 1). The defaults are the paper's for DAVIS-2017.

    Attributes
    ----------
    temperature
        Divides similarities before the softmax over the kept sources; positive.
    top_k
        Sources kept per pixel, jointly over all context frames; at least 1.
    radius
        Half the side of the square window: how far in y, and in x, a source may be, in cells of the feature grid.
        At least 0, which leaves only the pixel's own cell in every context frame.
    context
        Number of last frames that serve as sources beside the annotated first frame, which is never counted among
        them. At least 0, which leaves the annotated frame alone. DIFT's choice is 28.
    renormalize
        Whether the fused feature is L2-normalised again before similarities are taken, as DIFT's evaluation does.

    Raises
    ------
    ConfigError
        For a value out of range.
    """

    temperature: float = 0.2
    top_k: int = 10
    radius: int = 15
    context: int = 28
    renormalize: bool = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ConfigError(f"temperature must be a positive number, not {self.temperature}")
        for name, least in (("top_k", 1), ("radius", 0), ("context", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"{name} must be a whole number of at least {least}, not {value!r}")

    def to_json(self) -> dict[str, Any]:
        """Return the parameters as JSON values, as results record them."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class WeightedSettings:
    """Parameters of label propagation with the weights of the parts that are fused: one setting of a sweep.

    Attributes
    ----------
    weights
        Weight of each part, at least 0 and not all 0.
    settings
        All other parameters.

    Raises
    ------
    ConfigError
        When no weight is positive, or one is negative or not finite.
    """

    weights: tuple[float, ...]
    settings: PropagationSettings

    def __post_init__(self) -> None:
        self.fusion()

    @property
    def used_parts(self) -> tuple[int, ...]:
        """Indices of the parts with a positive weight."""
        return tuple(part for part, weight in enumerate(self.weights) if weight > 0)

    def fusion(self, parts: Iterable[int] | None = None) -> Fusion:
        """Return the fusion of all parts, or of those with the given indices."""
        chosen = self.weights if parts is None else tuple(self.weights[part] for part in parts)
        return Fusion(weights=chosen, context=self.settings.context, renormalize=self.settings.renormalize)


def part_weights(alpha: float) -> tuple[float, float]:
    """Return the weights of (video features, image features), ``(alpha, 1 - alpha)`` (TED, Eq. 4).

    Raises
    ------
    ConfigError
        When `alpha` is outside [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha must lie in [0, 1], not {alpha}")
    return alpha, 1 - alpha
