"""Targets: tracked masks, joints, points or boxes, encoded as soft label maps on the feature grid.

A target encodes the annotations of some frames as label maps, which are propagated, and decodes the label map of any
frame.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from ...store.errors import LabelError

Value_co = TypeVar("Value_co", covariant=True)


@dataclass(frozen=True, kw_only=True)
class AnnotatedLabel:
    """The soft label of an annotated frame.

    Attributes
    ----------
    label
        (channel, y, x), float32, in [0, 1], on the feature grid, with all channels of the video.
    channels
        The channels that are annotated in this frame; None for all. The other channels keep the propagated label.
    exclusive
        Whether the channels of a cell sum to 1, the background first, as masks do. Otherwise they are independent.
    """

    label: torch.Tensor
    channels: tuple[int, ...] | None = None
    exclusive: bool = True

    def over(self, predicted: torch.Tensor) -> torch.Tensor:
        """Combine the annotated label with the propagated label of its frame.

        Annotated channels keep their annotated values. If channels are exclusive, the other channels share the rest of
        each cell in proportion to their propagated values; the background takes the rest if these are all zero.

        Parameters
        ----------
        predicted
            (channel, y, x), float32.

        Returns
        -------
        torch.Tensor
            (channel, y, x), float32; a new tensor.
        """
        if self.channels is None:
            return self.label.clone()
        known = list(self.channels)
        merged = predicted.clone()
        if not self.exclusive:
            merged[known] = self.label[known]
            return merged
        taken = predicted[known].sum(0) > 0
        merged[known] = 0
        total = merged.sum(0)
        merged[0].masked_fill_(taken & (total == 0), 1)
        merged *= (1 - self.label[known].sum(0)) / total.masked_fill(~taken | (total == 0), 1)
        merged[known] = self.label[known]
        return merged


class Target(Protocol[Value_co]):
    """Annotations of some frames of a video, to be tracked through all frames."""

    def encode(self, grid: tuple[int, int]) -> Mapping[int, AnnotatedLabel]:
        """Return the label of each annotated frame, by its index, on a feature grid (y, x).

        All labels have the same channels. An object's channel is zero before its first annotation.
        """

    def decode(self, frame: int, label: torch.Tensor, frame_size: tuple[int, int]) -> Value_co:
        """Decode the target's value in a frame, in coordinates of the original frame, from its soft label.

        Parameters
        ----------
        frame
            Index of the frame. In an annotated frame, annotations are returned unchanged.
        label
            (channel, y, x), float32, on the feature grid.
        frame_size
            (height, width) in pixels of the frames that the features were computed from, which the grid covers.
        """


def annotation_labels(
    annotations: torch.Tensor | Mapping[int, AnnotatedLabel], device: torch.device | str | None = None
) -> dict[int, AnnotatedLabel]:
    """Return labels by frame, rising, float32; a tensor is the label of frame 0 and annotates all channels."""
    labels = {0: AnnotatedLabel(label=annotations)} if isinstance(annotations, torch.Tensor) else annotations
    return {
        frame: replace(labels[frame], label=labels[frame].label.to(device, torch.float32)) for frame in sorted(labels)
    }


def check_annotations(annotations: Mapping[int, AnnotatedLabel], grid: Sequence[int], frame_count: int) -> None:
    """Check the labels of a video's annotated frames.

    Raises
    ------
    LabelError
        If there is no label, or if a label is not (channel, y, x) on the grid, has another number of channels than the
        first, or belongs to a frame that does not exist.
    """
    if not annotations:
        raise LabelError("nothing is annotated: there is nothing to propagate")
    channels = next(iter(annotations.values())).label.shape[:1]
    for frame, item in sorted(annotations.items()):
        if not 0 <= frame < frame_count:
            raise LabelError(f"frame {frame} is annotated, but the video has {frame_count} frames")
        if item.label.shape != (*channels, *grid):
            raise LabelError(
                f"the label of frame {frame} must be (channel, y, x) on the features' grid {tuple(grid)}, with the "
                f"channels of the first, not of shape {tuple(item.label.shape)}"
            )


@dataclass(frozen=True, kw_only=True)
class RowTarget(ABC):
    """Things that are annotated by rows of numbers in some frames of a video, with one independent channel each.

    Attributes
    ----------
    rows
        By frame index: (thing, column), in pixels; a row that is not finite is not annotated in that frame.
    size
        (height, width) of the frames in pixels.

    Raises
    ------
    LabelError
        If there is no frame, an array has another shape, or the frames have different numbers of things.
    """

    noun: ClassVar[str]
    columns: ClassVar[int] = 2
    first_channel: ClassVar[int] = 0  # 1 after a background
    places: ClassVar[bool] = False  # whether the things are at one place, and do not cover cells

    rows: Mapping[int, npt.NDArray[np.float64]]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        shapes = {array.shape for array in self.rows.values()}
        if len(shapes) != 1 or any(len(shape) != 2 or shape[1] != self.columns for shape in shapes):
            raise LabelError(
                f"{self.noun}s must be annotated in at least one frame, as arrays of shape ({self.noun}, "
                f"{self.columns}) with the same {self.noun}s in every frame, not of shapes {sorted(shapes)}"
            )

    @abstractmethod
    def draw(self, rows: npt.NDArray[np.float64], grid: tuple[int, int]) -> torch.Tensor:
        """Return the label map of a frame's rows, (channel, y, x), float32."""

    def encode(self, grid: tuple[int, int]) -> dict[int, AnnotatedLabel]:
        """Return the label of each annotated frame on a grid (y, x), in the order of the frames."""
        labels = {}
        for frame, values in sorted(self.rows.items()):
            known = np.isfinite(values).all(1)
            channels = None if known.all() else tuple((np.flatnonzero(known) + self.first_channel).tolist())
            labels[frame] = AnnotatedLabel(label=self.draw(values, grid), channels=channels, exclusive=False)
        return labels


def with_annotations(
    found: npt.NDArray[np.float64], annotated: npt.NDArray[np.float64] | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Replace decoded rows of a frame, (thing, column), by annotated ones that are finite.

    Also return which rows are annotated, (thing,), bool. None means that the frame is not annotated.
    """
    if annotated is None:
        return found, np.zeros(len(found), dtype=bool)
    known = np.asarray(np.isfinite(annotated).all(1))
    return np.where(known[:, None], annotated, found), known
