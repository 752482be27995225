"""The page: the contents of all folders, arranged for the template."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined

from ...store import open_cache
from ...store.errors import CacheError, ConfigError, TedError
from ..choices.hints import explain
from ..datasets.video import Video
from ..tasks.registry import metric_specs
from ..tasks.scoring import MetricSpec
from .comparison import ComparedResult, finding, propagation_results, sweep_results
from .folders import Propagation, Sweep, read_folder
from .frame_pictures import MOST_RESULTS, FrameView, frame_pictures
from .provenance import UnitIndex, features_used
from .score_charts import ChartView, score_charts
from .tables import (
    Number,
    TableView,
    features_tables,
    means_table,
    objects_table,
    options_table,
    other_tables,
    settings_table,
    timing_table,
    videos_table,
    without_folders,
)


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page with a heading: charts, then pictures, then tables, which may be folded."""

    title: str
    intro: str = ""
    charts: Sequence[ChartView] = ()
    frames: Sequence[FrameView] = ()
    tables: Sequence[TableView | None] = ()
    folded: bool = False

    def __bool__(self) -> bool:
        return bool(self.charts or self.frames or any(self.tables))


@dataclass(frozen=True, kw_only=True)
class Page:
    """The contents of a report."""

    title: str  # heading
    date: datetime.date  # date of the report
    finding: str  # the best result and its uncertainty, in one sentence; empty without scores
    compared: tuple[ComparedResult, ...]  # results, with controls last
    means: TableView  # their means
    sections: tuple[Section, ...]  # all that follows
    notes: tuple[str, ...]  # what is missing, and why

    @property
    def frames(self) -> list[FrameView]:
        """All pictures."""
        return [frame for section in self.sections for frame in section.frames]


def make_page(
    folders: Sequence[Path],
    *,
    title: str,
    videos: Sequence[Video] = (),
    cache: Path | None = None,
    pictures: int = 4,
    date: datetime.date | None = None,
) -> Page:
    """Gather the contents of folders of results and of sweeps.

    Parameters
    ----------
    folders
        Folders of ``ted propagate`` (and ``ted evaluate``) or ``ted sweep``.
    title
        Heading of the page.
    videos
        Frames and ground truth for pictures; without videos there are none.
    cache
        Cache of the features; by default the one that each folder records.
    pictures
        Largest number of frames of each kind to show.
    date
        Date of the report; by default today.

    Raises
    ------
    ConfigError
        If a folder holds no results, its tables cannot be read, or the folders have no metric in common.
    """
    notes: list[str] = []
    compared: list[ComparedResult] = []
    settings: list[TableView | None] = []
    provenance: list[TableView | None] = []
    others: list[TableView] = []
    drawn: dict[str, Mapping[str, Path]] = {}
    contents = dict(zip(_names(folders), map(read_folder, folders), strict=True))
    metric_spec = _common_metric_spec(contents.values())
    for name, results in contents.items():
        index = _unit_index(name, results, cache, notes)
        if isinstance(results, Sweep):
            found = sweep_results(name, results, index)
            settings.append(settings_table(name, found, notes))
            notes += [
                f"{name}: {video} failed, and counts in no mean: {why}" for video, why in results.failures.items()
            ]
            if not found:
                notes.append(f"{name}: no video has a score under every setting, so there are no means")
        else:
            found = propagation_results(name, results, index, metric_spec)
            drawn[found[0].label] = results.folders
            others += other_tables(name, results.other_tables(metric_spec), notes)
            if not results.evaluations:
                notes.append(f"{name}: there are no scores; `ted evaluate` writes them, where there is ground truth")
            if results.mixed:
                notes.append(f"{name}: its videos were propagated with different settings; the first video's are shown")
        compared += found
        facts = features_used(results.units, index)
        provenance += [options_table(name, results), *features_tables(name, facts), timing_table(name, results.timing)]
    compared.sort(key=lambda item: bool(item.controls))
    ordered = {item.label: drawn[item.label] for item in compared if item.label in drawn}
    bars = (
        "A bar is one video by itself, its objects together; of sweeps, under the setting that is best over all videos."
    )
    sections = (
        Section(title="Curves", charts=score_charts(compared, notes)),
        Section(
            title="Videos",
            intro=bars,
            tables=(videos_table(compared, notes), objects_table(compared, notes), *others),
        ),
        Section(title="Frames", frames=_frames(videos, ordered, pictures, notes)),
        Section(title="Settings", tables=settings, folded=True),
        Section(title="Provenance", tables=provenance, folded=True),
    )
    return Page(
        title=title,
        date=date or datetime.date.today(),
        finding=finding(compared),
        compared=tuple(compared),
        means=means_table(compared),
        sections=tuple(filter(None, sections)),
        notes=tuple(notes),
    )


def render_page(page: Page) -> str:
    """Render the page as HTML that loads nothing else."""
    environment = Environment(
        autoescape=True,
        loader=FunctionLoader(lambda name: (files(__package__) / "templates" / name).read_text(encoding="utf-8")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["without_folders"] = without_folders
    environment.tests["exact_number"] = lambda cell: isinstance(cell, Number)
    return environment.get_template("report.html").render(page=page)


def _common_metric_spec(contents: Iterable[Sweep | Propagation]) -> MetricSpec:
    """Return the first metric by which all scored results were scored: masks by J&F before the boxes around them."""
    scored = [found for item in contents if (found := item.metric_specs)]
    for metric_spec in metric_specs():
        if all(metric_spec in found for found in scored):
            return metric_spec
    raise ConfigError("different measures do not go into one page: report the folders one by one")


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the shortest distinct ends of the folders' paths."""
    paths = [folder.resolve().parts for folder in folders]
    if len(set(paths)) < len(paths):
        raise ConfigError("a folder of results was given twice; give each once")
    names = []
    for parts in paths:
        ends = (parts[-length:] for length in range(1, len(parts) + 1))
        names.append(str(Path(*next(end for end in ends if sum(path[-len(end) :] == end for path in paths) == 1))))
    return names


def _unit_index(name: str, results: Sweep | Propagation, cache: Path | None, notes: list[str]) -> UnitIndex:
    recorded = results.options.get("cache")
    path = cache if cache is not None else Path(recorded) if isinstance(recorded, str) else None
    try:
        if path is not None:
            return UnitIndex(open_cache(path))
        why = "it records no cache, so name it with --cache"
    except CacheError as error:
        why = explain(error)
    notes.append(
        f"{name}: what its features were made from and took, and whether a network was untrained or without temporal "
        f"layers, is not known: {why}"
    )
    return UnitIndex(None)


def _frames(
    videos: Sequence[Video], results: Mapping[str, Mapping[str, Path]], count: int, notes: list[str]
) -> list[FrameView]:
    if not results or not count:
        return []
    if not videos:
        notes.append("there are no pictures of frames: name the videos with --source")
        return []
    if len(results) > MOST_RESULTS:
        notes.append(f"pictures show the first {MOST_RESULTS} of {len(results)} folders of results")
    try:
        return frame_pictures(videos, results, count)
    except TedError as error:
        notes.append(f"there are no pictures of frames: {error}")
        return []
