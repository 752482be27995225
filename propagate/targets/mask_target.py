"""Object masks as a target: each annotated frame may show some of the video's objects."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from .base import AnnotatedLabel
from .masks import cells_of_objects, decode_mask


@dataclass(frozen=True, kw_only=True)
class MaskTarget:
    """Masks of a video's annotated frames.

    Attributes
    ----------
    masks
        By frame index: (height, width), uint8, the numbers of the objects annotated in that frame. 0 means unknown: the
        background, or an object that is not annotated in that frame.
    """

    noun: ClassVar[str] = "object"

    masks: Mapping[int, npt.NDArray[np.uint8]]

    @cached_property
    def object_ids(self) -> tuple[int, ...]:
        """Numbers of all annotated objects, rising: the order of their channels, after the background."""
        return tuple(sorted({int(i) for mask in self.masks.values() for i in np.unique(mask) if i}))

    @cached_property
    def late_objects(self) -> tuple[int, ...]:
        """Numbers of the objects that the first annotated frame does not show, rising."""
        first = set(np.unique(self.masks[min(self.masks)]).tolist())
        return tuple(number for number in self.object_ids if number not in first)

    def encode(self, grid: tuple[int, int]) -> dict[int, AnnotatedLabel]:
        """Return the label of each annotated frame on a grid (y, x), in the order of the frames; see `encode_mask`."""
        return {
            frame: AnnotatedLabel(
                label=cells_of_objects(self.masks[frame], self.object_ids, grid), channels=self._channels(frame)
            )
            for frame in sorted(self.masks)
        }

    def decode(self, frame: int, label: torch.Tensor, frame_size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """Return a frame's object numbers: (height, width), uint8; see `decode_mask`.

        Annotated objects are returned unchanged, and other objects are decoded in the rest of the frame.
        """
        mask = self.masks.get(frame)
        if mask is None:
            size = next(iter(self.masks.values())).shape
            return decode_mask(label, self.object_ids, frame_size=frame_size, size=(size[0], size[1]))
        others = label.clone()
        others[list(self._channels(frame))] = 0
        ids = decode_mask(others, self.object_ids, frame_size=frame_size, size=(mask.shape[0], mask.shape[1]))
        return np.where(mask > 0, mask, ids)

    def _channels(self, frame: int) -> tuple[int, ...]:
        """Return the channels of the objects annotated in a frame."""
        here = set(np.unique(self.masks[frame]).tolist())
        return tuple(channel for channel, number in enumerate(self.object_ids, 1) if number in here)
