"""Pictures of masks over frames: several results side by side with the ground truth."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...propagate.targets.object_ids import object_mask
from ...store.errors import ConfigError, LabelError
from ..datasets.masks_io import VOID, read_mask
from ..datasets.video import Video
from ..runs.propagating.propagation import result_folder
from .columns import Column, PictureOutput, write_columns
from .overlay import overlay_mask

__all__ = ["ReadMask", "mask_column", "parse_results", "result_masks", "true_masks", "write_masks"]

#: Reads the mask of a frame by its index: (height, width), uint8; None where there is none.
ReadMask = Callable[[int], npt.NDArray[np.uint8] | None]


def parse_results(texts: Sequence[str]) -> dict[str, Path]:
    """Read ``[TITLE=]FOLDER``: folders of results by title, which is the folder's name where none is given.

    Raises
    ------
    ConfigError
        For a folder that does not exist, or two of the same title.
    """
    found: dict[str, Path] = {}
    for text in texts:
        title, equals, path = text.partition("=")
        named = bool(equals) and not Path(text).is_dir()
        folder = Path(path if named else text)
        title = title.strip() if named else folder.resolve().name
        if not folder.is_dir():
            raise ConfigError(f"there are no results at {folder}; `ted propagate` makes them, or name others")
        if title in found:
            raise ConfigError(f"two results are titled {title!r}: name them as TITLE={folder}")
        found[title] = folder
    return found


def write_masks(video: Video, results: Mapping[str, Path], output: PictureOutput, *, truth: bool = True) -> list[Path]:
    """Draw the masks of several results over the frames, side by side.

    Parameters
    ----------
    video
        The frames.
    results
        Folders of results, as `ted propagate --out` makes them, by the titles of their columns.
    output
        Files to write, and frames to show.
    truth
        Show the ground truth in the first column, where the video has any beside the first frame's mask.

    Returns
    -------
    list of Path
        The pictures.

    Raises
    ------
    ConfigError
        When there is nothing to show.
    LabelError
        When a result has no masks of this video, or one cannot be read.
    """
    readers = {title: result_masks(video, folder) for title, folder in results.items()}
    if truth and len(video.annotations()) > 1:
        readers = {"ground truth": true_masks(video), **readers}
    if not readers:
        raise ConfigError(f"there are no masks of video {video.name!r} to show: name results with --results")
    masks = [read(frame) for frame in output.frames for read in readers.values()]
    seen = {int(number) for ids in masks if ids is not None for number in np.unique(ids)}
    return write_columns(
        [mask_column(title, video, read) for title, read in readers.items()],
        video.frames.names,
        output,
        title=f"{video.name}: masks",
        legend={number: f"object {number}" for number in sorted(seen - {0, VOID})},
    )


def mask_column(title: str, video: Video, read: ReadMask) -> Column:
    """Return the column that shows frames with their masks; those without a mask are left plain."""

    def draw(frames: Sequence[int]) -> Iterator[npt.NDArray[np.uint8]]:
        for frame in frames:
            picture, ids = video.frames.read(frame), read(frame)
            yield picture if ids is None else overlay_mask(picture, ids)

    return Column(title=title, draw=draw)


def result_masks(video: Video, results: Path) -> ReadMask:
    """Return what reads the masks of a result, which may leave frames out.

    Raises
    ------
    LabelError
        When it has none of this video.
    """
    folder = result_folder(results, video)
    if not any((folder / f"{name}.png").is_file() for name in video.frames.names):
        raise LabelError(
            f"there are no masks of video {video.name!r} in {results}: `ted propagate` makes them, with --out {results}"
        )

    def read(frame: int) -> npt.NDArray[np.uint8] | None:
        path = folder / f"{video.frames.names[frame]}.png"
        return read_mask(path, video.frames.size) if path.is_file() else None

    return read


def true_masks(video: Video) -> ReadMask:
    """Return what reads the annotations of a video. What is void counts as background, as in evaluation."""
    known = video.annotations()
    first = next(iter(known), None)

    def read(frame: int) -> npt.NDArray[np.uint8] | None:
        name = video.frames.names[frame]
        if name not in known:
            return None
        ids = read_mask(known[name], video.frames.size)
        if name == first and ids.any():  # what propagation is given: it may be a binary mask
            return object_mask(ids)
        ids[ids == VOID] = 0
        return ids

    return read
