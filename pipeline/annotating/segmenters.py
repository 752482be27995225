"""From a box or clicks to an object's mask: GrabCut, which needs no weights, or a model of the SAM family."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...store.errors import WeightsError

_Picture = npt.NDArray[np.uint8]
_Mask = npt.NDArray[np.bool_]

# GrabCut works on at most this many pixels along the longer side, which takes about a second.
_LONGEST = 480
_ROUNDS = 3
# Parts smaller than this share of an object's largest part are left out.
_SMALLEST_PART = 0.1


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What a user shows of an object.

    Attributes
    ----------
    box
        x, y, width and height in pixels, inside of the frame; None without a box.
    points
        x, y, and whether the pixel belongs to the object.
    """

    box: tuple[int, int, int, int] | None = None
    points: tuple[tuple[int, int, bool], ...] = ()


#: Returns an object's mask, (height, width), bool, from a frame (height, width, 3), RGB, and a prompt.
Segmenter = Callable[[_Picture, Prompt], _Mask]


def fill_box(picture: _Picture, prompt: Prompt) -> _Mask:
    """Return the pixels of the prompt's box, or none without a box."""
    mask = np.zeros(picture.shape[:2], np.bool_)
    if prompt.box is not None:
        x, y, width, height = prompt.box
        mask[y : y + height, x : x + width] = True
    return mask


def grab_cut(picture: _Picture, prompt: Prompt) -> _Mask:
    """Separate an object from its surroundings by their colours (GrabCut; Rother et al., 2004).

    Pixels outside of a box are background, and clicked ones are as the user says. Where colours separate nothing, the
    mask is the box.

    Parameters
    ----------
    picture
        (height, width, 3), uint8, RGB.
    prompt
        A box, points, or both.

    Returns
    -------
    numpy.ndarray
        (height, width), bool.
    """
    height, width = picture.shape[:2]
    left, top, right, bottom = _surroundings(prompt, width, height)
    scale = min(1.0, _LONGEST / max(right - left, bottom - top))
    small = cv2.resize(picture[top:bottom, left:right], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    state = np.full(small.shape[:2], cv2.GC_PR_BGD if prompt.box is None else cv2.GC_BGD, np.uint8)
    if prompt.box is not None:
        x, y, wide, high = prompt.box
        rows, columns = (
            slice(int((low - start) * scale), max(1, round((low - start + extent) * scale)))
            for low, start, extent in ((y, top, high), (x, left, wide))
        )
        state[rows, columns] = cv2.GC_PR_FGD
    dot = max(2, round(max(small.shape) / 60))
    at = [(int((x - left) * scale), int((y - top) * scale), inside) for x, y, inside in prompt.points]
    if prompt.box is None:
        for x, y, inside in at:
            if inside:
                cv2.circle(state, (x, y), 6 * dot, cv2.GC_PR_FGD, -1)
    for x, y, inside in at:
        cv2.circle(state, (x, y), dot, cv2.GC_FGD if inside else cv2.GC_BGD, -1)
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    try:
        cv2.grabCut(
            np.ascontiguousarray(small[..., ::-1]), state, (0, 0, 1, 1), *models, _ROUNDS, cv2.GC_INIT_WITH_MASK
        )
    except cv2.error:  # without a pixel of either kind, as for a box of the whole frame
        return fill_box(picture, prompt)
    found = _large_parts(np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)))
    if not found.any():
        return fill_box(picture, prompt)
    mask = np.zeros((height, width), np.bool_)
    shares = cv2.resize(found.astype(np.float32), (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    mask[top:bottom, left:right] = shares >= 0.5
    return mask if prompt.box is None else mask & fill_box(picture, prompt)


def _surroundings(prompt: Prompt, width: int, height: int) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of five times the box; the whole frame without a box."""
    if prompt.box is None:
        return 0, 0, width, height
    x, y, wide, high = prompt.box
    across, down = max(2 * wide, 8), max(2 * high, 8)
    return max(0, x - across), max(0, y - down), min(width, x + wide + across), min(height, y + high + down)


def _large_parts(mask: _Mask) -> _Mask:
    """Return the largest connected part of a mask, and others that are not much smaller."""
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    areas = statistics[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0  # the background
    return np.asarray((areas >= max(1, _SMALLEST_PART * areas.max()))[parts])


def load_sam(folder: Path, device: Any = "cpu") -> Segmenter:
    """Load a model of the SAM family (SAM, SAM-HQ, SAM 2, EdgeTAM) from a folder in the layout of transformers.

    Parameters
    ----------
    folder
        Folder with ``config.json``, the weights and the processor's settings. Nothing is downloaded.
    device
        Device to compute on.

    Raises
    ------
    WeightsError
        If the folder has no such model, or lacks a part of it.
    """
    import torch

    from ...extract.backbones import load_backbone
    from ...extract.backbones.sam import Sam

    try:
        sam = load_backbone("sam", folder, device=torch.device(device), dtype=torch.float32)
    except WeightsError as error:  # its hint names another option
        raise WeightsError(f"{folder} holds no model of the SAM family: {error}") from error
    assert isinstance(sam, Sam)

    def segment(picture: _Picture, prompt: Prompt) -> _Mask:
        x, y, width, height = prompt.box or (0, 0, 0, 0)
        box = None if prompt.box is None else (x, y, x + width, y + height)
        size = picture.shape[0], picture.shape[1]
        (logits,) = sam.masks(sam.embed(picture), size, box=box, points=prompt.points, several=False)
        return np.asarray((logits > 0).cpu().numpy())

    return segment
