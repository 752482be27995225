"""Verifying units against their markers, and preparing the repair of damaged ones."""

from dataclasses import dataclass
from pathlib import Path

from .affinity_unit import AffinityUnit
from .claims import take_claim
from .durable import explain_os_errors, write_atomic
from .errors import CacheError, IncompleteUnitError
from .journal import replace_journal
from .kinds import AFFINITIES, FEATURES, check_codec, kind_of
from .layout import GROUP
from .marker import Marker, checksum, matches, read_marker, remove_marker
from .removal import discard, find_strays
from .unit import Unit

__all__ = ["Verdict", "demote", "looks_whole", "open_unit", "verify_unit"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What verification of one unit found.

    Attributes
    ----------
    state
        ``"ok"``, ``"incomplete"`` or ``"damaged"``.
    problems
        One sentence for each damaged, missing or unexpected file; empty when the state is ``"ok"``.
    """

    folder: Path
    state: str
    problems: tuple[str, ...] = ()


def open_unit(folder: Path) -> Unit | AffinityUnit:
    """Open a complete unit of either kind for reading."""
    return AffinityUnit(folder) if kind_of(folder) is AFFINITIES else Unit(folder)


def verify_unit(folder: Path) -> Verdict:
    """Read a whole unit and compare it with its marker.

    Reads every byte: about the disk's speed, or 2 GB/s of SHA-256, whichever is slower.
    """
    try:
        marker = read_marker(folder)
    except IncompleteUnitError:
        return Verdict(folder=folder, state="incomplete", problems=("no completion marker",))
    except CacheError as error:
        return Verdict(folder=folder, state="damaged", problems=(str(error),))
    problems = [problem for key in marker.files if (problem := _check_file(folder, key, marker))]
    problems += [f"{key} is not among the unit's files" for key in sorted(find_strays(folder, marker.files.keys()))]
    if not problems:
        try:
            spec = open_unit(folder).spec
            place = spec.folder(Path()).parts
            if folder.absolute().parts[-len(place) :] != place:
                problems.append(f"it is {spec.label}, in another unit's folder")
        except CacheError as error:
            problems.append(str(error))
    return Verdict(folder=folder, state="damaged" if problems else "ok", problems=tuple(problems))


def demote(unit: Path) -> None:
    """Make a complete but damaged unit incomplete, so that the next writer redoes what is damaged and only that.

    The marker's checksums become the journal, and the marker goes. Damaged metadata are restored from the marker. Where
    it is of an earlier version and holds none, a damaged description goes, too: it cannot tell any more what the chunks
    are, and the next writer starts over.

    Raises
    ------
    SchemaError
        When it is of a newer format or an unknown form, which this version could not make again.
    CorruptUnitError
        When the marker itself is damaged: nothing says what is whole.
    ClaimedError, CacheError
        When it is being written, or the disk fails.
    """
    if kind_of(unit).name == FEATURES.name:
        check_codec(unit.name, unit)
    with explain_os_errors(f"repair {unit}"), take_claim(unit):
        marker = read_marker(unit)
        for key in {GROUP, *kind_of(unit).metadata}:
            if key in marker.files and matches(unit / key, marker.files[key]):
                continue
            discard(unit / key)
            text = marker.metadata.get(key, "").encode()
            if key in marker.files and checksum(text) == marker.files[key].sha256:
                (unit / key).parent.mkdir(exist_ok=True)
                write_atomic(unit / key, text)
        replace_journal(unit, marker.files)
        remove_marker(unit)


def looks_whole(folder: Path, marker: Marker) -> bool:
    """Tell cheaply, without reading them, whether all promised files are there in their full size."""
    try:
        return all((folder / key).stat().st_size == record.bytes for key, record in marker.files.items())
    except OSError:
        return False


def _check_file(folder: Path, key: str, marker: Marker) -> str | None:
    try:
        data = (folder / key).read_bytes()
    except OSError as error:
        return f"{key}: {error.strerror}"
    promised = marker.files[key]
    if len(data) != promised.bytes:
        return f"{key} has {len(data)} bytes instead of {promised.bytes}"
    return None if checksum(data) == promised.sha256 else f"{key} has another checksum than was written"
