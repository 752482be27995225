"""Which units of a cache a command is about: options and selection."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ...store import AffinityEntry, Entry

__all__ = ["select_folders", "select_units", "unit_filters"]


def unit_filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose units; see `select_units`."""
    for option in (
        click.option("--affinities", is_flag=True, help="Only affinities, and no features."),
        click.option("--feature", metavar="BACKBONE[@DIGEST]:TIMESTEP:TAP", help="Only these features."),
        click.option("--backbone", help="Only this backbone's."),
        click.option("--video", help="Only this video's."),
        click.option("--dataset", help="Only this dataset's."),
    ):
        function = option(function)
    return function


def select_units(
    cache: Path,
    *,
    dataset: str | None,
    video: str | None,
    backbone: str | None,
    feature: str | None,
    affinities: bool,
) -> list["Entry | AffinityEntry"]:
    """Return features, then affinities; of these only those that the options leave."""
    from ...store import open_cache
    from ...store.choice import fits
    from ...store.errors import ConfigError
    from ..choices import parse_choice

    if affinities and (backbone or feature):
        raise ConfigError("--affinities selects no features: leave out --backbone and --feature")
    choice = parse_choice(feature) if feature else None
    store = open_cache(cache)
    found: list[Entry | AffinityEntry] = []
    if not affinities:
        entries = store.entries(dataset=dataset, video=video, backbone=backbone)
        found += [entry for entry in entries if choice is None or fits(entry.spec, choice)]
    if not (backbone or feature):
        found += store.affinities(dataset, video)
    return found


def select_folders(cache: Path, **filters: Any) -> list[Path]:
    """Return the folders of the units that the options leave; without any, also those of unreadable descriptions."""
    from ...store import open_cache

    wanted = [entry.folder for entry in select_units(cache, **filters)]
    if any(filters.values()):
        return wanted
    store = open_cache(cache)
    return sorted(store.folders()) + sorted(store.affinity_folders())
