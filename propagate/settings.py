"""The re-tunable parameters of label propagation."""

import math
from dataclasses import dataclass

from ..store.errors import ConfigError

__all__ = ["PropagationSettings", "part_weights"]


@dataclass(frozen=True, kw_only=True)
class PropagationSettings:
    """Parameters of label propagation (TED, Algorithm 1). The defaults are the paper's for DAVIS-2017.

    Attributes
    ----------
    alpha
        Weight of the video features, in [0, 1]; the image features weigh ``1 - alpha`` (see `part_weights`).
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

    alpha: float = 0.4
    temperature: float = 0.2
    top_k: int = 10
    radius: int = 15
    context: int = 28
    renormalize: bool = True

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ConfigError(f"temperature must be a positive number, not {self.temperature}")
        for name, least in (("top_k", 1), ("radius", 0), ("context", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"{name} must be a whole number of at least {least}, not {value!r}")


def part_weights(alpha: float) -> tuple[float, float]:
    """Return the weights of (video features, image features), ``(alpha, 1 - alpha)`` (TED, Eq. 4).

    Raises
    ------
    ConfigError
        When `alpha` is outside [0, 1].
    """
    _check_alpha(alpha)
    return alpha, 1 - alpha


def _check_alpha(alpha: float) -> None:
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha must lie in [0, 1], not {alpha}")
