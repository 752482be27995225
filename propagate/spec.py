"""Specification of a windowed top-k search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..store.errors import ConfigError, SchemaError
from .context import fixed_frames, frame_context
from .fusion import Fusion
from .kernels import CosineKernel, Kernel, kernel_of
from .kernels.window import WindowShape

if TYPE_CHECKING:
    from .settings import PropagationSettings, WeightedSettings

#: Rules that `to_json` records only if they differ from the defaults, since records of earlier versions lack them.
_RULES = {"window": "square", "unrestricted_first": False, "context_fill": False}


@dataclass(frozen=True, kw_only=True)
class SearchSpec:
    """All parameters that determine, together with the features, the sources that a search finds.

    Attributes
    ----------
    radius
        Half the side of the square window, or the radius of the circle, in cells of the grid.
    top_k
        Number of best sources to find for each fusion, at least 1.
    fusions
        Fusions whose best sources are searched, at least one, each once.
    per_frame
        Find the `top_k` best sources of each context frame, instead of those of all context frames together. These are
        more candidates, which are exact for every shorter context, too.
    annotated
        Indices of the annotated frames, rising.
    kernel
        The affinity kernel.
    window, unrestricted_first, context_fill
        As in `PropagationSettings`.

    Raises
    ------
    ConfigError
        For a value out of range, or several contexts where the kernel searches one at a time.
    """

    radius: int
    top_k: int
    fusions: tuple[Fusion, ...]
    per_frame: bool = False
    annotated: tuple[int, ...] = (0,)
    kernel: Kernel = field(default_factory=CosineKernel)
    window: WindowShape = "square"
    unrestricted_first: bool = False
    context_fill: bool = False

    def __post_init__(self) -> None:
        if self.radius < 0 or self.top_k < 1:
            raise ConfigError(f"radius must be at least 0 and top_k at least 1, not {self.radius} and {self.top_k}")
        if not self.fusions or len(set(self.fusions)) < len(self.fusions):
            raise ConfigError("a search needs at least one fusion, and each of them once")
        if len({len(fusion.weights) for fusion in self.fusions}) > 1:
            raise ConfigError("the fusions of a search must weigh the same parts")
        if not self.annotated or list(self.annotated) != sorted({frame for frame in self.annotated if frame >= 0}):
            raise ConfigError(f"annotated frames must be rising indices, at least one, not {list(self.annotated)}")
        if not self.kernel.joint_contexts and len({fusion.context for fusion in self.fusions}) > 1:
            raise ConfigError(f"the kernel {self.kernel.name!r} searches one length of context at a time")

    @classmethod
    def of(
        cls,
        settings: "PropagationSettings",
        fusions: Sequence[Fusion],
        *,
        annotated: tuple[int, ...] = (0,),
        top_k: int | None = None,
    ) -> "SearchSpec":
        """Return the search for settings; `top_k` replaces theirs."""
        return cls(
            radius=settings.radius,
            top_k=top_k or settings.top_k,
            fusions=tuple(fusions),
            annotated=annotated,
            kernel=settings.kernel,
            **{name: getattr(settings, name) for name in _RULES},
        )

    @classmethod
    def shared(
        cls, settings: "Sequence[WeightedSettings]", *, annotated: tuple[int, ...] = (0,), fewest: int = 1
    ) -> "tuple[tuple[int, ...], SearchSpec]":
        """Return the indices of the parts with a weight in some setting, and the search for all settings in them.

        The settings need one kernel and window. The search finds at least `fewest` sources.
        """
        if len({item.settings.region for item in settings}) > 1:
            raise ConfigError("settings of one search must have the same kernel and window")
        parts = tuple(sorted({part for item in settings for part in item.used_parts}))
        fusions = dict.fromkeys(item.of_parts(parts).fusion() for item in settings)
        top_k = max(fewest, *(item.settings.top_k for item in settings))
        return parts, cls.of(settings[0].settings, [*fusions], annotated=annotated, top_k=top_k)

    @property
    def region(self) -> tuple[Any, ...]:
        """The kernel and the search window; candidates of searches with equal regions can replace each other."""
        return self.kernel, self.radius, *(getattr(self, name) for name in _RULES)

    def serves(self, setting: "WeightedSettings") -> bool:
        """Tell whether the search is certain to find the sources of a setting of the same parts, by its definition."""
        return setting.settings.region == self.region and self.kernel.serves(
            self, setting.fusion(), setting.settings.top_k
        )

    @property
    def context(self) -> int:
        """Number of last frames to search: the longest context of the fusions."""
        return max(fusion.context for fusion in self.fusions)

    def frame_context(self, frame: int) -> tuple[tuple[int, ...], int]:
        """Return the context of a frame, and the number of annotated frames in it, which come first."""
        context = frame_context(frame, self.annotated, self.context, fill=self.context_fill)
        return context, len(fixed_frames(frame, self.annotated))

    def most_sources(self, grid: tuple[int, int]) -> int:
        """Return the maximum number of sources of a pixel on a grid (y, x)."""
        contexts = self.context + len(self.annotated)
        found = sum(
            self.top_k * (fusion.context + len(self.annotated) if self.per_frame else 1) for fusion in self.fusions
        )
        sides = [size if self.unrestricted_first else min(size, 2 * self.radius + 1) for size in grid]
        return min(found, sides[0] * sides[1] * contexts)

    def to_json(self) -> dict[str, Any]:
        """Return the search as JSON values."""
        rules = {name: getattr(self, name) for name, default in _RULES.items() if getattr(self, name) != default}
        return {
            "kernel": self.kernel.identity,
            "annotated": list(self.annotated),
            "direction": "forward" if self.annotated[0] == 0 else "both",
            "radius": self.radius,
            "top_k": self.top_k,
            "per_frame": self.per_frame,
            "fusions": [fusion.to_json() for fusion in self.fusions],
            **rules,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "SearchSpec":
        """Build a search from the result of `to_json`; raise SchemaError for other values, or an unknown kernel."""
        try:
            spec = cls(
                radius=values["radius"],
                top_k=values["top_k"],
                per_frame=values["per_frame"],
                annotated=tuple(values["annotated"]),
                fusions=tuple(map(Fusion.from_json, values["fusions"])),
                kernel=kernel_of(values["kernel"]),
                **{name: values.get(name, default) for name, default in _RULES.items()},
            )
        except (TypeError, KeyError, ConfigError) as error:
            raise SchemaError(f"the cache records a search that this version does not know: {error}") from error
        if spec.to_json() != {name: value for name, value in values.items() if name != "components"}:
            raise SchemaError("the cache records a search that this version does not know; remove the affinities")
        return spec
