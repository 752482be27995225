"""Writing an affinity unit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .affinities import AffinitySpec
from .errors import CacheError, Hint
from .writing import StoredWriter

__all__ = ["AffinityWriter"]


class AffinityWriter(StoredWriter[AffinitySpec]):
    """Writes one affinity unit; see `StoredWriter`. Every frame is written, those without sources by `write_empty`."""

    def write(
        self,
        frame: int,
        sources: NDArray[np.integer[Any]],
        cosines: NDArray[np.floating[Any]],
        bounds: NDArray[np.floating[Any]],
    ) -> None:
        """Store what was found for one frame.

        Parameters
        ----------
        frame
            Index of the frame in the video.
        sources
            (pixel, slot), any integer type: flat indices into (frame, y, x) of the frame's context, rising along the
            slots, then -1. May have fewer slots than the unit: the rest is stored as empty.
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
        """Store a frame whose pixels have no sources: an annotated one."""
        shapes = self.spec.shapes
        self.write(
            frame,
            np.empty((shapes["sources"][1], 0), dtype=np.int32),
            np.empty((*shapes["cosines"][1:3], 0), dtype=np.float32),
            np.full(shapes["bounds"][1:], -np.inf, dtype=np.float32),
        )

    def _fits(self, there: AffinitySpec) -> bool:
        # The slots are no part of the digest, and the arrays on the disk have as many as were described.
        return there.slots == self.spec.slots
