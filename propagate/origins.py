"""The origins of a pixel's label: its sources in the context and their weights."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ..store.errors import ConfigError
from .features import Part
from .session import TrackingSession
from .settings import PropagationSettings


@dataclass(frozen=True, kw_only=True)
class Origins:
    """Sources of some pixels of a frame, and the weights with which propagation sums the sources' labels.

    Attributes
    ----------
    frame
        Index of the frame.
    context
        Indices of its context frames, the frame before it last.
    cells
        (pixel, 2), int64: y and x of the pixels on the feature grid.
    grid
        (y, x): size of that grid.
    frames
        (pixel, k), int64: index of the frame that each source is in; the best source first.
    source_cells
        (pixel, k, 2), int64: y and x of each source on that grid.
    weights
        (pixel, k), float32, summing to 1 along k; 0 where a pixel has fewer than k sources.
    """

    frame: int
    context: tuple[int, ...]
    cells: npt.NDArray[np.int64]
    grid: tuple[int, int]
    frames: npt.NDArray[np.int64]
    source_cells: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]


def trace_origins(
    parts: Sequence[Part],
    settings: PropagationSettings,
    cells: Callable[[int], npt.NDArray[np.int64]],
    *,
    frames: range,
    annotated: tuple[int, ...] = (0,),
    device: torch.device | str = "cpu",
) -> Iterator[Origins]:
    """Find the sources of pixels, with the same search as propagation.

    Parameters
    ----------
    cells
        Function of a frame's index that returns the pixels to trace: (pixel, 2), y and x on the grid of the finest
        part.
    frames
        A run of frames. Their contexts are read, too.

    Yields
    ------
    Origins
        Sources and weights of each frame except the first annotated one.

    Raises
    ------
    ConfigError
        For parts that cannot be fused, frames that do not exist, or pixels outside of the grid.
    """
    session = TrackingSession(parts, settings, device=device, memory=0)
    height, width = session.grid
    for step in session.affinities(frames, annotated=annotated):
        here = np.asarray(cells(step.frame), dtype=np.int64).reshape(-1, 2)
        if here.size and not ((here >= 0) & (here < (height, width))).all():
            raise ConfigError(f"a pixel to be traced lies outside of the feature grid, which is {height}x{width}")
        rows = torch.from_numpy(here[:, 0] * width + here[:, 1]).to(step.weights.device)
        position, cell = np.divmod(step.affinity.sources[rows].cpu().numpy(), height * width)
        yield Origins(
            frame=step.frame,
            context=step.context,
            cells=here,
            grid=(height, width),
            frames=np.asarray(step.context, dtype=np.int64)[position],
            source_cells=np.stack(np.divmod(cell, width), axis=-1),
            weights=step.weights[rows].cpu().numpy(),
        )
