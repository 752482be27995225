"""Verify units against their markers, prepare damaged units for repair, and tidy complete units."""

import contextlib
import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .artifacts.registry import kind_at, layout_at
from .claims import take_claim
from .durable import NO_FILE, PARTIAL_SUFFIX, explain_os_errors, read_regular, write_atomic
from .errors import CacheError, ClaimedError, IncompleteUnitError
from .layout import GROUP, check_inside
from .marker import Marker, checksum, matches, read_marker, remove_journal, remove_marker, replace_journal
from .removal import discard, find_strays
from .request import UnitSpec, check_codec
from .stored import StoredUnit

# The records of a complete unit.
_LASTING = frozenset({"complete.json", "run.json"})


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Result of verifying one unit.

    Attributes
    ----------
    folder
        The unit's folder.
    state
        ``"ok"``, ``"incomplete"`` or ``"damaged"``.
    problems
        One sentence for each damaged, missing or unexpected file; empty when the state is ``"ok"``.
    """

    folder: Path
    state: str
    problems: tuple[str, ...] = ()


def open_unit(folder: Path) -> StoredUnit[Any]:
    """Open a complete unit of any kind for reading."""
    unit_type: Any = kind_at(folder).unit_type  # its constructor takes only the folder
    unit: StoredUnit[Any] = unit_type(folder)
    return unit


def verify_unit(folder: Path) -> Verdict:
    """Read a whole unit and compare it with its marker.

    Reads every byte: at the speed of the disk, or 2 GB/s of SHA-256, whichever is slower.
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
    """Make a complete but damaged unit incomplete, so that the next writer redoes only the damaged frames.

    The marker's checksums become the journal, and the marker is deleted. Damaged metadata are restored from the marker.
    Markers of earlier versions contain no metadata: in that case a damaged description is deleted, and the next writer
    starts over.

    Raises
    ------
    SchemaError
        When it has a newer format, or an unknown codec or kind, which this version could not write again.
    CorruptUnitError
        When the marker itself is damaged, so that intact files are unknown.
    ClaimedError, CacheError
        When it is being written, lies behind a link, or the disk fails.
    """
    kind = kind_at(unit)
    if kind.name == UnitSpec.kind:
        check_codec(unit.name, unit)
    layout = kind.layout_at(unit)
    with explain_os_errors(f"repair {unit}"):
        _check_no_link(unit / layout.records)
        with take_claim(unit):
            marker = read_marker(unit)
            for key in {GROUP, *layout.metadata}:
                if key in marker.files and matches(unit / key, marker.files[key]):
                    continue
                discard(unit / key)
                text = marker.metadata.get(key, "").encode("utf-8", "replace")
                if key in marker.files and checksum(text) == marker.files[key].sha256:
                    (unit / key).parent.mkdir(exist_ok=True)
                    write_atomic(unit / key, text)
            replace_journal(unit, marker.files)
            remove_marker(unit)


def tidy_unit(unit: Path) -> None:
    """Delete the journal, claim and temporary files of a writer that was killed after it had written the marker.

    Units that another process has claimed, or that lie behind a link, are left alone.
    """
    records = unit / layout_at(unit).records
    with explain_os_errors(f"tidy {unit}"), contextlib.suppress(ClaimedError, IncompleteUnitError, FileNotFoundError):
        if all(path.name in _LASTING for path in records.iterdir()):
            return
        try:
            _check_no_link(records)
        except CacheError:
            return
        with take_claim(unit):
            read_marker(unit)
            remove_journal(unit)
            for leftover in records.glob(f".*{PARTIAL_SUFFIX}"):
                leftover.unlink(missing_ok=True)


def looks_whole(folder: Path, marker: Marker) -> bool:
    """Tell whether all files that the marker lists exist with the right size, without reading them."""
    try:
        return all((folder / key).stat().st_size == record.bytes for key, record in marker.files.items())
    except OSError:
        return False


def _check_no_link(records: Path) -> None:
    """Raise CacheError if a unit's records are reached through a link below the cache's folder."""
    video = next((folder for folder in records.absolute().parents if folder.name.endswith(".zarr")), None)
    if video is not None:
        check_inside(video.parent.parent, records.absolute())


def _check_file(folder: Path, key: str, marker: Marker) -> str | None:
    promised = marker.files[key]
    try:
        size = (folder / key).stat().st_size
        data = read_regular(folder / key, promised.bytes)
    except OSError as error:
        if error.errno == errno.EFBIG:
            return f"{key} has {size} bytes instead of {promised.bytes}"
        return f"{key}: {error.strerror if error.errno not in NO_FILE else 'not a regular file'}"
    if len(data) != promised.bytes:
        return f"{key} has {len(data)} bytes instead of {promised.bytes}"
    return None if checksum(data) == promised.sha256 else f"{key} has another checksum than was written"
