"""Encode object masks as soft labels on the feature grid and decode them, as in DIFT's DAVIS evaluation."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional

from ...store.errors import LabelError
from .object_ids import object_mask

# If a channel's range is below this share of its maximum, it is constant except for float32 rounding. Stretching it to
# [0, 1] would amplify noise.
_CONSTANT = 1e-5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MaskLabel:
    """A mask on the feature grid.

    Attributes
    ----------
    label
        (1 + object, y, x), float32, one-hot; channel 0 is the background.
    object_ids
        Ids of the mask's objects, rising; in 1..254, not necessarily contiguous.
    """

    label: torch.Tensor
    object_ids: tuple[int, ...]


def encode_mask(mask: npt.NDArray[Any], grid: tuple[int, int]) -> MaskLabel:
    """Resize an id mask to the feature grid by nearest neighbour (PIL), and encode it one-hot.

    Parameters
    ----------
    mask
        (height, width), integers in 0..255; see `object_mask` for their meaning.
    grid
        (y, x) of the features.

    Returns
    -------
    MaskLabel
        If an object contains no cell centre, its channel is zero and a warning is logged.

    Raises
    ------
    LabelError
        As `object_mask`.
    """
    objects = object_mask(mask)
    ids = tuple(int(i) for i in np.unique(objects) if i != 0)
    return MaskLabel(label=cells_of_objects(objects, ids, grid), object_ids=ids)


def cells_of_objects(objects: npt.NDArray[np.uint8], ids: Sequence[int], grid: tuple[int, int]) -> torch.Tensor:
    """Resize object numbers to the feature grid and encode them one-hot, as `encode_mask` does.

    Parameters
    ----------
    objects
        (height, width), object numbers; 0 is the background.
    ids
        The object number of each channel. It must contain all numbers of the mask; channels of other numbers are zero.
    grid
        (y, x) of the features.

    Returns
    -------
    torch.Tensor
        (1 + object, y, x), float32.
    """
    cells = np.asarray(Image.fromarray(objects).resize((grid[1], grid[0]), Image.Resampling.NEAREST))
    channels = np.stack([cells == i for i in (0, *ids)])
    present = set(np.unique(objects).tolist())
    lost = [i for i, channel in zip(ids, channels[1:], strict=True) if i in present and not channel.any()]
    if lost:
        _log.warning(
            "objects %s are too small for the feature grid (%d x %d cells): they cannot be tracked", lost, *grid
        )
    return torch.from_numpy(channels.astype(np.float32))


def decode_mask(
    label: torch.Tensor, object_ids: Sequence[int], *, frame_size: tuple[int, int], size: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Decode a soft label as an id mask.

    The label is resized bilinearly to the processed frame, and each channel with a positive maximum is stretched to
    [0, 1]. The largest channel of each pixel wins (the lowest of equal ones). The mask is then resized to the original
    frame by nearest neighbour (PIL). A positive constant channel becomes ones; a zero channel stays zero.

    Parameters
    ----------
    label
        (1 + object, y, x), float; channel 0 is the background.
    object_ids
        The id of each object's channel, in 1..255.
    frame_size
        (height, width) of the frames that the features were computed from.
    size
        (height, width) of the mask in pixels.

    Returns
    -------
    numpy.ndarray
        (height, width), uint8: object ids, 0 for the background.

    Raises
    ------
    LabelError
        Unless there is one channel for the background and one for each object.
    """
    if label.ndim != 3 or label.shape[0] != len(object_ids) + 1:
        raise LabelError(
            f"a label of {len(object_ids)} objects must be ({len(object_ids) + 1}, y, x), not {tuple(label.shape)}"
        )
    large = functional.interpolate(label[None].float(), size=frame_size, mode="bilinear", align_corners=False)[0]
    mask = np.array([0, *object_ids], dtype=np.uint8)[_largest(large).cpu().numpy()]
    return np.array(Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST))


def _largest(channels: torch.Tensor) -> torch.Tensor:
    """Return the index (y, x) of the largest channel after stretching, the lowest of equals; torch's argmax is slow."""
    stretched = map(_stretch, channels) if channels.device.type == "cpu" else iter(_stretch_all(channels))
    best = next(stretched)
    winners = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
    for number, rival in enumerate(stretched, 1):
        winners.masked_fill_(rival > best, number)
        best = torch.maximum(best, rival)
    return winners


def _stretch_all(channels: torch.Tensor) -> torch.Tensor:
    """Stretch as `_stretch` does, without waiting for the device."""
    low, high = channels.amin((1, 2), keepdim=True), channels.amax((1, 2), keepdim=True)
    shifted = (channels - low) / (high - low)
    return torch.where(high <= 0, channels, torch.where(high - low <= _CONSTANT * high, 1.0, shifted))


def _stretch(channel: torch.Tensor) -> torch.Tensor:
    low, high = channel.min(), channel.max()
    if high <= 0:
        return channel
    if high - low <= _CONSTANT * high:
        return torch.ones_like(channel)
    shifted = channel - low
    return shifted / shifted.max()
