"""The cache: open it, list and find its units, write and remove them."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from .arrays import open_store
from .artifacts.affinities import AFFINITIES, AffinitySpec, AffinityUnit, AffinityWriter
from .artifacts.features import FEATURES, Unit, UnitWriter
from .artifacts.generic import Artifact, ArtifactSpec, ArtifactWriter
from .artifacts.registry import ArtifactKind, artifact_kind, artifact_kinds, layout_at
from .claims import take_claim
from .durable import explain_os_errors
from .errors import CacheError, CorruptUnitError, Hint, IncompleteUnitError, TedError, UnitNotFoundError
from .integrity import demote, looks_whole
from .layout import GROUP, check_inside, printable, safe_name
from .marker import marker_key, read_journal, read_marker
from .removal import remove_empty_groups, remove_folder
from .request import FeatureChoice, UnitSpec, fits, most_faithful
from .stored import Spec, SpecT, read_spec

_log = logging.getLogger(__name__)


_UnitT = TypeVar("_UnitT")


@dataclass(frozen=True, kw_only=True)
class _Found(Generic[SpecT, _UnitT]):
    unit_type: ClassVar[Any]

    folder: Path
    spec: SpecT
    state: str
    bytes: int

    def open(self) -> _UnitT:
        """Open the unit for reading."""
        unit: _UnitT = self.unit_type(self.folder)
        return unit

    @property
    def missing(self) -> list[int]:
        """Indices of the frames that are not stored; those of a complete unit are all stored."""
        if self.state != "incomplete":
            return []
        journal, layout = read_journal(self.folder), self.spec.layout
        return [frame for frame in range(self.spec.frame_count) if not journal.keys() >= {*layout.chunk_keys(frame)}]


class Entry(_Found[UnitSpec, Unit]):
    """One feature unit as found on disk: `folder`, `spec`, `state` and `bytes`.

    The state is ``"complete"``, ``"incomplete"``, or ``"damaged"`` (the marker is unreadable, or files that it lists
    are absent or have another size). `bytes` is the total size according to the marker, 0 without one.
    """

    unit_type = Unit


class AffinityEntry(_Found[AffinitySpec, AffinityUnit]):
    """One affinity unit as found on disk; see `Entry`."""

    unit_type = AffinityUnit


class ArtifactEntry(_Found[ArtifactSpec, Artifact]):
    """One artifact of a plug-in's kind as found on disk; see `Entry`."""

    unit_type = Artifact


_EntryT = TypeVar("_EntryT", Entry, AffinityEntry, ArtifactEntry)


class Cache:
    """A feature cache.

    Parameters
    ----------
    root
        The cache's folder. It is created when the first unit is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def __repr__(self) -> str:
        return f"<Cache {self.root}>"

    def videos(self) -> list[tuple[str, str]]:
        """List the (dataset, video) pairs that have feature units, by their real names, in alphabetical order."""
        return sorted({(spec.dataset, spec.video) for _, spec in self._described(FEATURES, UnitSpec, None, None)})

    def entries(
        self, *, dataset: str | None = None, video: str | None = None, backbone: str | None = None
    ) -> list[Entry]:
        """List feature units, complete or not, in the order of their folders.

        Parameters
        ----------
        dataset, video, backbone
            Only units with these names; all of them by default.
        """
        found = self._found(FEATURES, Entry, dataset, video)
        return [entry for entry in found if backbone in (None, entry.spec.request.backbone)]

    def affinities(self, dataset: str | None = None, video: str | None = None) -> list[AffinityEntry]:
        """List affinity units, complete or not, with these names (all by default), in the order of their folders."""
        return self._found(AFFINITIES, AffinityEntry, dataset, video)

    def artifacts(self, kind: str, dataset: str | None = None, video: str | None = None) -> list[ArtifactEntry]:
        """List units of a plug-in's kind, complete or not, with these names (all by default).

        Raises
        ------
        SchemaError
            For an unknown kind.
        """
        return self._found(artifact_kind(kind), ArtifactEntry, dataset, video)

    def units(self, *, dataset: str | None = None, video: str | None = None, backbone: str | None = None) -> list[Unit]:
        """Open all complete feature units with these names, with all their codecs."""
        entries = self.entries(dataset=dataset, video=video, backbone=backbone)
        return [entry.open() for entry in entries if entry.state == "complete" and not entry.spec.codec.is_staging]

    def find(
        self,
        dataset: str,
        video: str,
        choice: FeatureChoice,
        *,
        frames: str | None = None,
        prefer: Sequence[tuple[str, str]] = (),
    ) -> Unit:
        """Open the one complete unit of a video that fits a choice.

        Parameters
        ----------
        dataset, video
            Names.
        choice
            Backbone, timestep and tap.
        frames
            Required digest of the frames; by default, features of any frames fit.
        prefer
            Fields of the request, or ``form``, with their preferred values as text (``("ensemble", "4")``,
            ``("frame_size", "480x832")``). If several units fit, each field in turn selects the units with that value,
            unless none has it. If the same features are stored with several codecs, the one that loses least is opened
            (`FeatureCodec.loss`).

        Raises
        ------
        UnitNotFoundError
            When there is none, or more than one; the message lists the units of the video.
        IncompleteUnitError, CorruptUnitError, SchemaError
            When it cannot be read.
        """
        entries = self.entries(dataset=dataset, video=video)
        matches = [entry for entry in entries if fits(entry.spec, choice)]
        if not matches:
            there = "\n  ".join(_describe(entry) for entry in entries) or "nothing"
            raise UnitNotFoundError(
                f"{self.root} has no features {choice} of {dataset}/{video}; it has of this video:\n  {there}",
                hint=Hint("extract"),
            )
        if frames is not None:
            others = "\n  ".join(_describe(entry) for entry in matches)
            matches = [entry for entry in matches if entry.spec.request.frames == frames]
            if not matches:
                raise UnitNotFoundError(
                    f"the features {choice} of {dataset}/{video} are those of other frames: the frames have changed "
                    "since extraction, or were selected otherwise. There are:\n  " + others,
                    hint=Hint("select-same-frames"),
                )
        # Staged features, which are not converted yet, count as an unfinished extraction.
        complete = [entry for entry in matches if entry.state != "incomplete" and not entry.spec.codec.is_staging]
        if not complete:
            raise IncompleteUnitError(
                f"the features {choice} of {dataset}/{video} are not complete: their extraction was interrupted or is "
                "still running",
                hint=Hint("resume", {"maker": "extraction"}),
            )
        for field, value in prefer:
            complete = [entry for entry in complete if entry.spec.field_text(field) == value] or complete
        complete = most_faithful(complete)
        if len(complete) > 1:
            options = "\n  ".join(_describe(entry, _differing(complete)) for entry in complete)
            raise UnitNotFoundError(
                f"{choice} of {dataset}/{video} fits several units, made with other settings or weights; they differ "
                f"in these fields:\n  {options}",
                hint=Hint("prefer"),
            )
        return complete[0].open()

    def state(self, spec: Spec) -> str:
        """Return a unit's state: ``"absent"``, ``"incomplete"``, ``"complete"`` or ``"damaged"``."""
        folder = spec.folder(self.root)
        return _state(folder)[0] if folder.is_dir() else "absent"

    def writer(self, spec: UnitSpec, *, overwrite: bool = False, repair: bool = False) -> UnitWriter:
        """Return a writer of a feature unit (a context manager); see `UnitWriter`.

        Parameters
        ----------
        spec
            Description of the unit.
        overwrite
            Discard a unit that exists, complete or not.
        repair
            Let the writer resume a damaged unit, and keep its intact frames. By default it refuses any unit with a
            marker.
        """
        return UnitWriter(self.root, spec, overwrite=overwrite or (repair and self._prepare_repair(spec)))

    def affinity_writer(self, spec: AffinitySpec, *, overwrite: bool = False) -> AffinityWriter:
        """Return a writer of an affinity unit (a context manager); see `AffinityWriter`."""
        return AffinityWriter(self.root, spec, overwrite=overwrite)

    def artifact_writer(self, spec: ArtifactSpec, *, overwrite: bool = False, repair: bool = False) -> ArtifactWriter:
        """Return a writer of an artifact (a context manager); see `ArtifactWriter`, and `writer` for `repair`."""
        return ArtifactWriter(self.root, spec, overwrite=overwrite or (repair and self._prepare_repair(spec)))

    def _prepare_repair(self, spec: Spec) -> bool:
        """Make a damaged unit incomplete; return whether it has to be overwritten instead."""
        if self.state(spec) == "damaged":
            try:
                demote(spec.folder(self.root))
            except CorruptUnitError:  # the marker itself: which files are whole is unknown
                return True
            except IncompleteUnitError:  # another process was faster
                pass
        return False

    def remove(self, folder: Path) -> None:
        """Remove a unit of any kind. Affinities of removed features stay readable.

        If a reader has the unit open, its next read raises an error; it never returns fill values.

        Raises
        ------
        ClaimedError
            When a process is writing it.
        CacheError
            When it lies outside the cache or behind a link, or the disk fails.
        """
        with explain_os_errors(f"remove {folder}"):
            check_inside(self.root, folder / layout_at(folder).records)
            with take_claim(folder):  # the claim file is deleted with the folder
                remove_folder(folder)
            remove_empty_groups(self.root, folder)

    def folders(self, kind: str, dataset: str | None = None, video: str | None = None) -> Iterator[Path]:
        """Yield the folders of a kind's units, readable or not; optionally of one dataset or one video."""
        first = "[!.]*" if dataset is None else safe_name(dataset)
        second = "[!.]*" if video is None else safe_name(video)
        for folder in self.root.glob(f"{first}/{second}.zarr/{artifact_kind(kind).pattern}"):
            if (folder / GROUP).exists() or (folder / marker_key(folder)).exists():
                yield folder

    def unknown_kinds(self) -> dict[str, int]:
        """Count the units of each unknown kind, written by plug-ins that are not installed here."""
        known = {kind.name for kind in artifact_kinds()}
        found: dict[str, int] = {}
        for group in self.root.glob("[!.]*/[!.]*.zarr/[!.]*/[!.]*/" + GROUP):
            name = group.parent.parent.name
            if "@" not in name and name not in known:
                found[name] = found.get(name, 0) + 1
        return found

    def _found(
        self, kind: ArtifactKind, entry_type: type[_EntryT], dataset: str | None, video: str | None
    ) -> list[_EntryT]:
        found = []
        for folder, spec in self._described(kind, entry_type.unit_type.spec_type, dataset, video):
            state, size = _state(folder)
            found.append(entry_type(folder=folder, spec=spec, state=state, bytes=size))
        return found

    def _described(
        self, kind: ArtifactKind, spec_type: type[SpecT], dataset: str | None, video: str | None
    ) -> Iterator[tuple[Path, SpecT]]:
        """Yield folder and description of units with these names, sorted by folder; skip unreadable descriptions."""
        for folder in sorted(self.folders(kind.name, dataset, video)):
            try:
                spec = read_spec(folder, spec_type)
            except TedError as error:
                # One unreadable unit must not hide the others.
                _log.warning("skipped: %s", printable(str(error)))
                continue
            if dataset in (None, spec.dataset) and video in (None, spec.video):
                yield folder, spec


def open_cache(root: Path | str, *, create: bool = False) -> Cache:
    """Open a cache.

    Parameters
    ----------
    root
        The cache's folder.
    create
        Accept a folder that does not exist yet, for writing.

    Raises
    ------
    CacheError
        When there is no such folder, or it is a URL.
    """
    open_store(root)
    path = Path(root)
    if path.exists() and not path.is_dir():
        raise CacheError(f"{path} is a file; a cache is a folder")
    if not create and not path.is_dir():
        raise CacheError(f"there is no cache at {path}", hint=Hint("make-cache"))
    return Cache(path)


def _state(folder: Path) -> tuple[str, int]:
    """Return the `state` and `bytes` of an `Entry`."""
    try:
        marker = read_marker(folder)
    except IncompleteUnitError:
        return "incomplete", 0
    except CacheError:
        return "damaged", 0
    return ("complete" if looks_whole(folder, marker) else "damaged"), marker.total_bytes


def _differing(entries: Sequence[Entry]) -> list[str]:
    """Return the request fields in which some of the units differ."""
    first, *others = (entry.spec.request for entry in entries)
    same_artifacts = all(other.field_text("artifacts") == first.field_text("artifacts") for other in others)
    fields = sorted(set().union(*(first.differing_fields(other) for other in others)))
    return fields if same_artifacts else ["artifacts", *fields]


def _describe(entry: Entry, fields: Sequence[str] = ("frame_size", "ensemble", "seed", "form")) -> str:
    details = ", ".join(f"{field} {entry.spec.field_text(field)}" for field in fields)
    return f"{entry.spec.feature} ({entry.state}, {entry.spec.frame_count} frames, {details})"
