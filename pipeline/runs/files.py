"""Writing a file so that nobody ever sees half of it."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...store.durable import explain_os_errors

__all__ = ["written_whole"]


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder (made if absent), which takes the final name when the block succeeds.

    The temporary file keeps the suffix, from which some libraries choose the format, and is removed on failure.

    Raises
    ------
    CacheError
        When the operating system refuses: a full disk, a folder that may not be written to.
    """
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}{path.suffix}")
    with explain_os_errors(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
