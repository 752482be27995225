"""Which units of a cache a command is about: options and selection."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ...store import AffinityEntry, Entry

__all__ = ["feature_filters", "select_features", "select_folders", "select_units", "unit_filters"]


def feature_filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose feature units; see `select_features`."""
    decorators = [
        click.option("--dataset", help="Only this dataset's."),
        click.option("--video", help="Only this video's."),
        click.option("--backbone", help="Only this backbone's."),
        click.option("--feature", metavar="BACKBONE[@DIGEST]:TIMESTEP:TAP", help="Only these features."),
    ]
    return functools.reduce(lambda wrapped, decorate: decorate(wrapped), reversed(decorators), function)


def unit_filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose units of both kinds; see `select_units`."""
    function = click.option("--affinities", is_flag=True, help="Only affinities, and no features.")(function)
    function = click.option("--form", help="Only features in this form: float16, int8, bitround:N, pca:N.")(function)
    return feature_filters(function)


def select_features(
    cache: Path,
    *,
    dataset: str | None,
    video: str | None,
    backbone: str | None,
    feature: str | None,
    form: str | None = None,
) -> list["Entry"]:
    """Return the feature units that the options leave."""
    from ...store import open_cache, parse_codec
    from ...store.choice import fits
    from ..choices.features import parse_choice

    choice = parse_choice(feature) if feature else None
    name = parse_codec(form).name if form else None
    return [
        entry
        for entry in open_cache(cache).entries(dataset=dataset, video=video, backbone=backbone)
        if (choice is None or fits(entry.spec, choice)) and name in (None, entry.spec.form)
    ]


def select_units(
    cache: Path,
    *,
    dataset: str | None,
    video: str | None,
    backbone: str | None,
    feature: str | None,
    form: str | None,
    affinities: bool,
) -> list["Entry | AffinityEntry"]:
    """Return features, then affinities; of these only those that the options leave."""
    from ...store import open_cache
    from ...store.errors import ConfigError

    if affinities and (backbone or feature or form):
        raise ConfigError("--affinities selects no features: leave out --backbone, --feature and --form")
    found: list[Entry | AffinityEntry] = []
    if not affinities:
        chosen = {"dataset": dataset, "video": video, "backbone": backbone, "feature": feature, "form": form}
        found += select_features(cache, **chosen)
    if not (backbone or feature or form):
        found += open_cache(cache).affinities(dataset, video)
    return found


def select_folders(cache: Path, **filters: Any) -> list[Path]:
    """Return the folders of the units that the options leave; without any, also those of unreadable descriptions."""
    from ...store import open_cache

    wanted = [entry.folder for entry in select_units(cache, **filters)]
    if any(filters.values()):
        return wanted
    store = open_cache(cache)
    return sorted(store.folders()) + sorted(store.affinity_folders())
