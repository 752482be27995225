"""Which features are meant, in a few words: backbone, timestep and tap."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from .layout import tap_name
from .request import UnitSpec

__all__ = ["FeatureChoice", "fits", "most_faithful"]


class _Described(Protocol):
    @property
    def spec(self) -> UnitSpec: ...


_Any = TypeVar("_Any", bound=_Described)


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


def most_faithful(entries: Iterable[_Any]) -> list[_Any]:
    """Of units that hold the same features, keep the one whose codec loses least (`FeatureCodec.loss`)."""
    best: dict[str, _Any] = {}
    for entry in entries:
        there = best.setdefault(entry.spec.digest(), entry)
        if entry.spec.codec.loss < there.spec.codec.loss:
            best[entry.spec.digest()] = entry
    return list(best.values())
