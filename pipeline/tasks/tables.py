"""Tables of scores."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..runs.files import written_whole

__all__ = ["mean_values", "write_table"]


def mean_values(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean over videos of each measure; those that are not a number, for lack of points, are left out."""
    means = {}
    for name in scores[0]:
        values = [score[name] for score in scores if not math.isnan(score[name])]
        means[name] = sum(values) / len(values) if values else math.nan
    return means


def write_table(path: Path, header: Sequence[str], rows: Mapping[str, Sequence[float]]) -> Path:
    """Write a table of figures by name; a cell is left empty that is not a number. Return where it is."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for name, values in rows.items():
        writer.writerow([name, *("" if math.isnan(value) else f"{value:.4f}" for value in values)])
    with written_whole(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")
    return path
