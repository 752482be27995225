"""Write a file whole or not at all."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...store.durable import explain_os_errors, sync_file, sync_folder


@contextmanager
def written_whole(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the same folder, created if absent; it gets the final name when the block succeeds.

    The temporary path has the same suffix, from which some libraries choose the format. The file is removed on failure.
    With `sync`, it is forced to the disk before it gets its name; an `atomic_folder` does that itself. Raises
    CacheError when the operating system refuses: a full disk, a folder that may not be written to.
    """
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}{path.suffix}")
    with explain_os_errors(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if sync:
                sync_file(temporary)
            temporary.replace(path)
            if sync:
                sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
