"""Pictures of the principal components of a video's features."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...propagate import FeatureReader
from ...store import Unit
from ..datasets.video import Video
from .columns import Column, Look, frame_column, write_columns
from .enlarge import enlarged_cells
from .pca import pca_basis, pca_colours, pca_limits

__all__ = ["write_pca"]


def write_pca(video: Video, units: Mapping[str, Unit], look: Look, *, basis: Sequence[int] | None = None) -> list[Path]:
    """Show features as colours, each beside the frames: three principal components are red, green and blue.

    Features are L2-normalised, as propagation sees them. Each has a basis of its own, which all frames share, so that
    equal colours mean equal features throughout the video.

    Parameters
    ----------
    video
        The frames.
    units
        Features by the titles of their columns.
    look
        Which frames, and where to.
    basis
        Indices of the frames, rising, whose pixels the components and the limits of colours are computed of; by default
        the frames that are shown.

    Returns
    -------
    list of Path
        The pictures.
    """
    chosen = look.frames if basis is None else basis
    columns = [frame_column(video.frames)]
    columns += [_column(title, unit, chosen, video.frames.size) for title, unit in units.items()]
    names = [video.frames.names[frame] for frame in chosen]
    where = ", ".join(names) if len(names) <= 8 else f"{len(names)} frames"
    title = f"{video.name}: principal components (share of the variance), basis of {where}"
    return write_columns(columns, video.frames.names, look, title=title)


def _column(title: str, unit: Unit, chosen: Sequence[int], size: tuple[int, int]) -> Column:
    sources = FeatureReader([(_Channels(features=unit.reconstruction, frame_size=unit.frame_size), 1.0)])

    def features(frames: Sequence[int]) -> Iterator[npt.NDArray[np.float32]]:
        for _, (values,) in sources.frames(torch.device("cpu"), frames):
            yield values.numpy()

    basis = pca_basis(features(chosen))
    limits = pca_limits(map(basis.project, features(chosen)))

    def draw(frames: Sequence[int]) -> Iterator[npt.NDArray[np.uint8]]:
        return (enlarged_cells(pca_colours(values, basis, limits), size) for values in features(frames))

    explained = basis.variances.sum() / max(basis.total_variance, np.finfo(float).tiny)
    return Column(title=f"{title} ({explained:.0%})", draw=draw)


@dataclass(frozen=True, kw_only=True)
class _Channels:
    """A unit's features with all channels of the UNet, so that a basis means the same in every form."""

    features: Any
    frame_size: tuple[int, int]
