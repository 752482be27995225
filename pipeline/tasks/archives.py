"""Results as archives of arrays (``.npz``) and text tables."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...store.errors import LabelError

__all__ = ["check_frames", "check_shape", "number", "read_archive", "write_table"]


def number(value: float) -> str:
    """Return a place as tables have it."""
    return f"{value:.3f}"


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table; without a header line if `header` is empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if header:
            writer.writerow(header)
        writer.writerows(rows)


def read_archive(path: Path, keys: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Read arrays of an archive; raises LabelError if it is absent or damaged."""
    if not path.is_file():
        raise LabelError(f"there is no {path}; `ted propagate` makes it")
    try:
        # Opened here: numpy leaves files open where an archive is damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in keys}
    except Exception as error:  # of many kinds, by where in the file the damage is
        reason = str(error) or type(error).__name__
        raise LabelError(f"{path} is damaged ({reason}): run `ted propagate` again with --overwrite") from error


def check_shape(path: Path, array: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    """Check an array of an archive; raises LabelError when it has another shape."""
    if array.shape != shape:
        raise LabelError(f"{path} is damaged (an array is {array.shape}, not {shape}): run `ted propagate` again")


def check_frames(folder: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    """Check that a result is of the frames of a video as it is selected; raises LabelError for others."""
    if tuple(found) != tuple(wanted):
        raise LabelError(
            f"{folder} is of {len(found)} frames, the video as selected here has {len(wanted)}, or others: give "
            "--every and --limit as in `ted propagate`"
        )
