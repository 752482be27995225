"""Options that select units of a cache, and the selection."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..choices.hints import plural

if TYPE_CHECKING:
    from ...store import AffinityEntry, ArtifactEntry, Entry

    AnyEntry = Entry | AffinityEntry | ArtifactEntry

__all__ = [
    "feature_filters",
    "select_features",
    "select_folders",
    "select_units",
    "unit_filters",
    "warn_of_unknown_kinds",
]


def feature_filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select feature units; see `select_features`."""
    decorators = [
        click.option("--dataset", help="Only units of this dataset."),
        click.option("--video", help="Only units of this video."),
        click.option("--backbone", help="Only features of this backbone."),
        click.option("--feature", metavar="BACKBONE[@DIGEST]:TIMESTEP:TAP", help="Only these features."),
    ]
    return functools.reduce(lambda wrapped, decorate: decorate(wrapped), reversed(decorators), function)


def unit_filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select units of all kinds; see `select_units`."""
    for option in (
        click.option("--kind", help="Only units of this kind: features, affinities, or the name of a plug-in's kind."),
        click.option("--affinities", is_flag=True, help="Only affinities; the same as --kind affinities."),
        click.option("--form", help="Only features with this codec: float16, int8, bitround:N, pca:N."),
    ):
        function = option(function)
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
    """Return the feature units that the options select."""
    from ...store import fits, open_cache, parse_codec
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
    kind: str | None,
) -> list["AnyEntry"]:
    """Return the units that the options select: features, affinities, then those of plug-ins."""
    from ...store import open_cache
    from ...store.errors import ConfigError

    only_features = {"backbone": backbone, "feature": feature, "form": form}
    if affinities and kind not in (None, "affinities"):
        raise ConfigError(f"--affinities and --kind {kind} select different units: leave one of them out")
    kind = "affinities" if affinities else kind
    if kind not in (None, "features") and any(only_features.values()):
        given = "--affinities" if affinities else f"--kind {kind}"
        raise ConfigError(f"{given} selects no features: leave out --backbone, --feature and --form")
    store = open_cache(cache)
    found: list[AnyEntry] = []
    for name in _kinds(kind if kind or not any(only_features.values()) else "features"):
        if name == "features":
            found += select_features(cache, dataset=dataset, video=video, **only_features)
        elif name == "affinities":
            found += store.affinities(dataset, video)
        else:
            found += store.artifacts(name, dataset, video)
    return found


def select_folders(cache: Path, **filters: Any) -> list[Path]:
    """Return the folders of the units that the options select; without any, also of units that cannot be read."""
    from ...store import open_cache

    wanted = [entry.folder for entry in select_units(cache, **filters)]
    if any(filters.values()):
        return wanted
    warn_of_unknown_kinds(cache)
    return [folder for kind in _kinds(None) for folder in sorted(open_cache(cache).folders(kind))]


def warn_of_unknown_kinds(cache: Path) -> None:
    """Name the units that a command leaves out because the plug-in of their kind is not installed."""
    from ...store import open_cache, printable

    for kind, count in open_cache(cache).unknown_kinds().items():
        about = f"{plural(count, 'unit')} of the kind {printable(kind)}"
        click.echo(f"left out: {about}; install the plug-in that offers it", err=True)


def _kinds(kind: str | None) -> list[str]:
    from ...store import artifact_kinds

    return [kind] if kind else [known.name for known in artifact_kinds()]
