"""Results stored twice: as an archive of arrays (``.npz``) for this project, and as a text table for other tools."""

import csv
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from ...store.errors import LabelError
from ..choices.hints import plural
from .running import TaskRun


@dataclass(frozen=True, kw_only=True)
class ArchiveResult(ABC):
    """A result of a video: an archive with an array for each field of the subclass, and a text table.

    `confidence` is (thing, frame), in [0, 1]; see `ted.pipeline.metrics.confidence`. It is NaN where it is not known,
    and None in results of earlier versions. `texts` names the fields that are tuples of texts. A table without a
    `header` has no header line.
    """

    frames: tuple[str, ...]
    confidence: npt.NDArray[np.float64] | None = None

    archive: ClassVar[str]
    table: ClassVar[str]
    header: ClassVar[Sequence[str]] = ()
    texts: ClassVar[tuple[str, ...]] = ("frames",)

    @classmethod
    def exists(cls, folder: Path) -> bool:
        """Return whether a video's folder of results holds the archive."""
        return (folder / cls.archive).is_file()

    @abstractmethod
    def rows(self) -> Iterable[Sequence[Any]]:
        """Return the rows of the table."""

    def write(self, folder: Path) -> None:
        """Write the archive and the table."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        np.savez(folder / self.archive, **{name: value for name, value in values.items() if value is not None})
        with (folder / self.table).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([self.header] if self.header else [])
            writer.writerows(self.rows())

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the archive; raises LabelError when it is absent or damaged."""
        path = folder / cls.archive
        arrays = read_archive(path, [field.name for field in fields(cls)])
        if arrays["frames"].ndim != 1:
            raise LabelError(f"{path} is damaged (frames have no names): run `ted propagate` again")
        result = cls(**{name: cls.from_array(name, array) for name, array in arrays.items()})
        for name, shape in result.shapes().items():
            value = getattr(result, name)
            if value is not None and (found := value.shape) != shape:
                raise LabelError(f"{path} is damaged (an array is {found}, not {shape}): run `ted propagate` again")
        return result

    def confidence_of(self, thing: int, frame: int) -> float:
        """Return a confidence by indices; NaN if it is not known."""
        return float("nan") if self.confidence is None else float(self.confidence[thing, frame])

    @classmethod
    def from_array(cls, name: str, array: npt.NDArray[Any]) -> Any:
        """Return the value of a field from its array in the archive."""
        return tuple(map(str, array)) if name in cls.texts else array

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes that arrays must have, by the name of their field."""
        return {}

    def check_frames(self, folder: Path, wanted: Sequence[str]) -> None:
        """Raise LabelError unless the result, read from `folder`, has the selected frames of the video."""
        if self.frames != tuple(wanted):
            raise LabelError(
                f"{folder} has {plural(len(self.frames), 'frame')}, other than the {len(wanted)} selected here: "
                "give the same --every and --limit as for `ted propagate`"
            )


def read_archive(path: Path, keys: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Read arrays of an archive, in which ``confidence`` may be absent; raises LabelError if it is damaged."""
    if not path.is_file():
        raise LabelError(f"there is no {path}; `ted propagate` makes it")
    try:
        # Opened here: numpy leaves files open where an archive is damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in keys if key != "confidence" or key in archive}
    except Exception as error:  # the type depends on where the file is damaged
        reason = str(error) or type(error).__name__
        raise LabelError(f"{path} is damaged ({reason}): run `ted propagate` again with --overwrite") from error


def format_share(value: float) -> str:
    """Return a mass or a confidence as tables show it; empty for NaN."""
    return "" if np.isnan(value) else f"{value:.4f}"


def format_coordinate(value: float) -> str:
    """Return a coordinate as tables show it; empty for NaN."""
    return "" if np.isnan(value) else f"{value:.3f}"


class ResultRun(TaskRun):
    """A run whose result is complete in memory before it is written."""

    result: ArchiveResult
    _confident = False

    def begin(self, folder: Path, grid: tuple[int, int], frame_size: tuple[int, int]) -> None:
        """Measure confidences from here on; sweeps, which need none, do not call this."""
        self._confident = True

    def rate(self, number: int, frame: int, things: Sequence[int], confidence: Callable[[], Any]) -> None:
        """Set the confidence of a target's things in a frame: 1 in annotated frames."""
        if self._confident and self.result.confidence is not None:
            annotated = frame in self.targets[number].frames
            self.result.confidence[things, frame] = 1.0 if annotated else confidence()

    def write(self, folder: Path) -> None:
        """Write the result; see `TaskRun`."""
        self.result.write(folder)
