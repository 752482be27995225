"""What the best sources of a video's pixels are looked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..store.errors import ConfigError, SchemaError
from .fusion import Fusion

__all__ = ["KERNEL", "SearchSpec"]

#: Names how similarities are computed and ties are broken. Kept affinities of another kernel are not read.
KERNEL = "cosine-float32-1"


@dataclass(frozen=True, kw_only=True)
class SearchSpec:
    """All that determines which sources are found for the pixels of a video, beside its features.

    Attributes
    ----------
    radius
        Half the side of the square window, in cells of the grid.
    top_k
        How many of the best sources are found for each fusion, at least 1.
    fusions
        The fusions that sources are found for, at least one, no two of them equal.
    per_frame
        Whether the `top_k` best of every context frame are found, instead of those of all context frames together:
        more sources, which serve every shorter context exactly.
    annotated
        Indices of the frames with a given label, rising: with the fusions' contexts, they decide each frame's context
        (`frame_context`).

    Raises
    ------
    ConfigError
        For a value out of range.
    """

    radius: int
    top_k: int
    fusions: tuple[Fusion, ...]
    per_frame: bool = False
    annotated: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if self.radius < 0 or self.top_k < 1:
            raise ConfigError(f"radius must be at least 0 and top_k at least 1, not {self.radius} and {self.top_k}")
        if not self.fusions or len(set(self.fusions)) < len(self.fusions):
            raise ConfigError("a search needs fusions, each of them once")
        if len({len(fusion.weights) for fusion in self.fusions}) > 1:
            raise ConfigError("the fusions of a search must be of the same parts")
        if not self.annotated or list(self.annotated) != sorted({frame for frame in self.annotated if frame >= 0}):
            raise ConfigError(f"annotated frames must be rising indices, at least one, not {list(self.annotated)}")

    @property
    def context(self) -> int:
        """Number of last frames that are searched: the longest of the fusions' contexts."""
        return max(fusion.context for fusion in self.fusions)

    @property
    def slots(self) -> int:
        """The most sources that a pixel can be given."""
        return sum(
            self.top_k * (fusion.context + len(self.annotated) if self.per_frame else 1) for fusion in self.fusions
        )

    def window_cells(self, grid: tuple[int, int]) -> int:
        """Return the most cells of a grid (y, x) that a window holds."""
        return min(grid[0], 2 * self.radius + 1) * min(grid[1], 2 * self.radius + 1)

    def to_json(self) -> dict[str, Any]:
        """Return the search as JSON values."""
        return {
            "kernel": KERNEL,
            "annotated": list(self.annotated),
            "direction": "forward" if self.annotated[0] == 0 else "both",
            "radius": self.radius,
            "top_k": self.top_k,
            "per_frame": self.per_frame,
            "fusions": [fusion.to_json() for fusion in self.fusions],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "SearchSpec":
        """Build a search from what `to_json` gave; raises SchemaError when it is something else."""
        try:
            search = cls(
                radius=values["radius"],
                top_k=values["top_k"],
                per_frame=values["per_frame"],
                annotated=tuple(values["annotated"]),
                fusions=tuple(map(Fusion.from_json, values["fusions"])),
            )
        except (TypeError, KeyError, ConfigError) as error:
            raise SchemaError(f"the cache records a search that this version does not know: {error}") from error
        if search.to_json() != dict(values):
            raise SchemaError("the cache records affinities of another kernel than this version's; remove them")
        return search
