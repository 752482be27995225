"""Which features are meant, in a few words: backbone, timestep and tap."""

from dataclasses import dataclass

from .layout import tap_name
from .request import UnitSpec

__all__ = ["FeatureChoice", "fits"]


@dataclass(frozen=True, kw_only=True)
class FeatureChoice:
    """Which features of a video are meant.

    Attributes
    ----------
    backbone
        Name of the backbone.
    timestep
        tau.
    tap
        Name of the tap, ``"up_blocks[2]"``.
    digest
        First characters of the request's digest, where a cache holds several requests of this backbone; or None.
    """

    backbone: str
    timestep: int
    tap: str
    digest: str | None = None

    def __str__(self) -> str:
        backbone = self.backbone + (f"@{self.digest}" if self.digest else "")
        return f"{backbone}:{self.timestep}:{self.tap}"


def fits(spec: UnitSpec, choice: FeatureChoice) -> bool:
    """Tell whether a unit is among those that a choice means."""
    return (
        spec.request.backbone == choice.backbone
        and spec.timestep == choice.timestep
        and tap_name(spec.tap) == tap_name(choice.tap)
        and spec.request.digest().startswith(choice.digest or "")
    )
