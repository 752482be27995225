"""Options that select units of a cache, and the selection."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..choices.hints import plural
from .base import Options, opt
from .setting_options import complete_feature

if TYPE_CHECKING:
    from ...store import AffinityEntry, ArtifactEntry, Entry

    AnyEntry = Entry | AffinityEntry | ArtifactEntry


class FeatureFilter(Options, title="Units"):
    """Which features a command is about."""

    dataset: str | None = opt("Only units of this dataset.")
    video: str | None = opt("Only units of this video.")
    backbone: str | None = opt("Only features of this backbone.")
    feature: str | None = opt(
        "Only these features.", metavar="BACKBONE[@DIGEST]:TIMESTEP:TAP", shell_complete=complete_feature
    )

    def __bool__(self) -> bool:
        """Return whether an option is given."""
        return any(vars(self).values())

    def features(self, cache: Path) -> list["Entry"]:
        """Return the feature units."""
        from ...store import fits, open_cache, parse_codec
        from ..choices.features import parse_choice

        choice = parse_choice(self.feature) if self.feature else None
        form = getattr(self, "form", None)
        name = parse_codec(form).name if form else None
        return [
            entry
            for entry in open_cache(cache).entries(dataset=self.dataset, video=self.video, backbone=self.backbone)
            if (choice is None or fits(entry.spec, choice)) and name in (None, entry.spec.form)
        ]


class UnitFilter(FeatureFilter):
    """Which units of all kinds a command is about."""

    form: str | None = opt("Only features with this codec: float16, int8, bitround:N, pca:N.")
    affinities: bool = opt("Only affinities; the same as --kind affinities.")
    kind: str | None = opt("Only units of this kind: features, affinities, or the name of a plug-in's kind.")

    def units(self, cache: Path) -> list["AnyEntry"]:
        """Return the units: features, affinities, then those of plug-ins."""
        from ...store import open_cache
        from ...store.errors import ConfigError

        if self.affinities and self.kind not in (None, "affinities"):
            raise ConfigError(f"--affinities and --kind {self.kind} select different units: leave one of them out")
        kind = "affinities" if self.affinities else self.kind
        of_features = self.backbone or self.feature or self.form
        if of_features and kind not in (None, "features"):
            given = "--affinities" if self.affinities else f"--kind {kind}"
            raise ConfigError(f"{given} selects no features: leave out --backbone, --feature and --form")
        store = open_cache(cache)
        found: list[AnyEntry] = []
        for name in _kinds(kind or ("features" if of_features else None)):
            if name == "features":
                found += self.features(cache)
            elif name == "affinities":
                found += store.affinities(self.dataset, self.video)
            else:
                found += store.artifacts(name, self.dataset, self.video)
        return found

    def folders(self, cache: Path) -> list[Path]:
        """Return the folders of the units; without any option, also of units that cannot be read."""
        from ...store import open_cache

        wanted = [entry.folder for entry in self.units(cache)]
        if self:
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
