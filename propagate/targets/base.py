"""Targets: what is followed through a video. Propagation itself knows only soft label maps.

A target stands between what a dataset gives (masks, joints, points) and the maps that are propagated: it encodes what
is given in some frames on the feature grid, and decodes the map of any frame.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from ...store.errors import LabelError

__all__ = [
    "AnnotatedLabel",
    "Target",
    "annotation_labels",
    "check_annotations",
    "check_rows",
    "label_rows",
    "with_annotations",
]

Value_co = TypeVar("Value_co", covariant=True)


@dataclass(frozen=True, kw_only=True)
class AnnotatedLabel:
    """The soft label that an annotation gives a frame.

    Attributes
    ----------
    label
        (channel, y, x), float32, in [0, 1], on the feature grid, with the channels of the whole video.
    channels
        The channels that are known in this frame; None for all. Those of objects that are not annotated here are not:
        they keep what propagation predicts.
    exclusive
        Whether channels share each cell, the background first, and sum to 1, as masks do; if not, each stands alone.
    """

    label: torch.Tensor
    channels: tuple[int, ...] | None = None
    exclusive: bool = True

    def over(self, predicted: torch.Tensor) -> torch.Tensor:
        """Put the label over what propagation predicts for its frame.

        Exclusive channels take a cell to the extent that they are given there; the rest of it goes to the others, in
        the proportion predicted, given that it is none of these: to the background where nothing else was predicted.

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
    """Something that is given in some frames of a video, and followed through all of them."""

    def encode(self, grid: tuple[int, int]) -> Mapping[int, AnnotatedLabel]:
        """Return the label of each annotated frame, by its index, on a feature grid (y, x).

        All have the same channels. An object has a channel from the first frame on; it is zero where the object has
        not joined yet.
        """

    def decode(self, frame: int, label: torch.Tensor, frame_size: tuple[int, int]) -> Value_co:
        """Read the target's value in a frame, in the coordinates of the original frame, off its soft label.

        Parameters
        ----------
        frame
            Index of the frame. Where it is annotated, what is given comes back as it was given.
        label
            (channel, y, x), float32, on the feature grid.
        frame_size
            (height, width) of the frames that the features were computed from, which the grid covers.
        """


def annotation_labels(
    given: torch.Tensor | Mapping[int, AnnotatedLabel], device: torch.device | str | None = None
) -> dict[int, AnnotatedLabel]:
    """Return given labels by frame, rising, float32; a label by itself is that of frame 0, and gives all channels."""
    labels = {0: AnnotatedLabel(label=given)} if isinstance(given, torch.Tensor) else given
    return {
        frame: replace(labels[frame], label=labels[frame].label.to(device, torch.float32)) for frame in sorted(labels)
    }


def check_annotations(given: Mapping[int, AnnotatedLabel], grid: Sequence[int], frame_count: int) -> None:
    """Check the labels of a video's annotated frames.

    Raises
    ------
    LabelError
        When there is none, one is not (channel, y, x) on the grid or of other channels than the first, or of a frame
        that does not exist.
    """
    if not given:
        raise LabelError("nothing is annotated: there is nothing to propagate")
    channels = next(iter(given.values())).label.shape[:1]
    for frame, item in sorted(given.items()):
        if not 0 <= frame < frame_count:
            raise LabelError(f"frame {frame} is annotated, but the video has {frame_count} frames")
        if item.label.shape != (*channels, *grid):
            raise LabelError(
                f"the label of frame {frame} must be (channel, y, x) on the features' grid {tuple(grid)}, with the "
                f"channels of the first, not of shape {tuple(item.label.shape)}"
            )


def check_rows(rows: Mapping[int, npt.NDArray[np.floating]], columns: int, what: str) -> None:
    """Check numbers that are given by frame, a row for each thing that is followed.

    Parameters
    ----------
    rows
        By index of the frame.
    columns
        Numbers that a row must have.
    what
        Name of such a thing, as in "point".

    Raises
    ------
    LabelError
        Unless there is at least one frame, and all arrays are (thing, column), with as many things.
    """
    shapes = {array.shape for array in rows.values()}
    if len(shapes) != 1 or any(len(shape) != 2 or shape[1] != columns for shape in shapes):
        raise LabelError(
            f"{what}s must be given in at least one frame, as arrays of shape ({what}, {columns}) with the same "
            f"{what}s in every frame, not of the shapes {sorted(shapes)}"
        )


def label_rows(
    rows: Mapping[int, npt.NDArray[np.float64]],
    draw: Callable[[npt.NDArray[np.float64]], torch.Tensor],
    *,
    first_channel: int = 0,
) -> dict[int, AnnotatedLabel]:
    """Make the labels of things that have a channel each, which stands alone, and a row of numbers in some frames.

    Parameters
    ----------
    rows
        By index of the frame: (thing, column); a row that is not finite is not given there.
    draw
        Draws the label map of a frame's rows: (channel, y, x).
    first_channel
        Channel of the first thing: 1 after a background.

    Returns
    -------
    dict
        By index of the frame, rising.
    """
    given = {}
    for frame, values in sorted(rows.items()):
        known = np.isfinite(values).all(1)
        channels = None if known.all() else tuple((np.flatnonzero(known) + first_channel).tolist())
        given[frame] = AnnotatedLabel(label=draw(values), channels=channels, exclusive=False)
    return given


def with_annotations(
    found: npt.NDArray[np.float64], given: npt.NDArray[np.float64] | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Put what is given in a frame over what was found there.

    Parameters
    ----------
    found
        (thing, column).
    given
        The same; a row that is not finite is not given. None where nothing is.

    Returns
    -------
    rows : numpy.ndarray
        (thing, column): as given, else as found.
    known : numpy.ndarray
        (thing,), bool: which are given.
    """
    if given is None:
        return found, np.zeros(len(found), dtype=bool)
    known = np.asarray(np.isfinite(given).all(1))
    return np.where(known[:, None], given, found), known
