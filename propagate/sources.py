"""Features as propagation needs them: read once, block by block, brought to one grid, normalised."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional

from ..store.errors import ConfigError, CorruptUnitError
from .affinity import unit_vectors

__all__ = ["FeatureVolume", "Part", "Sources"]


class FeatureVolume(Protocol):
    """What propagation needs of a feature unit."""

    @property
    def features(self) -> Any:
        """A ``dask.array``, (frame, y, x, channel), float16 or float32, chunked along frames."""

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of the frames that the features were computed from, in pixels."""


#: Features and their weight in the fusion, at least 0.
Part = tuple[FeatureVolume, float]


class Sources:
    """The features of one video that have a weight. A part of weight 0 is not even looked at.

    Attributes
    ----------
    weights
        Of the parts that are used.
    frame_count
        Frames in the video.
    grid
        (y, x) of the finest part: the grid of labels, in whose cells the radius counts.
    frame_size
        (height, width) of the processed frames, in pixels.

    Raises
    ------
    ConfigError
        When no part has a positive weight, a weight is negative, or the parts are not of the same frames.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        if any(not 0 <= weight < float("inf") for _, weight in parts):
            raise ConfigError(f"weights of features must be at least 0, not {[weight for _, weight in parts]}")
        used = [(number, volume, weight) for number, (volume, weight) in enumerate(parts, 1) if weight > 0]
        if not used:
            raise ConfigError("no features with a positive weight were given")
        self.weights = tuple(weight for _, _, weight in used)
        self._volumes = [(f"part {number} of {len(parts)}", volume.features) for number, volume, _ in used]
        for name, features in self._volumes:
            if features.ndim != 4 or 0 in features.shape:
                raise ConfigError(f"features must be (frame, y, x, channel) and not empty; {name} is {features.shape}")
        self.frame_count = self._common("frame counts", [features.shape[0] for _, features in self._volumes])
        self.frame_size = self._common("frame sizes", [tuple(volume.frame_size) for _, volume, _ in used])
        self.grid: tuple[int, int] = max(
            (tuple(features.shape[1:3]) for _, features in self._volumes), key=lambda grid: grid[0] * grid[1]
        )

    def frames(self, device: torch.device) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield the parts of each frame: (y, x, channel), float32, L2-normalised, all on `grid` and on `device`.

        Every chunk is read once, in a thread that is one chunk ahead.

        Raises
        ------
        CorruptUnitError
            For values that are NaN or infinite.
        """
        streams = [self._frames_of(name, features, device) for name, features in self._volumes]
        yield from zip(*streams, strict=True)

    def _frames_of(self, name: str, features: Any, device: torch.device) -> Iterator[torch.Tensor]:
        frame = 0
        for block in _blocks(features):
            for values in block:
                raw = torch.from_numpy(values).to(device).float()
                if not bool(torch.isfinite(raw).all()):
                    raise CorruptUnitError(
                        f"features of frame {frame} ({name}) hold NaN or infinite values: check the unit with "
                        "'ted cache verify', and extract it again if it is damaged; if it is not, the backbone "
                        "overflowed: extract with a wider compute dtype"
                    )
                yield unit_vectors(_resize(raw, self.grid))
                frame += 1

    @staticmethod
    def _common(what: str, values: Sequence[Any]) -> Any:
        if len(set(values)) > 1:
            raise ConfigError(f"features of different {what} cannot be fused: {', '.join(map(str, values))}")
        return values[0]


def _blocks(features: Any) -> Iterator[Any]:
    """Yield the chunks along frames as writeable arrays (frame, y, x, channel), reading one ahead."""
    edges = np.cumsum((0, *features.chunks[0])).tolist()

    def read(start: int, stop: int) -> Any:
        return np.require(features[start:stop].compute(), requirements=["C", "W"])

    with ThreadPoolExecutor(max_workers=1) as reader:
        first, *others = pairwise(edges)
        pending = reader.submit(read, *first)
        for span in others:
            block = pending.result()
            pending = reader.submit(read, *span)
            yield block
            del block
        yield pending.result()


def _resize(raw: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Resize (y, x, channel) to another grid: before normalising, since interpolation does not keep lengths."""
    if raw.shape[:2] == grid:
        return raw
    resized = functional.interpolate(raw.movedim(-1, 0)[None], size=grid, mode="bilinear", align_corners=False)
    return resized[0].movedim(0, -1).contiguous()
