"""Parameters of label propagation, and the weights of the features that it fuses."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, get_args

from ..store.errors import ConfigError
from .fusion import Fusion
from .kernels import CosineKernel, Kernel
from .kernels.window import WindowShape


@dataclass(frozen=True, kw_only=True)
class PropagationSettings:
    """Parameters of label propagation (TED, Algorithm 1). The defaults are the paper's for DAVIS-2017.

    Attributes
    ----------
    temperature
        Divisor of similarities before the softmax over the top-k sources; positive.
    top_k
        Number of sources per pixel, jointly over all context frames; at least 1.
    radius
        Half the side of the square window: maximum distance of a source in y and in x, in cells of the feature grid. At
        least 0, for only the same cell in every context frame.
    context
        Number of last frames in the context beside the annotated frames, which do not count. At least 0, for only the
        annotated frames. DIFT's choice is 28.
    renormalize
        Whether the fused feature is L2-normalised again before similarities are computed, as in DIFT's evaluation.
    kernel
        Similarity of pixels; see `ted.propagate.kernels`.
    window
        ``square``, or ``circle``: sources at a Euclidean distance strictly below the radius, as in CRW.
    unrestricted_first
        Search annotated frames over the whole grid instead of the window, as CRW does.
    context_fill
        Repeat the first annotated frame until there are `context` last frames, as CRW does. Its sources then count
        several times for early frames.

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
    kernel: Kernel = field(default_factory=CosineKernel)
    window: WindowShape = "square"
    unrestricted_first: bool = False
    context_fill: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ConfigError(f"temperature must be a positive number, not {self.temperature}")
        for name, least in (("top_k", 1), ("radius", 0), ("context", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"{name} must be a whole number of at least {least}, not {value!r}")
        if self.window not in get_args(WindowShape):
            raise ConfigError(f"window must be one of {', '.join(get_args(WindowShape))}, not {self.window!r}")
        if self.window == "circle" and self.radius < 1:
            raise ConfigError("a circular window needs a radius of at least 1")

    @property
    def region(self) -> tuple[Any, ...]:
        """The kernel and the search window; settings with equal regions can share a search."""
        return self.kernel, self.radius, self.window, self.unrestricted_first, self.context_fill

    def to_json(self) -> dict[str, Any]:
        """Return the parameters as JSON values, for the records of results.

        `kernel` and the fields after it are omitted if they have their defaults, as in records of earlier versions.
        """
        values = {
            "temperature": self.temperature,
            "top_k": self.top_k,
            "radius": self.radius,
            "context": self.context,
            "renormalize": self.renormalize,
        }
        later = {name: getattr(self, name) for name in ("window", "unrestricted_first", "context_fill")}
        later = {name: value for name, value in later.items() if value != getattr(type(self), name)}
        kernel = {} if self.kernel == CosineKernel() else {"kernel": self.kernel.identity}
        return values | kernel | later


@dataclass(frozen=True, kw_only=True)
class WeightedSettings:
    """One setting of a sweep: parameters of label propagation, and the weights of the fused parts.

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

    def fusion(self) -> Fusion:
        """Return the fusion of the parts."""
        return Fusion(weights=self.weights, context=self.settings.context, renormalize=self.settings.renormalize)

    def of_parts(self, parts: Iterable[int | None]) -> "WeightedSettings":
        """Return the setting with only the parts that have these indices, in this order; None is a part of weight 0."""
        weights = tuple(0.0 if part is None else self.weights[part] for part in parts)
        return WeightedSettings(weights=weights, settings=self.settings)


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
