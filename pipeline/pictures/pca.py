"""Principal components of features, and pictures that show them as colours."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...propagate import CosineKernel, FeatureReader
from ...store import Unit
from ...store.errors import ConfigError
from ..datasets.video import Video
from .columns import Column, PictureOutput, enlarge_cells, frame_column, write_columns

#: Percentiles of the scores between which colours vary; outliers do not move them.
_SPAN = (1.0, 99.0)


@dataclass(frozen=True, kw_only=True)
class PcaBasis:
    """Principal components of features."""

    mean: npt.NDArray[np.float64]  # (channel,), float64
    # (component, channel), float64, orthonormal, by falling variance. The entry of largest magnitude of each is
    # positive, so that equal features have equal colours.
    components: npt.NDArray[np.float64]
    variances: npt.NDArray[np.float64]  # (component,), float64, variance along each component
    total_variance: float  # sum of the variances of all channels

    def project(self, features: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return the scores (..., component) of features (..., channel)."""
        return (np.asarray(features, dtype=np.float64) - self.mean) @ self.components.T


def pca_basis(frames: Iterable[npt.NDArray[Any]], count: int = 3) -> PcaBasis:
    """Compute the principal components of all pixels of some frames.

    The covariance is accumulated in float64, frame by frame (the update of Chan, Golub and LeVeque, 1979), and
    decomposed exactly. Features (..., channel) of each frame are read once, and memory does not grow with their number.

    Raises
    ------
    ConfigError
        If there are no frames, fewer channels than components, frames with different channels, or values that are not
        finite.
    """
    pixels = 0
    mean: npt.NDArray[np.float64] = np.zeros(0)
    scatter: npt.NDArray[np.float64] = np.zeros((0, 0))
    for frame in frames:
        values = np.asarray(frame)
        values = values.reshape(-1, values.shape[-1]).astype(np.float64)
        if not pixels:
            mean, scatter = np.zeros(values.shape[1]), np.zeros((values.shape[1],) * 2)
        if values.shape[1] != len(mean):
            raise ConfigError(f"frames of {len(mean)} and {values.shape[1]} channels have no common components")
        own = values.mean(0)
        centred = values - own
        difference = own - mean
        scatter += centred.T @ centred
        scatter += np.outer(difference, difference) * (pixels * len(values) / (pixels + len(values)))
        mean = mean + difference * (len(values) / (pixels + len(values)))
        pixels += len(values)
    if not pixels:
        raise ConfigError("principal components need the features of at least one frame")
    if not 0 < count <= len(mean):
        raise ConfigError(f"{count} components cannot be found in features of {len(mean)} channels")
    if not np.isfinite(scatter).all():
        raise ConfigError("features with NaN or infinite values have no principal components")
    values, vectors = np.linalg.eigh(scatter / pixels)
    components = vectors[:, ::-1][:, :count].T
    largest = np.take_along_axis(components, np.abs(components).argmax(1)[:, None], axis=1)
    return PcaBasis(
        mean=mean,
        components=components * np.sign(largest),
        variances=values[::-1][:count].clip(min=0),
        total_variance=float(values.clip(min=0).sum()),
    )


def pca_limits(scores: Iterable[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Compute the 1st and 99th percentiles (2, component) of scores (..., component) from `PcaBasis.project`."""
    held = [some.reshape(-1, some.shape[-1]) for some in scores]
    if not held:
        raise ConfigError("limits of colours need the scores of at least one frame")
    return np.asarray(np.percentile(np.concatenate(held), _SPAN, axis=0))


def pca_colours(features: npt.NDArray[Any], basis: PcaBasis, limits: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Show the first three components of features (..., channel) as red, green and blue (..., 3), uint8.

    `limits` (2, 3), from `pca_limits`, are the scores that become 0 and 255. Scores beyond are clipped; a component
    with equal limits becomes 128.
    """
    low, high = limits
    spread = high - low
    shares = np.full((*np.shape(features)[:-1], 3), 0.5)
    np.divide(basis.project(features) - low, spread, out=shares, where=spread > 0)
    return np.asarray(np.rint(255 * shares.clip(0, 1)), dtype=np.uint8)


def write_pca(
    video: Video, units: Mapping[str, Unit], output: PictureOutput, *, basis: Sequence[int] | None = None
) -> list[Path]:
    """Draw the principal components of features beside the frames; return the files.

    Features are L2-normalised, as propagation compares them. All frames share one basis per feature, so equal colours
    of a column mean equal features.

    `units` are features by the title of their column; `basis` are rising indices of the frames that the components and
    the limits are computed from, by default those shown.
    """
    chosen = output.frames if basis is None else basis
    columns = [frame_column(video.frames)]
    columns += [_column(title, unit, chosen, video.frames.size) for title, unit in units.items()]
    names = [video.frames.names[frame] for frame in chosen]
    of = ", ".join(names) if len(names) <= 8 else f"{len(names)} frames"
    title = f"{video.name}: principal components (share of the variance), basis of {of}"
    return write_columns(columns, video.frames.names, output, title=title)


def _column(title: str, unit: Unit, chosen: Sequence[int], size: tuple[int, int]) -> Column:
    kernel = CosineKernel()
    reader = FeatureReader([(_AllChannels(features=unit.reconstruction, frame_size=unit.frame_size), 1.0)])

    def features(frames: Sequence[int]) -> Iterator[npt.NDArray[np.float32]]:
        for _, (values,) in reader.frames(torch.device("cpu"), frames):
            yield kernel.prepare([values])[0].numpy()

    basis = pca_basis(features(chosen))
    limits = pca_limits(map(basis.project, features(chosen)))

    def draw(frames: Sequence[int]) -> Iterator[npt.NDArray[np.uint8]]:
        return (enlarge_cells(pca_colours(values, basis, limits), size) for values in features(frames))

    explained = basis.variances.sum() / max(basis.total_variance, np.finfo(float).tiny)
    return Column(title=f"{title} ({explained:.0%})", draw=draw)


@dataclass(frozen=True, kw_only=True)
class _AllChannels:
    """Features of a unit in the channels of the network, so that a basis means the same for every codec."""

    features: Any
    frame_size: tuple[int, int]
