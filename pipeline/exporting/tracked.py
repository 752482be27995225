"""Results of masks and boxes, read back object by object."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...store import safe_name
from ...store.errors import ConfigError, LabelError
from ..datasets.listing import list_masks
from ..datasets.masks_io import read_mask
from ..datasets.sources import Source, open_sources
from ..datasets.table_video import frame_numbers, mask_boxes
from ..datasets.video import Video
from ..runs.result_folders import RECORD, result_folder
from ..tasks.boxes.results import BoxResult
from ..tasks.drawing import check_selected
from ..tasks.masks.task import CONFIDENCE


@dataclass(frozen=True, kw_only=True)
class TrackedObject:
    """An object in a frame.

    Attributes
    ----------
    number
        Its number, from 1.
    box
        x, y, width and height in pixels; pixel i covers [i, i + 1).
    mask
        (height, width), bool; None in results of boxes.
    confidence
        In [0, 1]; None if it is not known.
    """

    number: int
    box: tuple[float, float, float, float]
    mask: npt.NDArray[np.bool_] | None = None
    confidence: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrackedFrame:
    """A frame with a result.

    Attributes
    ----------
    name
        Its name.
    number
        Its number in the video, from 1.
    ids
        (height, width), uint8, object numbers; None in results of boxes.
    objects
        The objects that it shows, by rising numbers.
    """

    name: str
    number: int
    ids: npt.NDArray[np.uint8] | None
    objects: tuple[TrackedObject, ...]


class TrackedVideo:
    """A video's result of masks or boxes.

    Parameters
    ----------
    folder
        Folder of the result.
    video
        The video with its frames; None if they are not needed.
    objects
        Numbers of the objects to take; by default all.

    Attributes
    ----------
    name
        Name of the video, fit for files.
    size
        (height, width) of the frames; None for boxes without a video.

    Raises
    ------
    ConfigError
        For results that are neither masks nor boxes.
    LabelError
        For results that cannot be read, or have other frames than the video.
    """

    def __init__(self, folder: Path, video: Video | None = None, objects: Sequence[int] = ()) -> None:
        self.name, self.video, self._folder, self._chosen = folder.name, video, folder, frozenset(objects)
        self._boxes = BoxResult.read(folder) if BoxResult.exists(folder) else None
        self._masks = {} if self._boxes else list_masks(folder)
        names = self._boxes.frames if self._boxes else tuple(self._masks)
        if not names:
            raise ConfigError(f"{folder} has neither masks nor boxes: points and joints are in its CSV and NPZ files")
        if video is not None:
            check_selected(video, folder, names)
            number_of = dict(zip(video.frames.names, frame_numbers(video), strict=True))
            names = tuple(sorted(names, key=number_of.__getitem__))
        elif self._boxes:
            number_of = dict(zip(names, self._boxes.numbers.tolist(), strict=True))
        else:
            number_of = {name: number for number, name in enumerate(names, 1)}
        self._number_of = {name: number_of[name] for name in names}
        first = next(iter(self._masks.values()), None)
        height_width = video.frames.size if video is not None else read_mask(first).shape if first else None
        self.size = None if height_width is None else (int(height_width[0]), int(height_width[1]))
        self._confidence = _read_confidence(folder / CONFIDENCE)

    def __len__(self) -> int:
        return len(self._number_of)

    def frames(self) -> Iterator[TrackedFrame]:
        """Read the frames one by one, in order."""
        for index, (name, number) in enumerate(self._number_of.items()):
            if self._boxes is None:
                ids = read_mask(self._masks[name], self.size)
                if self._chosen:
                    ids[~np.isin(ids, list(self._chosen))] = 0
                yield TrackedFrame(name=name, number=number, ids=ids, objects=tuple(self._of_mask(name, ids)))
            else:
                yield TrackedFrame(
                    name=name, number=number, ids=None, objects=tuple(self._of_boxes(self._boxes, index))
                )

    def pixels(self, frame: str) -> npt.NDArray[np.uint8]:
        """Read a frame of the video, (height, width, 3), RGB; raises ConfigError without a video."""
        if self.video is None:
            raise ConfigError(
                f"the frames of {self.name} are needed here: name the video, its folder of frames, or its dataset with "
                "--source"
            )
        return self.video.frames.read(self.video.frames.names.index(frame))

    def needed_size(self) -> tuple[int, int]:
        """Return `size`; raises ConfigError if it is not known."""
        if self.size is None:
            raise ConfigError(
                f"results of boxes do not have the size of frames: name the video of {self.name} with --source"
            )
        return self.size

    def _of_mask(self, frame: str, ids: npt.NDArray[np.uint8]) -> Iterator[TrackedObject]:
        numbers = np.flatnonzero(np.bincount(ids.ravel()))
        numbers = numbers[numbers > 0]
        for number, box in zip(numbers.tolist(), mask_boxes(ids, tuple(numbers.tolist())).tolist(), strict=True):
            confidence = self._confidence.get((frame, number))
            yield TrackedObject(number=number, box=tuple(box), mask=ids == number, confidence=confidence)

    def _of_boxes(self, result: BoxResult, index: int) -> Iterator[TrackedObject]:
        for row in np.flatnonzero(np.isfinite(result.boxes[:, index]).all(1)).tolist():
            number, confidence = int(result.ids[row]), result.confidence_of(row, index)
            if not self._chosen or number in self._chosen:
                yield TrackedObject(
                    number=number,
                    box=tuple(result.boxes[row, index].tolist()),
                    confidence=None if np.isnan(confidence) else confidence,
                )


def open_tracked(results: Path, video: Path | None = None, objects: Sequence[int] = ()) -> list[TrackedVideo]:
    """Open the results of one or several videos.

    Parameters
    ----------
    results
        Folder of results, or of one video's result; or another folder of masks, named like the frames.
    video
        Source of the frames: a video file, a folder of frames, or the root of a dataset.
    objects
        Numbers of the objects to take; by default all.

    Raises
    ------
    ConfigError
        For a folder without results, a video without a result, or two results of the same name.
    LabelError
        For results that cannot be read, or have other frames than the video.
    """
    if not results.is_dir():
        raise ConfigError(f"there are no results at {results}; `ted propagate` makes them")
    single = (results / RECORD).is_file() or (not any(results.glob(f"*/{RECORD}")) and bool(list_masks(results)))
    if video is not None:
        found = open_sources([Source(path=video)])
        if single:
            named = [item for item in found if safe_name(item.name) == results.name] or found[:1]
            pairs = [(results, named[0])]
        else:
            pairs = [(folder, item) for item in found if (folder := result_folder(results, item)).is_dir()]
        if not pairs:
            raise ConfigError(f"{results} has no result of a video of {video}")
        return [TrackedVideo(folder, item, objects) for folder, item in pairs]
    folders = (
        [results]
        if single
        else sorted(path.parent for depth in ("*", "*/*") for path in results.glob(f"{depth}/{RECORD}"))
    )
    folders = [folder for folder in folders if not folder.name.startswith(".")]
    if not folders:
        raise ConfigError(f"{results} holds no results of `ted propagate`, and no masks")
    last = {folder.name: folder for folder in folders}
    twice = next((folder for folder in folders if folder != last[folder.name]), None)
    if twice is not None:
        raise ConfigError(
            f"{twice} and {last[twice.name]} would be written to the same files: export {twice.parent} and "
            f"{last[twice.name].parent} one at a time"
        )
    return [TrackedVideo(folder, None, objects) for folder in folders]


def _read_confidence(path: Path) -> dict[tuple[str, int], float]:
    """Return confidences by frame and object; none where there is no table."""
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {(row["frame"], int(row["object"])): float(row["confidence"]) for row in csv.DictReader(file)}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise LabelError(f"cannot read {path}: {error}") from error
