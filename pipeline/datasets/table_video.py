"""Videos with a table of boxes or points in any frames."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...extract.frames import SelectedFrames
from ...store.errors import LabelError
from ..choices.hints import plural
from .annotation_tables import AnnotationTable, TableRow
from .video import Video

_log = logging.getLogger(__name__)

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TableAnnotations:
    """Annotated boxes or points by frame."""

    ids: tuple[int, ...]  # numbers of the objects, rising
    #: By index of the frame, rising: (object, 4), x, y, width and height, or (object, 2), x and y; in pixels, NaN where
    #: an object is not annotated.
    rows: dict[int, _Array]

    def groups(self) -> list[tuple[list[int], dict[int, _Array]]]:
        """Group the objects that are annotated in the same frames: their indices in `ids`, and their rows by frame."""
        known = np.stack([np.isfinite(rows).all(1) for rows in self.rows.values()])  # (frame, object)
        frames = list(self.rows)
        members: dict[tuple[int, ...], list[int]] = {}
        for place in range(len(self.ids)):
            members.setdefault(tuple(frames[at] for at in np.flatnonzero(known[:, place])), []).append(place)
        return [(places, {frame: self.rows[frame][places] for frame in given}) for given, places in members.items()]

    def digest(self) -> str:
        """Return a SHA-256 over ids, frames and rows."""
        digest = hashlib.sha256(np.array(self.ids).tobytes())
        for frame, rows in self.rows.items():
            digest.update(f"{frame} ".encode() + rows.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class TableVideo(Video):
    """A video with a table of boxes or points."""

    table: AnnotationTable  # the annotations. Propagation starts from them; in evaluation, they are the ground truth.
    first_rows: bool = False  # whether propagation starts from each object's first row alone: of a dataset

    def read_table(self) -> TableAnnotations:
        """Return the annotations of the selected frames; log a warning with the number of other rows.

        With `first_rows`, an object is annotated in the first of these frames that its box reaches into.

        Raises LabelError if a row has a frame that the video does not have, or coordinates outside the frame; if an
        object is annotated twice in a frame; if no row belongs to a selected frame.
        """
        rows, size = self._selected(), self.frames.size
        if self.first_rows:
            rows = [(index, row) for index, row in rows if self._inside(row, size)]
            rows = list({row.id: (index, row) for index, row in reversed(rows)}.values())
        else:
            if len(rows) < len(self.table.rows):
                _log.warning(
                    "%s: left out %s of %s whose frames are not selected",
                    self.name,
                    plural(len(self.table.rows) - len(rows), "row"),
                    self.table.path,
                )
            for _, row in rows:
                self._check_inside(row, size)
        return self._arranged(rows)

    def read_truth(self) -> TableAnnotations:
        """Return the true boxes or points of the selected frames; raises LabelError as `read_table`."""
        return self._arranged(self._selected()) if self.first_rows else self.read_table()

    def _selected(self) -> list[tuple[int, TableRow]]:
        """Return the rows of the selected frames, with the indices of these, rising."""
        index_of = self._frame_finder()
        rows = [(index, row) for row in self.table.rows if (index := index_of(row)) is not None]
        seen: dict[tuple[int, int], int] = {}
        for index, row in rows:
            before = seen.setdefault((index, row.id), row.line)
            if before != row.line:
                raise self.table.wrong(
                    row, f"annotates object {row.id} in frame {row.frame} twice; the first time is line {before}"
                )
        return sorted(rows, key=lambda item: item[0])

    def _arranged(self, rows: Sequence[tuple[int, TableRow]]) -> TableAnnotations:
        if not rows:
            raise LabelError(f"{self.table.path} has no row for a selected frame of video {self.name!r}")
        ids = tuple(sorted({row.id for _, row in rows}))
        place_of = {number: place for place, number in enumerate(ids)}
        shape = len(ids), len(rows[0][1].values)
        arrays = {index: np.full(shape, np.nan) for index in sorted({index for index, _ in rows})}
        for index, row in rows:
            arrays[index][place_of[row.id]] = row.values
        return TableAnnotations(ids=ids, rows=arrays)

    def read_annotated_masks(self) -> dict[int, npt.NDArray[np.uint8]]:
        """Raise LabelError: there are no masks."""
        raise LabelError(
            f"video {self.name!r} has annotated {self.table.kind}, which `ted propagate` tracks; masks are needed here "
            "(--mask, or --annotations FOLDER)"
        )

    def annotated_frames(self) -> tuple[int, ...]:
        """Return the indices of the selected frames with annotations, rising."""
        return tuple(self.read_table().rows)

    def _frame_finder(self) -> Callable[[TableRow], int | None]:
        """Return a function from a row to the index of its frame among the selected ones; None if not selected.

        With a limit, the end of a video file is not read: frames beyond it are not selected, whether they exist or not.
        """
        chosen = self.frames if isinstance(self.frames, SelectedFrames) else SelectedFrames(self.frames)
        frames, limited = chosen.source, chosen.limit is not None
        names, known = frames.names, set(frames.names)
        selected = {name: index for index, name in enumerate(self.frames.names)}

        def of_number(row: TableRow) -> int | None:
            number = int(row.frame)
            if number < 1 or (number > len(names) and not limited):
                raise self.table.wrong(row, f"has frame {number}: frames of boxes are numbered, here 1 to {len(names)}")
            return selected.get(names[number - 1]) if number <= len(names) else None

        def of_name(row: TableRow) -> int | None:
            if row.frame not in known and not limited:
                raise self.table.wrong(
                    row, f"has frame {row.frame[:60]!r}: frames of points have their names, here {names[0]} to "
                    f"{names[-1]}"
                )  # fmt: skip
            return selected.get(row.frame)

        return of_number if self.table.kind == "boxes" else of_name

    @staticmethod
    def _inside(row: TableRow, size: tuple[int, int]) -> bool:
        (height, width), (x, y, *extent) = size, row.values
        if extent:
            return x < width and y < height and x + extent[0] > 0 and y + extent[1] > 0
        return 0 <= x <= width and 0 <= y <= height

    def _check_inside(self, row: TableRow, size: tuple[int, int]) -> None:
        if not self._inside(row, size):
            what = "a point outside" if self.table.kind == "points" else "a box entirely outside"
            raise self.table.wrong(row, f"has {what} the frame, which is {size[1]}x{size[0]} pixels")


def frame_numbers(video: Video) -> tuple[int, ...]:
    """Return the numbers of the selected frames in the whole video, from 1, as in tables of boxes."""
    frames = video.frames
    return tuple(index + 1 for index in (frames.indices if isinstance(frames, SelectedFrames) else range(len(frames))))


def mask_boxes(ids: npt.NDArray[np.uint8], numbers: tuple[int, ...]) -> _Array:
    """Return the bounding box of each object: (object, 4), x, y, width, height in pixels; NaN for an absent one."""
    boxes = np.full((len(numbers), 4), np.nan)
    for box, number in zip(boxes, numbers, strict=True):
        rows, columns = ((ids == number).any(axis) for axis in (1, 0))
        if rows.any():
            (y, bottom), (x, right) = ((int(at[0]), int(at[-1]) + 1) for at in map(np.flatnonzero, (rows, columns)))
            box[:] = x, y, right - x, bottom - y
    return boxes
