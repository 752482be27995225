"""Write units of any kind: one writer at a time, frame by frame, the completion marker last."""

import contextlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, Self

from numpy.typing import NDArray

from .arrays import create_array, make_groups, open_array, write_group
from .claims import Claim, take_claim
from .durable import explain_os_errors, sync_file, sync_folder, write_atomic
from .errors import CacheError, CorruptUnitError, Hint, IncompleteUnitError
from .layout import GROUP, ArrayLayout, check_inside
from .marker import (
    FileRecord,
    Marker,
    append_journal,
    matches,
    read_journal,
    read_marker,
    record_file,
    remove_journal,
    replace_journal,
    write_marker,
)
from .removal import clear_unit, discard, remove_folder
from .stored import SpecT, read_spec


class StoredWriter(Generic[SpecT]):
    """Writes one unit, frame by frame, in any order and from any threads; use as a context manager.

    Entering claims the unit and resumes an interrupted writer: frames in the journal whose chunks still have the
    recorded checksums are `done`; all others must be written again. Frames are stored durably by `commit`, and the unit
    is complete after `finish`, which writes the marker. Leaving earlier leaves an incomplete unit, which readers refuse
    and the next writer resumes.

    Parameters
    ----------
    root
        The cache's folder.
    spec
        Description of the unit.
    overwrite
        Discard a unit that exists, complete or not.

    Raises
    ------
    ClaimedError
        When another process writes the unit.
    CacheError
        When the unit is complete already, its folder leads out of the cache, or cannot be written.
    """

    def __init__(self, root: Path, spec: SpecT, *, overwrite: bool = False) -> None:
        self.spec = spec
        self.folder = spec.folder(root)
        self._root = root
        self._overwrite = overwrite
        self._claim: Claim | None = None
        self._arrays: dict[str, Any] = {}
        self._written: dict[str, FileRecord] = {}
        self._pending: dict[str, FileRecord] = {}
        self._shared_stored = False
        self._opening = threading.Lock()  # guards the open arrays
        self._noting = threading.Lock()  # guards the pending files
        self._committing = threading.Lock()  # guards the journal

    @property
    def done(self) -> frozenset[int]:
        """Indices of the frames that are stored durably."""
        return frozenset(frame for frame in map(self.spec.layout.chunk_frame, self._written) if frame is not None)

    def __enter__(self) -> Self:
        with explain_os_errors(f"write {self.folder}"):
            check_inside(self._root, self.folder / self.spec.layout.records)
            if self._overwrite:
                # Claim first, so that no work in progress is deleted; the claim is deleted with the folder.
                with take_claim(self.folder):
                    remove_folder(self.folder)
            # Claim before the groups are created, so that no other process removes them as empty.
            self._claim = take_claim(self.folder)
            try:
                make_groups(self._root, self.spec, scratch=self.folder)
                self._resume()
            except BaseException:
                self._claim.release()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._claim is not None:
            with contextlib.suppress(OSError):
                self._claim.release()

    @property
    def pending(self) -> int:
        """Number of frames written since the last commit."""
        with self._noting:
            return len({self.spec.layout.chunk_frame(key) for key in self._pending})

    def commit(self) -> None:
        """Store the frames written since the last commit durably, and enter them in the journal."""
        with self._committing:
            with self._noting:  # frames that other threads write after this belong to the next commit
                records, self._pending = self._pending, {}
            layout = self.spec.layout
            missing = layout.shared - self._written.keys()
            if not records and not (missing and self._shared_stored and not layout.frame_arrays):
                return
            with explain_os_errors(f"write {self.folder}"):
                records |= {key: self._sync_chunk(key) for key in sorted(missing)}
                for array in layout.arrays:
                    sync_folder(self.folder / array.chunks)
                    sync_folder(self.folder / array.name)
                sync_folder(self.folder)
                self._held().check()
                append_journal(self.folder, records)
            self._written |= records

    def finish(self, run: Mapping[str, Any]) -> None:
        """Complete the unit.

        Parameters
        ----------
        run
            The run record (host, versions, device, timings); stored beside the arrays, not listed by the marker.

        Raises
        ------
        IncompleteUnitError
            When frames, or arrays that all frames share, are missing.
        """
        self.commit()
        layout = self.spec.layout
        missing = sorted(set(range(self.spec.frame_count)) - self.done)
        if missing:
            raise IncompleteUnitError(f"{self.spec.label} lacks {len(missing)} frames, the first is {missing[0]}")
        if not self._written.keys() >= layout.shared:
            raise IncompleteUnitError(f"{self.spec.label} lacks its arrays")
        with explain_os_errors(f"write {self.folder}"):
            files = {GROUP: record_file(self.folder / GROUP)} | self._written
            metadata = {key: (self.folder / key).read_text("utf-8") for key in {GROUP, *layout.metadata}}
            self._held().check()
            record = json.dumps(dict(run), indent=1).encode() + b"\n"
            discard(self.folder / layout.records / "run.json")
            write_atomic(self.folder / layout.records / "run.json", record)
            write_marker(self.folder, Marker(digest=self.spec.digest(), files=files, metadata=metadata))
            remove_journal(self.folder)

    def _held(self) -> Claim:
        if self._claim is None:
            raise CacheError(f"{self.folder}: the writer must be entered (`with`) before it is used")
        return self._claim

    def _resume(self) -> None:
        """Refuse a complete unit, resume an incomplete one."""
        with contextlib.suppress(IncompleteUnitError):
            read_marker(self.folder)
            raise CacheError(f"{self.spec.label} is complete already", hint=Hint("overwrite"))
        if not self._is_ours():
            # Delete before the description is written: a crash must not leave another unit's journal beside it.
            replace_journal(self.folder, {})
        write_group(self.folder, {"ted": self.spec.to_json()}, replace=True)
        self._written = self._find_written()
        if self._written:
            replace_journal(self.folder, self._written)
        else:
            remove_journal(self.folder)
            for key in self.spec.layout.shared:
                discard(self.folder / key)
        clear_unit(self.folder, keep={GROUP, *self._written})

    def _find_written(self) -> dict[str, FileRecord]:
        """Return the journal's intact files: those that all frames share, and those of frames with all chunks."""
        layout, journal = self.spec.layout, read_journal(self.folder)
        whole = {key: record for key, record in journal.items() if matches(self.folder / key, record)}
        # Without the arrays' metadata and the shared arrays, no chunk can be decoded.
        if not whole.keys() >= layout.shared:
            return {}
        frames = (frame for frame in map(layout.chunk_frame, whole) if frame is not None)
        done = {frame for frame in frames if whole.keys() >= set(layout.chunk_keys(frame))}
        return {key: record for key, record in whole.items() if key in layout.shared or layout.chunk_frame(key) in done}

    def _is_ours(self) -> bool:
        """Tell from its description whether the folder holds this unit, since folders can be renamed and copied."""
        try:
            there = read_spec(self.folder, type(self.spec))
        except CorruptUnitError:
            return False
        if there.folder(self._root) != self.folder:
            return False
        # The folder's name has eight characters of the digest; another unit's digest may begin with the same.
        if there.digest() != self.spec.digest():
            raise CacheError(
                f"{self.folder} holds another request whose digest begins with the same eight characters",
                hint=Hint("separate"),
            )
        return self._can_resume(there)

    def _can_resume(self, there: SpecT) -> bool:
        """Tell whether frames written under this description, which has the same digest, can be used."""
        return True

    def _check_frame(self, frame: int) -> None:
        if not 0 <= frame < self.spec.frame_count:
            raise CacheError(f"{self.spec.label} has {self.spec.frame_count} frames; there is no frame {frame}")

    def _array(self, layout: ArrayLayout, shape: tuple[int, ...]) -> Any:
        """Open an array, or create it; `shape` is that of a frame, or of the whole array if it is shared."""
        with self._opening:
            if layout.name not in self._arrays:
                with explain_os_errors(f"write {self.folder}"):
                    if layout.metadata in self._written:
                        array = open_array(self.folder, layout)
                    else:
                        whole = (self.spec.frame_count, *shape) if layout.per_frame else shape
                        array = create_array(self.folder, layout, whole)
                self._arrays[layout.name] = array
            return self._arrays[layout.name]

    def _store(self, frame: int, values: Mapping[str, NDArray[Any]]) -> None:
        """Write a frame's values, by array name; they are pending until the next commit."""
        records = {}
        for layout in self.spec.layout.frame_arrays:
            stored = values[layout.name]
            with explain_os_errors(f"write {self.folder}"):
                self._held().check()
                self._array(layout, stored.shape)[frame] = stored
                key = layout.chunk_key(frame)
                records[key] = self._sync_chunk(key)
        with self._noting:
            self._pending |= records

    def _store_shared(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Write the arrays that all frames share; the next commit enters them in the journal."""
        for layout in self.spec.layout.shared_arrays:
            with explain_os_errors(f"write {self.folder}"):
                self._held().check()
                self._array(layout, values[layout.name].shape)[...] = values[layout.name]
        self._shared_stored = True

    def _read_shared(self) -> dict[str, NDArray[Any]]:
        """Return the shared arrays that an interrupted writer has left; empty if there are none."""
        if not self._written.keys() >= self.spec.layout.shared:
            return {}
        with explain_os_errors(f"read {self.folder}"):
            return {layout.name: self._array(layout, ())[...] for layout in self.spec.layout.shared_arrays}

    def _sync_chunk(self, key: str) -> FileRecord:
        """Sync a file and the folders created for it; return its record."""
        path = self.folder / key
        record = record_file(path)
        sync_file(path)
        # Sync all folders below c in <array>/c/<frame>/0/0.
        for folder in list(path.relative_to(self.folder).parents)[:-3]:
            sync_folder(self.folder / folder)
        return record
