"""Read the features of a video block by block, one block ahead, and resize all parts to one grid."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional

from ..store.errors import ConfigError, CorruptUnitError, Hint

#: Ends of the names of attention taps.
_ROLES = ("qk", "q", "k")


class FeatureVolume(Protocol):
    """Features of one video, such as a feature unit of the cache."""

    @property
    def features(self) -> Any:
        """A ``dask.array``, (frame, y, x, channel), float16 or float32, chunked along frames."""

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of the frames that the features were computed from, in pixels."""


@dataclass(frozen=True, kw_only=True)
class PartInfo:
    """Description of a part, from the unit that holds it.

    Attributes
    ----------
    layer
        Backbone, request, timestep and tap, without the tap's role; empty if the part is no unit.
    role
        ``"qk"``, ``"q"`` or ``"k"`` if the part holds queries, keys or both of an attention layer, else empty.
    heads
        Number of attention heads; the channels are head-major.
    channels
        Number of channels.
    """

    layer: str = ""
    role: str = ""
    heads: int = 1
    channels: int = 0

    @classmethod
    def of(cls, volume: "FeatureVolume") -> tuple["PartInfo", Any]:
        """Return the description of features, and the ``dask.array`` that propagation reads."""
        spec = getattr(volume, "spec", None)
        if spec is None:
            return cls(channels=volume.features.shape[-1]), volume.features
        layer, _, role = spec.feature.rpartition(":")
        if role not in _ROLES:
            return cls(layer=spec.feature, heads=spec.heads, channels=volume.features.shape[-1]), volume.features
        # Heads are ranges of the network's channels, which coefficients of a codec do not have.
        features = getattr(volume, "reconstruction", volume.features)
        return cls(layer=layer, role=role, heads=spec.heads, channels=features.shape[-1]), features


#: Features and their weight in the fusion, at least 0.
Part = tuple[FeatureVolume, float]


def finest_part(volumes: Sequence[FeatureVolume]) -> int:
    """Return the index of the features with the most cells, to whose grid the others are resized; ties: the first."""
    cells = [volume.features.shape[1] * volume.features.shape[2] for volume in volumes]
    return cells.index(max(cells))


class FeatureReader:
    """Reads the parts with a positive weight; other parts are never accessed.

    Attributes
    ----------
    weights
        Weights of these parts.
    frame_count
        Number of frames of the video.
    grid
        (y, x) of the finest part: the grid of labels, whose cells are the unit of the radius.
    frame_size
        (height, width) in pixels of that part's frames as its backbone processed them. Backbones may use different
        sizes; every grid covers the whole frame.
    parts
        Descriptions of these parts, which kernels may need.

    Raises
    ------
    ConfigError
        When no part has a positive weight, a weight is negative, or the parts differ in frames.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        if any(not 0 <= weight < float("inf") for _, weight in parts):
            raise ConfigError(f"weights of features must be at least 0, not {[weight for _, weight in parts]}")
        used = [(number, volume, weight) for number, (volume, weight) in enumerate(parts, 1) if weight > 0]
        if not used:
            raise ConfigError("no features with a positive weight were given")
        self.weights = tuple(weight for _, _, weight in used)
        described = [PartInfo.of(volume) for _, volume, _ in used]
        self.parts = tuple(info for info, _ in described)
        names = [f"part {number} of {len(parts)}" for number, _, _ in used]
        self._volumes = [(name, features) for name, (_, features) in zip(names, described, strict=True)]
        for name, features in self._volumes:
            if features.ndim != 4 or 0 in features.shape:
                raise ConfigError(f"features must be (frame, y, x, channel) and not empty; {name} is {features.shape}")
        self.frame_count = self._common("frame counts", [features.shape[0] for _, features in self._volumes])
        finest = finest_part([volume for _, volume, _ in used])
        height, width = used[finest][1].frame_size
        self.frame_size = height, width
        self.grid: tuple[int, int] = tuple(self._volumes[finest][1].shape[1:3])

    def frames(
        self, device: torch.device, wanted: Sequence[int] | None = None
    ) -> Iterator[tuple[int, tuple[torch.Tensor, ...]]]:
        """Yield each frame's index and parts, (y, x, channel), float32, on `grid` and `device`.

        A thread reads one chunk ahead. Every needed chunk is read once.

        Parameters
        ----------
        device
            Device of the tensors.
        wanted
            Indices of the frames, rising or falling; all by default.

        Raises
        ------
        CorruptUnitError
            For values that are NaN or infinite.
        """
        indices = range(self.frame_count) if wanted is None else wanted
        streams = [self._frames_of(name, features, indices, device) for name, features in self._volumes]
        yield from zip(indices, zip(*streams, strict=True), strict=True)

    def _frames_of(
        self, name: str, features: Any, wanted: Sequence[int], device: torch.device
    ) -> Iterator[torch.Tensor]:
        for start, block, finite in _blocks(features, wanted, device):
            for frame, is_finite in finite.items():
                if not is_finite:
                    raise CorruptUnitError(
                        f"features of frame {frame} ({name}) hold NaN or infinite values: the unit is damaged, or the "
                        "backbone overflowed and needs a wider compute dtype",
                        hint=Hint("verify"),
                    )
                raw = block[frame - start].to(device, non_blocking=True)  # from page-locked memory, to a GPU
                yield _resize(raw.float(), self.grid)

    @staticmethod
    def _common(what: str, values: Sequence[Any]) -> Any:
        if len(set(values)) > 1:
            raise ConfigError(f"features of different {what} cannot be fused: {', '.join(map(str, values))}")
        return values[0]


def _blocks(
    features: Any, wanted: Sequence[int], device: torch.device
) -> Iterator[tuple[int, torch.Tensor, dict[int, bool]]]:
    """Yield the chunks that hold wanted frames, in their order, reading one ahead, or two for a GPU.

    Each item is the index of a chunk's first frame, its values (frame, y, x, channel), which are page-locked for a GPU,
    and its wanted frames with whether all of their values are finite.
    """
    ahead = 2 if device.type == "cuda" else 1
    edges = np.cumsum((0, *features.chunks[0])).tolist()
    held = [(chunk, list(some)) for chunk, some in groupby(wanted, lambda frame: bisect_right(edges, frame) - 1)]

    def read(chunk: int, frames: list[int]) -> tuple[int, torch.Tensor, dict[int, bool]]:
        start, stop = edges[chunk], edges[chunk + 1]
        # Compute in this process: on a cluster, a task that waits for other tasks may wait forever.
        values = features[start:stop].compute(scheduler="threads")
        block = torch.from_numpy(np.require(values, requirements=["C", "W"]))
        finite = {frame: _is_finite(block[frame - start]) for frame in frames}
        return start, block.pin_memory() if device.type == "cuda" else block, finite

    with ThreadPoolExecutor(max_workers=ahead) as reader:
        pending: deque[Future[tuple[int, torch.Tensor, dict[int, bool]]]] = deque()
        for chunk, frames in held:
            pending.append(reader.submit(read, chunk, frames))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _is_finite(values: torch.Tensor) -> bool:
    """Tell whether all values are finite; that of their sum, which costs an eighth, proves it."""
    return bool(values.sum(dtype=torch.float32).isfinite()) or bool(values.isfinite().all())


def _resize(raw: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Resize (y, x, channel) to another grid; interpolation changes lengths, so kernels normalise afterwards."""
    if raw.shape[:2] == grid:
        return raw
    resized = functional.interpolate(raw.movedim(-1, 0)[None], size=grid, mode="bilinear", align_corners=False)
    return resized[0].movedim(0, -1).contiguous()
