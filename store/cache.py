"""The cache: opening it, listing and finding what it holds, writing to it, removing from it."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from .affinities import AffinitySpec
from .affinity_writer import AffinityWriter
from .choice import FeatureChoice, fits, most_faithful
from .claims import take_claim
from .durable import explain_os_errors
from .entries import AffinityEntry, Entry, unit_state
from .errors import CacheError, CorruptUnitError, Hint, IncompleteUnitError, UnitNotFoundError
from .integrity import demote
from .layout import GROUP, safe_name
from .marker import marker_key
from .removal import remove_empty_group, remove_folder
from .request import UnitSpec
from .stored import SpecT, open_store, read_spec
from .unit import Unit
from .writer import UnitWriter

__all__ = ["Cache", "open_cache"]

_log = logging.getLogger(__name__)


class Cache:
    """A feature cache.

    Parameters
    ----------
    root
        Its folder. It is made when the first unit is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def __repr__(self) -> str:
        return f"<Cache {self.root}>"

    def videos(self) -> list[tuple[str, str]]:
        """List the (dataset, video) pairs that have feature units, by their real names, in alphabetical order."""
        return sorted({(spec.dataset, spec.request.video) for _, spec in self._specs()})

    def entries(
        self, *, dataset: str | None = None, video: str | None = None, backbone: str | None = None
    ) -> list[Entry]:
        """List feature units, complete or not, in the order of their folders.

        Parameters
        ----------
        dataset, video, backbone
            Only units with these names; all of them by default.
        """
        found = []
        for folder, spec in self._specs(dataset, video):
            if backbone in (None, spec.request.backbone):
                state, size = unit_state(folder)
                found.append(Entry(folder=folder, spec=spec, state=state, bytes=size))
        return found

    def units(self, *, dataset: str | None = None, video: str | None = None, backbone: str | None = None) -> list[Unit]:
        """Open all complete feature units with these names, in all their forms."""
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
        """Open the one complete unit of a video that a choice means.

        Parameters
        ----------
        dataset, video
            Names.
        choice
            Backbone, timestep and tap.
        frames
            Digest of the frames that the features must be of; of any frames by default.
        prefer
            Fields of the request, or ``form``, and their values as text (``("ensemble", "4")``, ``("frame_size",
            "480x832")``). Of several units that fit, those that agree are meant, one field after the other, as far as
            there are any. Of the same features in several forms the most faithful are meant: see `FeatureCodec.loss`.

        Raises
        ------
        UnitNotFoundError
            When there is none, or more than one, with what there is instead.
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
                    f"the features {choice} of {dataset}/{video} are of other frames: the frames have changed since "
                    "extraction, or were selected otherwise. There are:\n  " + others,
                    hint=Hint("select-same-frames"),
                )
        # Features that wait for conversion are an unfinished extraction.
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

    def state(self, spec: UnitSpec) -> str:
        """Return a feature unit's state: ``"absent"``, ``"incomplete"``, ``"complete"`` or ``"damaged"``."""
        return _state_in(spec.folder(self.root))

    def writer(self, spec: UnitSpec, *, overwrite: bool = False, repair: bool = False) -> UnitWriter:
        """Return a writer of a feature unit (a context manager); see `UnitWriter`.

        Parameters
        ----------
        spec
            The unit.
        overwrite
            Discard whatever is there, complete or not.
        repair
            If the unit is damaged, let the writer find what is whole of it, as of an incomplete one; without that, it
            refuses a unit with a marker.
        """
        if repair and not overwrite and self.state(spec) == "damaged":
            try:
                demote(spec.folder(self.root))
            except CorruptUnitError:  # the marker itself: nothing says what is whole
                overwrite = True
            except IncompleteUnitError:  # another process was first
                pass
        return UnitWriter(self.root, spec, overwrite=overwrite)

    def affinities(self, dataset: str | None = None, video: str | None = None) -> list[AffinityEntry]:
        """List affinity units, complete or not, of these names (all by default), in the order of their folders."""
        found = []
        for folder, spec in _described(self.affinity_folders(dataset, video), AffinitySpec, dataset, video):
            state, size = unit_state(folder)
            found.append(AffinityEntry(folder=folder, spec=spec, state=state, bytes=size))
        return found

    def affinity_state(self, spec: AffinitySpec) -> str:
        """Return an affinity unit's state: ``"absent"``, ``"incomplete"``, ``"complete"`` or ``"damaged"``."""
        return _state_in(spec.folder(self.root))

    def affinity_writer(self, spec: AffinitySpec, *, overwrite: bool = False) -> AffinityWriter:
        """Return a writer of an affinity unit (a context manager); see `AffinityWriter`."""
        return AffinityWriter(self.root, spec, overwrite=overwrite)

    def remove(self, folder: Path) -> None:
        """Remove a unit, of features or of affinities; affinities of removed features stay, and can be read.

        A reader that has it open gets an error at its next read, never fill values.

        Raises
        ------
        ClaimedError
            When a process is writing it.
        """
        parents = list(folder.relative_to(self.root).parents)[:-1]
        with explain_os_errors(f"remove {folder}"):
            with take_claim(folder):  # which goes with the folder
                remove_folder(folder)
            # Groups that have become empty, up to the dataset's folder; never the cache itself.
            for parent in parents:
                if not remove_empty_group(self.root / parent):
                    break

    def _specs(self, dataset: str | None = None, video: str | None = None) -> Iterator[tuple[Path, UnitSpec]]:
        """Yield folder and description of feature units that have a readable one, in the order of their folders."""
        return _described(self.folders(dataset, video), UnitSpec, dataset, video)

    def folders(self, dataset: str | None = None, video: str | None = None) -> Iterator[Path]:
        """Yield the folders of the feature units of a dataset and a video (of all, by default), readable or not."""
        return self._units_at("[!.]*@*/t*/[!.]*/[!.]*", dataset, video)

    def affinity_folders(self, dataset: str | None = None, video: str | None = None) -> Iterator[Path]:
        """Yield the folders of the affinity units of a dataset and a video (of all, by default), readable or not."""
        return self._units_at("affinities/[!.]*", dataset, video)

    def _units_at(self, pattern: str, dataset: str | None, video: str | None) -> Iterator[Path]:
        first = "[!.]*" if dataset is None else safe_name(dataset)
        second = "[!.]*" if video is None else safe_name(video)
        for folder in self.root.glob(f"{first}/{second}.zarr/{pattern}"):
            if (folder / GROUP).exists() or (folder / marker_key(folder)).exists():
                yield folder


def open_cache(root: Path | str, *, create: bool = False) -> Cache:
    """Open a cache.

    Parameters
    ----------
    root
        Its folder.
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


def _state_in(folder: Path) -> str:
    return unit_state(folder)[0] if folder.is_dir() else "absent"


def _described(
    folders: Iterator[Path], spec_type: type[SpecT], dataset: str | None, video: str | None
) -> Iterator[tuple[Path, SpecT]]:
    """Yield folder and description of units that have a readable one, of these names, in the order of their folders."""
    for folder in sorted(folders):
        try:
            spec = read_spec(folder, spec_type)
        except CacheError as error:
            # One unreadable unit must not hide the others.
            _log.warning("skipped: %s", error)
            continue
        if dataset in (None, spec.dataset) and video in (None, spec.video):
            yield folder, spec


def _differing(entries: Sequence[Entry]) -> list[str]:
    """Return the fields of the requests in which some units differ."""
    first, *others = (entry.spec.request for entry in entries)
    return sorted(set().union(*(first.differing_fields(other) for other in others)))


def _describe(entry: Entry, fields: Sequence[str] = ("frame_size", "ensemble", "seed", "form")) -> str:
    request = entry.spec.request
    details = ", ".join(f"{field} {entry.spec.field_text(field)}" for field in fields)
    frames = f"{len(entry.spec.frame_names)} frames"
    return (
        f"{request.backbone}@{request.digest()[:8]}:{entry.spec.timestep}:{entry.spec.tap} "
        f"({entry.state}, {frames}, {details})"
    )
