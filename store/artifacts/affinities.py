"""Affinity units: the sources that a search found for every pixel of a video."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import CacheError, ConfigError, Hint
from ..fields import Fields, check_kind, readable
from ..layout import ArrayLayout, UnitLayout
from ..stored import DigestSpec, StoredUnit
from ..writing import StoredWriter
from .registry import ArtifactKind, register_artifact

_LAYOUT = UnitLayout(
    arrays=(
        ArrayLayout(
            name="sources", dimensions=("frame", "pixel", "slot"), dtype="int32", compressor="zstd", fill_value=-1
        ),
        ArrayLayout(name="cosines", dimensions=("frame", "part", "pixel", "slot"), dtype="float32", compressor="zstd"),
        ArrayLayout(name="bounds", dimensions=("frame", "fusion", "pixel"), dtype="float32", compressor="zstd"),
    ),
    maker="search",
)


@dataclass(frozen=True, kw_only=True)
class AffinitySpec(DigestSpec):
    """Description of one affinity unit.

    Attributes
    ----------
    dataset, video
        Names.
    features
        Content hash of each feature unit, in the order of the parts.
    feature_labels
        Label of each feature unit, for people.
    frame_count
        Number of frames.
    grid
        (y, x) cells of the grid of pixels.
    slots
        Maximum number of sources of a pixel: the length of the last axis of ``sources`` and ``cosines``.
    search
        The search as JSON values: ``radius``, ``top_k``, ``fusions`` (a list of ``{weights, context, renormalize}``)
        and all other parameters of the search. ``components`` is the number of scores of each source, if it differs
        from the number of feature units.

    Raises
    ------
    ConfigError
        If there are no features, labels and features differ in number, or a size is not positive.
    """

    kind: str = field(default="affinities", init=False)
    layout: ClassVar[UnitLayout] = _LAYOUT

    features: tuple[str, ...]
    feature_labels: tuple[str, ...]
    frame_count: int
    grid: tuple[int, int]
    slots: int
    search: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not self.features or len(self.features) != len(self.feature_labels):
            raise ConfigError("affinities need one feature unit or more, each with its label")
        sizes = (self.frame_count, self.slots, *self.grid)
        if len(sizes) != 4 or any(not isinstance(size, int) or size < 1 for size in sizes):
            raise ConfigError(
                "affinities need a positive number of frames, grid (height, width) and number of slots, not "
                f"{self.frame_count}, {self.grid} and {self.slots}"
            )
        if not self.search["fusions"]:
            raise ConfigError("affinities need a search for one fusion or more")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each array: ``sources`` (frame, pixel, slot), ``cosines`` (frame, part, pixel, slot) and so on."""
        pixels = self.grid[0] * self.grid[1]
        return {
            "sources": (self.frame_count, pixels, self.slots),
            "cosines": (self.frame_count, self.search.get("components", len(self.features)), pixels, self.slots),
            "bounds": (self.frame_count, len(self.search["fusions"]), pixels),
        }

    def determining(self) -> dict[str, Any]:
        values = self.fields()
        return {name: values[name] for name in ("features", "frame_count", "grid", "search")}

    @property
    def summary(self) -> str:
        """The search in words: ``radius 15 top-10 context 28, 11 fusions of svd@... t300 up_blocks[2]``."""
        search, fusions = self.search, self.search["fusions"]
        context = max(fusion["context"] for fusion in fusions)
        # The labels of features of this video need not repeat its name.
        parts = " + ".join(label.removeprefix(f"{self.dataset}/{self.video} ") for label in self.feature_labels)
        return (
            f"radius {search['radius']} top-{search['top_k']}{' per frame' if search.get('per_frame') else ''} "
            f"context {context}, {len(fusions)} fusion{'s' if len(fusions) > 1 else ''} of {parts}"
        )

    def columns(self) -> dict[str, Any]:
        return {"affinities": self.name, "summary": self.summary}

    def fields(self) -> dict[str, Any]:
        return {
            "features": list(self.features),
            "feature_labels": list(self.feature_labels),
            "frame_count": self.frame_count,
            "grid": list(self.grid),
            "slots": self.slots,
            "search": dict(self.search),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: Path) -> "AffinitySpec":
        check_kind(values, cls.kind, cls.layout.maker, where)
        with readable(where):
            found = Fields(values)
            search = found.mapping("search")
            fusions = search.get("fusions")
            for fusion in fusions if isinstance(fusions, list) else [None]:
                Fields(fusion).integer("context")
            for key in {"radius", "top_k"} | {"components"} & search.keys():
                Fields(search).integer(key)
            return cls(
                dataset=found.text("dataset"),
                video=found.text("video"),
                features=found.texts("features"),
                feature_labels=found.texts("feature_labels"),
                frame_count=found.integer("frame_count", 1),
                grid=found.pair("grid"),
                slots=found.integer("slots", 1),
                search=search,
            )


class AffinityUnit(StoredUnit[AffinitySpec]):
    """One complete affinity unit; see `StoredUnit`.

    It suffices to propagate labels: the features are not needed any more.
    """

    spec_type = AffinitySpec

    def __repr__(self) -> str:
        return f"<AffinityUnit {self.spec.label} {self.spec.summary}>"

    def read(self, frame: int) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
        """Read the sources of one frame.

        Returns
        -------
        sources
            (pixel, slot) int32: flat indices into (frame, y, x) of the frame's context, rising along the slots; empty
            slots come last and hold -1.
        cosines
            (part, pixel, slot) float32: cosine of pixel and source in each part of the features, 0 in empty slots.
        bounds
            (fusion, pixel) float32: upper bound of the similarity of all other sources, for each fusion of the search.

        Raises
        ------
        CacheError
            When there is no such frame, or it cannot be read (CorruptUnitError if its files are damaged).
        """
        if not 0 <= frame < self.spec.frame_count:
            raise CacheError(f"{self.spec.label} has {self.spec.frame_count} frames; there is no frame {frame}")
        sources, cosines, bounds = (self._readers[array.name][frame] for array in self.spec.layout.arrays)
        return sources, cosines, bounds


class AffinityWriter(StoredWriter[AffinitySpec]):
    """Writes one affinity unit; see `StoredWriter`. Frames without sources are written too, by `write_empty`."""

    def write(
        self,
        frame: int,
        sources: NDArray[np.integer[Any]],
        cosines: NDArray[np.floating[Any]],
        bounds: NDArray[np.floating[Any]],
    ) -> None:
        """Store the sources of one frame.

        Parameters
        ----------
        frame
            Index of the frame in the video.
        sources
            (pixel, slot), any integer type: flat indices into (frame, y, x) of the frame's context, rising along the
            slots, then -1. With fewer slots than the unit, the remaining slots are stored as empty.
        cosines
            (part, pixel, slot), any float type; stored as float32, and as 0 in empty slots.
        bounds
            (fusion, pixel), any float type; stored as float32.

        Raises
        ------
        CacheError
            For a wrong shape, sources that do not rise or do not fit 32 bits, cosines that are not finite, bounds that
            are NaN, or on a failing disk.
        """
        self._check_frame(frame)
        shapes = {name: shape[1:] for name, shape in self.spec.shapes.items()}
        pixels, slots = shapes["sources"]
        used = sources.shape[-1] if sources.ndim == 2 else slots
        wanted = [(pixels, min(used, slots)), (shapes["cosines"][0], pixels, used), shapes["bounds"]]
        if [sources.shape, cosines.shape, bounds.shape] != wanted:
            raise CacheError(
                f"frame {frame} of {self.spec.label} has sources, cosines and bounds of shapes {sources.shape}, "
                f"{cosines.shape} and {bounds.shape}; the unit's are {shapes['sources']} (or fewer slots), "
                f"{shapes['cosines']} and {shapes['bounds']}"
            )
        stored_sources = np.full((pixels, slots), -1, dtype=np.int32)
        stored_sources[:, :used] = sources
        before, after = stored_sources[:, :-1], stored_sources[:, 1:]
        rising = ((after == -1) | (before >= 0) & (after > before)).all() and (stored_sources[:, 0] >= -1).all()
        if not rising or (sources != stored_sources[:, :used]).any():
            raise CacheError(
                f"frame {frame} of {self.spec.label} has sources that do not rise, are not followed by -1 alone, or "
                "are too large for 32 bits; nothing of it was stored"
            )
        stored_cosines = np.zeros(shapes["cosines"], dtype=np.float32)
        with np.errstate(over="ignore"):
            np.copyto(stored_cosines[..., :used], cosines, where=sources >= 0, casting="same_kind")
        if not np.isfinite(stored_cosines).all() or np.isnan(bounds).any():
            raise CacheError(
                f"frame {frame} of {self.spec.label} has cosines that are not finite, or bounds that are NaN; nothing "
                "of it was stored. Its features may be damaged",
                hint=Hint("verify"),
            )
        self._store(frame, {"sources": stored_sources, "cosines": stored_cosines, "bounds": bounds.astype(np.float32)})

    def write_empty(self, frame: int) -> None:
        """Store a frame whose pixels have no sources, such as an annotated frame."""
        shapes = self.spec.shapes
        self.write(
            frame,
            np.empty((shapes["sources"][1], 0), dtype=np.int32),
            np.empty((*shapes["cosines"][1:3], 0), dtype=np.float32),
            np.full(shapes["bounds"][1:], -np.inf, dtype=np.float32),
        )

    def _can_resume(self, there: AffinitySpec) -> bool:
        # The number of slots is not part of the digest, so the stored arrays may have another one.
        return there.slots == self.spec.slots


class _Affinities(ArtifactKind):
    @property
    def unit_type(self) -> type[AffinityUnit]:
        return AffinityUnit


AFFINITIES = _Affinities(name=AffinitySpec.kind, arrays=_LAYOUT.arrays, maker=_LAYOUT.maker)
register_artifact(AFFINITIES)
