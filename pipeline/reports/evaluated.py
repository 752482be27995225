"""The tables that ``ted evaluate`` writes into a folder of results, as scores by what was measured."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from statistics import fmean

from ...store.errors import ConfigError
from ..tasks.csv_tables import Table, read_table
from ..tasks.metric_specs import BOXES, JOINTS, MASKS, PARTS, POINTS, MetricSpec

__all__ = ["Evaluation", "as_number", "has_tables", "read_evaluations"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What one run of ``ted evaluate`` measured.

    Attributes
    ----------
    metric_spec
        What was measured.
    name
        Of the set of videos; of points, how they were queried; empty where the tables do not say.
    means
        Texts of the table by official name, in the units of sweeps; empty text for what is not a number.
    objects
        By name of the object, ``camel_1``: texts by ``J-Mean`` and ``F-Mean``; of masks alone.
    by_video
        What each video by itself is ranked by: of masks and boxes the mean over its objects; None for what is not a
        number.
    tables
        The tables themselves.
    """

    metric_spec: MetricSpec
    name: str
    means: Mapping[str, str]
    by_video: Mapping[str, float | None]
    objects: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    tables: tuple[Table, ...]


def has_tables(folder: Path) -> bool:
    """Whether a folder holds tables of an evaluation."""
    return any(True for first, _, _ in _TABLES for _ in folder.glob(f"{first}.csv"))


def read_evaluations(folder: Path) -> tuple[Evaluation, ...]:
    """Read all tables of a folder.

    Raises
    ------
    ConfigError
        For tables that cannot be read, or hold something else.
    """
    found = []
    for first, second, read in _TABLES:
        for path in sorted(folder.glob(f"{first}.csv")):
            name = path.stem.removeprefix(first.removesuffix("*")) if first.endswith("*") else ""
            other = None if second is None else path.with_name(f"{second.replace('*', name)}.csv")
            found.append(read(name, path, other if other is not None and other.is_file() else None))
    return tuple(found)


def as_number(text: str) -> float | None:
    """Return the number that a cell holds; None for another text, or what is not finite."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _masks(name: str, path: Path, other: Path | None) -> Evaluation:
    overall = read_table(path)
    if len(overall.rows) != 1:
        raise ConfigError(f"table {path} has {len(overall.rows)} rows, and not the one of `ted evaluate`")
    objects = None if other is None else read_table(other, ["Sequence", "J-Mean", "F-Mean"])
    texts = {} if objects is None else {row["Sequence"]: row for row in objects.records}
    scores = {thing: [as_number(row[column]) for column in ("J-Mean", "F-Mean")] for thing, row in texts.items()}
    return Evaluation(
        metric_spec=MASKS,
        name=name,
        means=overall.records[0],
        objects=texts,
        by_video=_video_means({thing: _mean(values) for thing, values in scores.items()}),
        tables=(overall,) if objects is None else (overall, objects),
    )


def _parts(name: str, path: Path, other: Path | None) -> Evaluation:
    classes = read_table(path, ["Class", "IoU"])
    videos = None if other is None else read_table(other, ["Video", "mIoU"])
    total = _named(path, classes, "mean")
    return Evaluation(
        metric_spec=PARTS,
        name=name,
        means={"mIoU": total["IoU"]},
        by_video={} if videos is None else {row["Video"]: as_number(row["mIoU"]) for row in videos.records},
        tables=(classes,) if videos is None else (classes, videos),
    )


def _joints(name: str, path: Path, other: Path | None) -> Evaluation:
    titles = [measure.title for measure in JOINTS.measures if measure.column != "found"]
    videos = read_table(path, ["Video", *titles, "Found"])
    total = _named(path, videos, "all")
    ranked = JOINTS.official[JOINTS.order[0]]
    return Evaluation(
        metric_spec=JOINTS,
        name=name,
        means={title: total[title] for title in titles} | {JOINTS.official["found"]: total["Found"]},
        by_video={row["Video"]: as_number(row[ranked]) for row in videos.records[:-1]},
        tables=(videos,) if other is None else (videos, read_table(other)),
    )


def _points(name: str, path: Path, _other: Path | None) -> Evaluation:
    """Read TAP-Vid's measures: they are in percent there, and shares in sweeps."""
    videos = read_table(path, ["Video", *POINTS.columns])
    total = _named(path, videos, "mean")
    ranked = POINTS.order[0]
    return Evaluation(
        metric_spec=POINTS,
        name=name,
        means={title: _share(total[column]) for column, title in POINTS.official.items()},
        by_video={row["Video"]: as_number(_share(row[ranked])) for row in videos.records[:-1]},
        tables=(videos,),
    )


def _boxes(name: str, path: Path, _other: Path | None) -> Evaluation:
    objects = read_table(path, ["Object", *BOXES.official.values()])
    total = _named(path, objects, "mean")
    ranked = BOXES.official[BOXES.order[0]]
    return Evaluation(
        metric_spec=BOXES,
        name=name,
        means={title: total[title] for title in BOXES.official.values()},
        by_video=_video_means({row["Object"]: as_number(row[ranked]) for row in objects.records[:-1]}, skip=True),
        tables=(objects,),
    )


def _named(path: Path, table: Table, name: str) -> dict[str, str]:
    """Return the last row, which has a name."""
    if not table.rows or table.rows[-1][0] != name:
        raise ConfigError(f"table {path} does not end with the row {name!r} of `ted evaluate`")
    return table.records[-1]


def _share(text: str) -> str:
    """Return percent as a share, digit by digit."""
    return "" if as_number(text) is None else format(Decimal(text).scaleb(-2), "f")


def _video_means(objects: Mapping[str, float | None], *, skip: bool = False) -> dict[str, float | None]:
    """Return the mean over the objects, ``video_number``, of each video; with one that has no value, None.

    Or, to `skip` them, over those that have a value.
    """
    found: dict[str, list[float | None]] = defaultdict(list)
    for name, value in objects.items():
        found[name.rpartition("_")[0] or name].append(value)
    return {
        video: _mean([value for value in values if value is not None] if skip else values)
        for video, values in found.items()
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


#: Of each measure: the table with the means (``*`` is the name of the set, or how points were queried), a second one,
#: and what reads them.
_TABLES = (
    ("global_results-*", "per-sequence_results-*", _masks),
    ("parts_results-*", "per-video_results-*", _parts),
    ("pck_per-video", "pck_per-joint", _joints),
    ("tapvid_*", None, _points),
    ("boxes_results-*", None, _boxes),
)
