"""Writing a unit: frames in, one writer at a time, the completion marker last."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.core.array_spec import ArrayConfigParams

from .claims import Claim, take_claim
from .durable import PARTIAL_SUFFIX, explain_os_errors, sync_file, sync_folder, write_atomic
from .errors import CacheError, CorruptUnitError, IncompleteUnitError
from .journal import append_journal, read_journal, remove_journal, replace_journal
from .layout import ARRAY, FEATURES, GROUP, RECORDS, SCHEMA_VERSION, chunk_frame, chunk_key, video_folder
from .marker import FileRecord, Marker, matches, read_marker, record_file, write_marker
from .removal import clear_folder, remove_folder
from .request import UnitSpec
from .unit import read_spec

__all__ = ["UnitWriter"]

_RUN = f"{RECORDS}/run.json"


class UnitWriter:
    """Writes one unit, frame by frame, in any order; use as a context manager.

    On entering it claims the unit and takes up what an interrupted writer left: frames in the journal whose chunks
    still have their recorded checksum are `done`, everything else is written anew. Frames count once `commit` has put
    them on the disk, the unit once `finish` has written its marker. Leaving early leaves an incomplete unit, which
    readers refuse and the next writer resumes.

    Parameters
    ----------
    root
        The cache's folder.
    spec
        What is written.
    overwrite
        Discard whatever is there, complete or not.

    Raises
    ------
    ClaimedError
        When another process writes the unit.
    CacheError
        When the unit is complete already, or the folder cannot be written.
    """

    def __init__(self, root: Path, spec: UnitSpec, *, overwrite: bool = False) -> None:
        self.spec = spec
        self.folder = spec.folder(root)
        self._root = root
        self._overwrite = overwrite
        self._claim: Claim | None = None
        self._array: Any = None
        self._written: dict[str, FileRecord] = {}
        self._pending: list[int] = []

    @property
    def done(self) -> frozenset[int]:
        """Frames that are written, durably."""
        return frozenset(frame for frame in map(chunk_frame, self._written) if frame is not None)

    def __enter__(self) -> "UnitWriter":
        with explain_os_errors(f"write {self.folder}"):
            if self._overwrite:
                # The claim comes first, so that nobody else's work in progress is thrown away; it goes with the folder.
                take_claim(self.folder)
                remove_folder(self.folder)
            # Claimed before its groups are made: the claim keeps them from being removed as empty.
            self._claim = take_claim(self.folder)
            try:
                self._make_groups()
                self._take_up()
            except BaseException:
                self._claim.release()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._claim is not None:
            with contextlib.suppress(OSError):
                self._claim.release()

    def write(self, frame: int, features: NDArray[np.floating[Any]]) -> None:
        """Store one frame's features.

        Parameters
        ----------
        frame
            Index of the frame in the video.
        features
            (y, x, channel), any float type; stored as float16.

        Raises
        ------
        CacheError
            For features that are not finite in float16, of a wrong shape, or on a failing disk.
        """
        if not 0 <= frame < len(self.spec.frame_names):
            raise CacheError(f"{self.spec.label} has {len(self.spec.frame_names)} frames; there is no frame {frame}")
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(features, dtype=np.float16)
        if not np.isfinite(stored).all():
            bad = "NaN" if np.isnan(features).any() else "values too large for float16 (65504), or infinite"
            raise CacheError(
                f"frame {frame} of {self.spec.label} has {bad} among its features; nothing of it was stored. "
                "Check what they come from: the weights, or too low a precision (--dtype float32 is the safest)"
            )
        if self._array is None:
            self._array = self._open_array(stored.shape)
        if stored.shape != self._array.shape[1:]:
            raise CacheError(
                f"frame {frame} of {self.spec.label} has features of shape {stored.shape}, "
                f"the unit's are {self._array.shape[1:]}"
            )
        with explain_os_errors(f"write {self.folder}"):
            self._array[frame] = stored
        self._pending.append(frame)

    def commit(self) -> None:
        """Put the frames written since the last commit on the disk and enter them in the journal."""
        if not self._pending:
            return
        with explain_os_errors(f"write {self.folder}"):
            records = {chunk_key(frame): self._sync_chunk(frame) for frame in self._pending}
            if ARRAY not in self._written:
                records[ARRAY] = record_file(self.folder / ARRAY)
                sync_file(self.folder / ARRAY)
            sync_folder(self.folder / FEATURES / "c")
            sync_folder(self.folder / FEATURES)
            self._held().check()
            append_journal(self.folder, records)
        self._written |= records
        self._pending = []

    def finish(self, run: Mapping[str, Any]) -> None:
        """Complete the unit.

        Parameters
        ----------
        run
            The run record (host, versions, device, timings): kept beside the features, outside what is promised.

        Raises
        ------
        IncompleteUnitError
            When frames are missing.
        """
        self.commit()
        missing = sorted(set(range(len(self.spec.frame_names))) - self.done)
        if missing:
            raise IncompleteUnitError(f"{self.spec.label} lacks {len(missing)} frames, the first is {missing[0]}")
        with explain_os_errors(f"write {self.folder}"):
            files = {GROUP: record_file(self.folder / GROUP)} | self._written
            self._held().check()
            write_atomic(self.folder / _RUN, json.dumps(dict(run), indent=1).encode() + b"\n")
            write_marker(self.folder, Marker(digest=self.spec.request.digest(), files=files))
            remove_journal(self.folder)

    def _held(self) -> Claim:
        if self._claim is None:
            raise CacheError(f"{self.folder}: the writer must be entered (`with`) before it is used")
        return self._claim

    def _make_groups(self) -> None:
        """Create the groups down to the unit. Their content is fixed: to lose a race to create one is success."""
        video = video_folder(self._root, self.spec.dataset, self.spec.request.video)
        origin = {"schema_version": SCHEMA_VERSION, "dataset": self.spec.dataset, "video": self.spec.request.video}
        _write_group(video, {"ted": origin})
        for group in list(self.folder.relative_to(video).parents)[:-1]:
            _write_group(video / group, {})
            sync_folder(video / group)
        for folder in (video, video.parent, self._root):
            sync_folder(folder)

    def _take_up(self) -> None:
        """Find what is there: refuse a complete unit, resume an incomplete one."""
        with contextlib.suppress(IncompleteUnitError):
            read_marker(self.folder)
            raise CacheError(f"{self.spec.label} is complete already; use --overwrite to make it again")
        ours = self._is_ours()
        _write_group(self.folder, {"ted": self.spec.to_json()}, replace=True)
        for leftover in self.folder.rglob(f"*{PARTIAL_SUFFIX}"):
            leftover.unlink()
        found = read_journal(self.folder) if ours else {}
        whole = {key: record for key, record in found.items() if matches(self.folder / key, record)}
        # Without the array's own metadata no chunk means anything.
        self._written = whole if ARRAY in whole else {}
        if self._written:
            replace_journal(self.folder, self._written)
        else:
            remove_journal(self.folder)
            (self.folder / ARRAY).unlink(missing_ok=True)
        clear_folder(self.folder / FEATURES / "c", keep={self.folder / key for key in self._written})

    def _is_ours(self) -> bool:
        """Tell whether what is there is of this unit, by its description: folders can be renamed and copied."""
        try:
            there = read_spec(self.folder)
        except CorruptUnitError:
            return False
        if there.folder(self._root) != self.folder:
            return False
        # The folder's name has eight characters of the digest; they may be another request's too.
        if there.request.digest() != self.spec.request.digest():
            raise CacheError(
                f"{self.folder} holds another request whose digest begins with the same eight characters; "
                "use another --seed, or another cache"
            )
        return True

    def _open_array(self, shape: tuple[int, ...]) -> Any:
        """Open the features array, or create it for frames of this shape (y, x, channel)."""
        path = self.folder / FEATURES
        # write_empty_chunks is not persisted: without it a frame of fill values would vanish, so each open passes it.
        config: ArrayConfigParams = {"write_empty_chunks": True}
        with explain_os_errors(f"write {self.folder}"):
            if ARRAY in self._written:
                return zarr.open_array(str(path), mode="r+", zarr_format=3, config=config)
            return zarr.create_array(
                store=str(path),
                shape=(len(self.spec.frame_names), *shape),
                chunks=(1, *shape),
                dtype="float16",
                fill_value=float("nan"),
                filters=None,
                serializer=BytesCodec(endian="little"),
                compressors=[Crc32cCodec()],
                dimension_names=("frame", "y", "x", "channel"),
                zarr_format=3,
                config=config,
            )

    def _sync_chunk(self, frame: int) -> FileRecord:
        """Put a chunk and the folders that were made for it on the disk; return its checksum."""
        path = self.folder / chunk_key(frame)
        record = record_file(path)
        sync_file(path)
        for folder in list(path.parents)[:3]:
            sync_folder(folder)
        return record


def _write_group(folder: Path, attributes: Mapping[str, Any], *, replace: bool = False) -> None:
    path = folder / GROUP
    content = {"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"}
    if replace or not path.is_file():
        write_atomic(path, json.dumps(content, indent=2).encode())
