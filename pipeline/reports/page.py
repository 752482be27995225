"""The page: what all folders hold, arranged for the template."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined

from ...store import open_cache
from ...store.errors import CacheError, ConfigError, TedError
from ..choices.hints import explain
from ..datasets.video import Video
from ..runs.sweeping.axes import NUMERIC
from ..tasks.metric_specs import METRIC_SPECS, MetricSpec
from .compared import Compared, from_propagation, from_sweep
from .curves import MOST_VIDEOS, TAPS, over_parameters, over_videos
from .noise_curve import over_noise
from .pictures import MOST_RESULTS, FrameView, show_frames
from .propagated import Propagation, is_propagation, read_propagation
from .provenance import features_used
from .swept import Sweep, is_sweep, read_sweep
from .tables import (
    cost_tables,
    features_table,
    means_table,
    objects_table,
    options_table,
    other_tables,
    settings_table,
)
from .used import Origins
from .views import ChartView, TableView

__all__ = ["Page", "make_page", "render_page"]


@dataclass(frozen=True, kw_only=True)
class Page:
    """All that a report shows.

    Attributes
    ----------
    title
        Of the page.
    compared
        What stands beside each other, results proper before controls.
    means, objects, others
        Tables of scores.
    settings
        A table of settings for each sweep.
    curves, bars
        Charts.
    frames
        Pictures.
    provenance, cost
        Tables of what the results were made from and of what that took.
    notes
        What is missing, and why.
    """

    title: str
    compared: tuple[Compared, ...]
    means: TableView
    objects: TableView | None
    others: tuple[TableView, ...]
    settings: tuple[TableView, ...]
    curves: tuple[ChartView, ...]
    bars: tuple[ChartView, ...]
    frames: tuple[FrameView, ...]
    provenance: tuple[TableView, ...]
    cost: tuple[TableView, ...]
    notes: tuple[str, ...]


def make_page(
    folders: Sequence[Path], *, title: str, videos: Sequence[Video] = (), cache: Path | None = None, pictures: int = 4
) -> Page:
    """Gather what folders of results and of sweeps hold.

    Parameters
    ----------
    folders
        Folders of ``ted propagate`` (and ``ted evaluate``) or ``ted sweep``.
    title
        Of the page.
    videos
        Frames and truth for pictures; without them there are none.
    cache
        The cache of the features; by default the one that each folder names.
    pictures
        Best frames to show, and as many worst ones.

    Raises
    ------
    ConfigError
        For a folder that holds neither, tables that cannot be read, or different measures.
    """
    notes: list[str] = []
    compared: list[Compared] = []
    settings, provenance, cost, others = [], [], [], []
    shown: dict[str, tuple[bool, Mapping[str, Path]]] = {}
    every = dict(zip(_names(folders), map(_read, folders), strict=True))
    metric_spec = _common_metric_spec(every.values())
    for number, (name, results) in enumerate(every.items(), 1):
        origins = _origins(name, results, cache, notes)
        if isinstance(results, Sweep):
            found = from_sweep(name, results, origins)
            units = tuple(dict.fromkeys(unit for of_setting in results.units.values() for unit in of_setting))
            settings.append(settings_table(f"settings-{number}", name, found, notes))
            notes += [
                f"{name}: {video} failed, and counts in no mean: {why}"
                for video, why in results.result.failures.items()
            ]
            if not found:
                notes.append(f"{name}: no video has a score under every setting, so there are no means")
        else:
            found = from_propagation(name, results, origins, metric_spec)
            units = results.units
            shown[found[0].label] = bool(found[0].controls), results.folders
            others += other_tables(f"other-{number}", name, results.others(metric_spec), notes)
            if not results.evaluations:
                notes.append(f"{name}: there are no scores; `ted evaluate` writes them, where there is ground truth")
            if results.mixed:
                notes.append(f"{name}: its videos were propagated with different settings; the first video's are shown")
        compared += found
        facts = features_used(units, origins)
        provenance += [
            options_table(f"options-{number}", name, results),
            *features_table(f"features-{number}", name, facts),
        ]
        cost += cost_tables(f"cost-{number}", name, facts, results.timing if isinstance(results, Sweep) else None)
    compared.sort(key=lambda item: bool(item.controls))
    # Timesteps come last of the numbers, so what they mean stands beside them.
    curves = [*over_parameters(compared, NUMERIC), *over_noise(compared, notes), *over_parameters(compared, TAPS)]
    bars = over_videos(compared)
    count = len({video for item in compared for video in item.by_video})
    if count > MOST_VIDEOS:
        notes.append(f"bars show the first {MOST_VIDEOS} of {count} videos; the table of objects has all of them")
    return Page(
        title=title,
        compared=tuple(compared),
        means=means_table("means", compared),
        objects=objects_table("objects", compared, notes),
        others=tuple(others),
        settings=tuple(table for table in settings if table is not None),
        curves=tuple(curves),
        bars=tuple(bars),
        frames=_frames(videos, shown, pictures, notes),
        provenance=tuple(table for table in provenance if table is not None),
        cost=tuple(cost),
        notes=tuple(notes),
    )


def render_page(page: Page) -> str:
    """Render the page as HTML that needs nothing else."""
    environment = Environment(
        autoescape=True,
        loader=FunctionLoader(lambda name: (files(__package__) / "templates" / name).read_text(encoding="utf-8")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(page=page)


def _read(folder: Path) -> Sweep | Propagation:
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}; `ted propagate` and `ted sweep` make folders of results")
    if is_sweep(folder):
        return read_sweep(folder)
    if is_propagation(folder):
        return read_propagation(folder)
    raise ConfigError(f"{folder} holds no results of `ted propagate` or `ted sweep`")


def _common_metric_spec(results: Iterable[Sweep | Propagation]) -> MetricSpec:
    """Return what all results that were scored were measured by; masks are by J&F before boxes around them."""
    measured = [
        {item.result.metric_spec} if isinstance(item, Sweep) else {found.metric_spec for found in item.evaluations}
        for item in results
        if (item.result.ranking if isinstance(item, Sweep) else item.evaluations)
    ]
    for metric_spec in METRIC_SPECS:
        if all(metric_spec in one for one in measured):
            return metric_spec
    raise ConfigError("different measures do not go into one page: report the folders one by one")


def _names(folders: Sequence[Path]) -> list[str]:
    """Name folders so that no two have the same name."""
    last = [folder.resolve().name for folder in folders]
    names = [name if last.count(name) == 1 else str(folder) for name, folder in zip(last, folders, strict=True)]
    if len(set(names)) < len(names):
        raise ConfigError("a folder of results was given twice; give each once")
    return names


def _origins(name: str, results: Sweep | Propagation, cache: Path | None, notes: list[str]) -> Origins:
    recorded = results.options.get("cache")
    path = cache if cache is not None else Path(recorded) if isinstance(recorded, str) else None
    try:
        if path is not None:
            return Origins(open_cache(path))
        why = "it records no cache, so name it with --cache"
    except CacheError as error:
        why = explain(error)
    notes.append(
        f"{name}: what its features were made from and took, and whether a network was untrained or without temporal "
        f"layers, is not known: {why}"
    )
    return Origins(None)


def _frames(
    videos: Sequence[Video], results: Mapping[str, tuple[bool, Mapping[str, Path]]], count: int, notes: list[str]
) -> tuple[FrameView, ...]:
    if not results or not count:
        return ()
    if not videos:
        notes.append("there are no pictures of frames: name the videos with --source")
        return ()
    ordered = sorted(results.items(), key=lambda item: item[1][0])
    if len(ordered) > MOST_RESULTS:
        notes.append(f"pictures show the first {MOST_RESULTS} of {len(ordered)} folders of results")
    try:
        return tuple(show_frames(videos, {name: folders for name, (_, folders) in ordered}, count))
    except TedError as error:
        notes.append(f"there are no pictures of frames: {error}")
        return ()
