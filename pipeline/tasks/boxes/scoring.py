"""Scoring the boxes of a video against true boxes, or against those around true masks."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ....store.errors import ConfigError, LabelError
from ...datasets.masks_io import VOID, read_mask
from ...datasets.place_video import PlaceVideo, mask_boxes
from ...datasets.video import Video
from ...metrics.boxes import BoxScore
from ..archives import check_frames
from .results import BoxResult, has_boxes

__all__ = ["result_boxes", "score_box_result", "score_box_video", "true_boxes"]

_Array = npt.NDArray[np.float64]


def score_box_video(video: Video, folder: Path) -> dict[int, BoxScore]:
    """Score each object's box in the frames that it is followed to.

    Boxes are followed to all frames; masks to those after the one in which the object is first given, and to those
    before it if nothing is given earlier. The frames in which it is given, and those without truth, do not count.

    Parameters
    ----------
    video
        The video: its table of boxes is the truth, or the boxes around its annotated masks are.
    folder
        Of its results: boxes, or else masks, around which there are boxes.

    Returns
    -------
    dict
        By the object's number.

    Raises
    ------
    ConfigError
        When there is no truth.
    LabelError
        When the result or the truth cannot be read, they are of other frames, or an object has no true box.
    """
    result = result_boxes(video, folder)
    ids = tuple(result.ids.tolist())
    truth = true_boxes(video, ids)
    first = 0 if has_boxes(folder) else int(result.given.any(0).argmax())
    followed = ~result.given
    for place, number in enumerate(ids):
        if np.isnan(truth[place]).all():
            raise LabelError(
                f"object {number} of {folder} has no true box in video {video.name!r}: are the ids the same?"
            )
        begins = 0 if has_boxes(folder) else int(result.given[place].argmax())
        followed[place, : 0 if begins == first else begins] = False
    return score_box_result(result, truth, followed)


def score_box_result(result: BoxResult, truth: _Array, followed: npt.NDArray[np.bool_]) -> dict[int, BoxScore]:
    """Score each object's box by its number.

    Parameters
    ----------
    result
        The boxes.
    truth
        (object, frame, 4), true boxes of the same objects; NaN where there is none.
    followed
        (object, frame): the frames in which each object is scored, if it has a true box there.
    """
    return {
        int(number): BoxScore(truth=true[frames], predicted=found[frames])
        for number, true, found, frames in zip(result.ids, truth, result.boxes, followed, strict=True)
    }


def true_boxes(video: Video, ids: tuple[int, ...]) -> _Array:
    """Return the true boxes of some objects: (object, frame, 4); NaN where there is none.

    Raises
    ------
    ConfigError
        When the video has no truth.
    LabelError
        When it cannot be read.
    """
    boxes = np.full((len(ids), len(video.frames), 4), np.nan)
    if isinstance(video, PlaceVideo):
        given = video.read_places()
        place_of = {number: place for place, number in enumerate(given.ids)}
        places = [(at, place_of[number]) for at, number in enumerate(ids) if number in place_of]
        for frame, rows in given.rows.items():
            for at, place in places:
                boxes[at, frame] = rows[place]
        return boxes
    masks = video.annotations()
    if len(masks) < 2:
        raise ConfigError(
            f"there are no true boxes of video {video.name!r}: give them with --annotations, or the root of a dataset "
            "whose frames have masks"
        )
    for frame, name in enumerate(video.frames.names):
        if name in masks:
            boxes[:, frame] = mask_boxes(_without_void(read_mask(masks[name], video.frames.size)), ids)
    return boxes


def result_boxes(video: Video, folder: Path) -> BoxResult:
    """Read the boxes of a result, or those around its masks.

    Raises
    ------
    LabelError
        When there are neither, or they are of other frames than the video has as it is selected.
    """
    names = video.frames.names
    if has_boxes(folder):
        result = BoxResult.read(folder)
        check_frames(folder, result.frames, names)
        return result
    masks = video.read_given_masks()
    ids = tuple(sorted({int(number) for mask in masks.values() for number in np.unique(mask) if number}))
    written = set(video.written_frames())
    boxes, given = np.full((len(ids), len(names), 4), np.nan), np.zeros((len(ids), len(names)), dtype=bool)
    for frame, name in enumerate(names):
        if name in written:
            boxes[:, frame] = mask_boxes(read_mask(folder / f"{name}.png", video.frames.size), ids)
        if frame in masks:
            given[:, frame] = [bool((masks[frame] == number).any()) for number in ids]
    return BoxResult(
        frames=names,
        numbers=np.arange(1, len(names) + 1),
        ids=np.array(ids),
        boxes=boxes,
        mass=np.isfinite(boxes).all(2).astype(np.float64),
        given=given,
    )


def _without_void(ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    ids[ids == VOID] = 0
    return ids
