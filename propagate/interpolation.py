"""Read targets out of attention maps of consecutive frames (DINTR-style).

The maps of a pair of frames are the self-attention ``A_S`` between the cells of a grid, and the cross-attention ``A_X``
of each target. The self-attention propagates the cross-attention: ``A*(i) = sum_j A_S(i, j) A_X(j)``.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from ..store.errors import ConfigError, LabelError

Mode = Literal["propagated", "product", "cross", "self"]
Scale = Literal["frame", "first"]
Place = Literal["mean", "max"]

#: Values of the settings of `ReadOutSettings` that are words.
MODES, SCALES, PLACES = (get_args(words) for words in (Mode, Scale, Place))

# If a map's range is below this share of its maximum, it is constant except for rounding: nothing is found in it.
_CONSTANT = 1e-5

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ReadOutSettings:
    """Settings of the read-out; all can be changed without running the network again.

    Attributes
    ----------
    mode
        The map of a target: ``"propagated"`` is ``A_S A_X``, ``"product"`` is ``A_X`` times it cell by cell,
        ``"cross"`` is ``A_X``, and ``"self"`` is ``A_S`` times the target's label in the previous frame. None is
        ``"propagated"``; `for_network` makes it ``"self"`` for networks without cross-attention.
    power
        Number of times that ``A_S`` is applied.
    top_n
        Number of largest weights of each row of ``A_S`` that are used; None for all that are stored.
    threshold
        Values above ``low + threshold * (high - low)`` belong to the target, in [0, 1).
    scale
        Where low and high come from: the minimum and maximum of each ``"frame"``'s map, or of the map in the target's
        ``"first"`` annotated frame, with which a target can vanish.
    place
        Of points and joints: ``"mean"`` of the cells around the maximum (soft arg max), or the cell of the ``"max"``.

    Raises
    ------
    ConfigError
        For a value out of range.
    """

    mode: Mode | None = None
    power: int = 1
    top_n: int | None = None
    threshold: float = 0.5
    scale: Scale = "frame"
    place: Place = "mean"

    def __post_init__(self) -> None:
        if self.power < 1 or (self.top_n is not None and self.top_n < 1):
            raise ConfigError(f"power and top_n must be at least 1, not {self.power} and {self.top_n}")
        if not 0 <= self.threshold < 1:
            raise ConfigError(f"threshold must be from 0 to below 1, not {self.threshold}")

    def for_network(self, has_cross: bool) -> "ReadOutSettings":
        """Return the settings with the mode for a network with or without cross-attention.

        Raises ConfigError for a mode that needs cross-attention where there is none.
        """
        mode: Mode = self.mode or ("propagated" if has_cross else "self")
        if mode != "self" and not has_cross:
            raise ConfigError(f"the mode {mode!r} needs cross-attention, which this network does not have")
        return replace(self, mode=mode)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self)


class MapRange(NamedTuple):
    """Minimum and maximum of each target's map: (target,), float64."""

    low: _Array
    high: _Array


def map_range(maps: _Array) -> MapRange:
    """Return the minimum and maximum of maps (target, cell)."""
    return MapRange(maps.min(1), maps.max(1))


def self_attention(
    sources: npt.NDArray[np.integer], weights: npt.NDArray[np.floating], top_n: int | None = None
) -> sparse.csr_array:
    """Build the sparse matrix ``A_S`` (cell, cell) of a pair.

    Parameters
    ----------
    sources, weights
        (cell, slot): cells of the largest weights, and these weights; -1 and 0 in empty slots.
    top_n
        Number of largest weights of each row that are used; between equal ones, the lower cells count.

    Returns
    -------
    scipy.sparse.csr_array
        float64. Rows are divided by their sums (reconstruction): weights that are not stored count as if the mean of
        the stored ones. Complete rows sum to 1 already. Rows without weights are zero.
    """
    cells, slots = sources.shape
    used = np.where(sources >= 0, weights, 0).astype(np.float64)
    if top_n is not None and top_n < slots:
        rank = np.argsort(np.argsort(-used, axis=1, kind="stable"), axis=1)
        used[rank >= top_n] = 0
    total = used.sum(1, keepdims=True)
    used /= np.where(total > 0, total, 1)
    indices = np.arange(0, cells * slots + 1, slots)
    matrix = sparse.csr_array((used.ravel(), np.maximum(sources, 0).ravel(), indices), shape=(cells, cells))
    return matrix


def pair_maps(
    sources: npt.NDArray[np.integer],
    weights: npt.NDArray[np.floating],
    cross: npt.NDArray[np.floating],
    previous: torch.Tensor,
    *,
    settings: ReadOutSettings,
) -> _Array:
    """Return the maps of a pair's targets, (target, cell); see `labels_of_pair`."""
    start: _Array = np.asarray(previous.flatten(1) if settings.mode == "self" else cross, dtype=np.float64)
    if settings.mode == "cross":
        return start
    attention, spread = self_attention(sources, weights, settings.top_n), start.T
    for _ in range(settings.power):
        spread = attention @ spread
    return np.ascontiguousarray(start * spread.T if settings.mode == "product" else spread.T)


def region_labels(maps: _Array, limits: MapRange, threshold: float) -> _Array:
    """Return soft labels of regions, (target, cell), in [0, 1]: above one half where a map is above its threshold.

    Between the map's minimum, the threshold and the map's maximum, labels rise linearly from 0 to 1/2 to 1
    (reconstruction). The label is zero if the map is constant, or nothing is above the threshold.
    """
    low, high, level, found = _levels(maps, limits, threshold)
    below = (maps - low) / np.where(level > low, 2 * (level - low), 1)
    above = 0.5 + (maps - level) / np.where(found, 2 * (high - level), 1)
    return np.where(found, np.where(maps > level, above, below), 0.0)


def place_labels(maps: _Array, limits: MapRange, threshold: float, grid: tuple[int, int], place: Place) -> _Array:
    """Return soft labels of points, (target, cell), which sum to 1.

    They are the map less its minimum, where it is above the threshold, and in the 3x3 cells around its maximum, which
    locate the point between cells; for the place ``"max"``, the cell of the maximum alone. The label is zero if the map
    is constant, or nothing is above the threshold.
    """
    low, _, level, found = _levels(maps, limits, threshold)
    cells, peak = np.arange(maps.shape[1]), maps.argmax(1)[:, None]
    rows, columns = (np.abs(part(cells, grid[1]) - part(peak, grid[1])) for part in (np.floor_divide, np.mod))
    distance = np.maximum(rows, columns)  # (target, cell)
    used = distance == 0 if place == "max" else (distance <= 1) | (maps > level)
    values = np.where(used & found, maps - low, 0)
    total = values.sum(1, keepdims=True)
    return np.asarray(values / np.where(total > 0, total, 1))


def _levels(maps: _Array, limits: MapRange, threshold: float) -> tuple[_Array, _Array, _Array, npt.NDArray[np.bool_]]:
    """Return minimum, maximum and threshold of maps, and whether anything is found in them: (target, 1) each."""
    low, high = (limit[:, None] for limit in map_range(maps))
    level = (limits.low + threshold * (limits.high - limits.low))[:, None]
    return low, high, level, (high > level) & (high - low > _CONSTANT * high)


def labels_of_pair(
    sources: npt.NDArray[np.integer],
    weights: npt.NDArray[np.floating],
    cross: npt.NDArray[np.floating],
    previous: torch.Tensor,
    *,
    settings: ReadOutSettings,
    places: bool = False,
    limits: MapRange | None = None,
) -> torch.Tensor:
    """Return the soft labels of a pair's targets in its second frame.

    Parameters
    ----------
    sources, weights
        Self-attention, (cell, slot); see `self_attention`.
    cross
        Cross-attention, (target, cell).
    previous
        Labels of the targets in the first frame of the pair, (target, y, x).
    settings
        The settings.
    places
        Whether targets are points or joints, and not regions.
    limits
        Range of each target's map in its first annotated frame, for the scale ``"first"``.

    Returns
    -------
    torch.Tensor
        (target, y, x), float32. A target whose map has nothing above the threshold is zero: it is absent.

    Raises
    ------
    ConfigError
        For a scale that needs `limits`.
    LabelError
        For arrays that do not fit each other.
    """
    count, *grid = previous.shape
    cells = grid[0] * grid[1]
    if sources.shape != weights.shape or sources.shape[0] != cells or cross.shape != (count, cells):
        raise LabelError(
            f"self-attention {sources.shape} and {weights.shape}, and cross-attention {cross.shape}, do not fit labels "
            f"{tuple(previous.shape)}"
        )
    maps = pair_maps(sources, weights, cross, previous, settings=settings)
    if limits is None and settings.scale == "first":
        raise ConfigError("the scale of the first frame needs the range of the maps there")
    used = map_range(maps) if limits is None or settings.scale == "frame" else limits
    if places:
        labels = place_labels(maps, used, settings.threshold, (grid[0], grid[1]), settings.place)
    else:
        labels = region_labels(maps, used, settings.threshold)
    return torch.from_numpy(labels.astype(np.float32)).reshape(count, *grid)
