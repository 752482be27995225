"""Who writes a unit: a claim file that one process holds, and that outlives a crash without blocking the next."""

import json
import os
import socket
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from .durable import write_atomic
from .errors import ClaimedError
from .kinds import kind_of

__all__ = ["STALE_AFTER_S", "Claim", "take_claim"]

#: A claim of another host that was not renewed for so long is taken over. Writers renew it with every batch.
STALE_AFTER_S = 3600.0

_NAME = "claim.json"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A held claim.

    Attributes
    ----------
    path
        The claim file.
    token
        What the file must contain for the claim to be still ours.
    """

    path: Path
    token: str

    def check(self) -> None:
        """Renew the claim; raise ClaimedError if another process has taken it."""
        owner = _read(self.path)
        if owner is None or owner.get("token") != self.token:
            raise ClaimedError(f"another process took over {self.path.parents[2]}; this one stops writing it")
        os.utime(self.path)

    def release(self) -> None:
        """Give the claim up; does nothing when it is no longer ours."""
        owner = _read(self.path)
        if owner is not None and owner.get("token") == self.token:
            self.path.unlink(missing_ok=True)


def take_claim(unit: Path) -> Claim:
    """Claim a unit for this process.

    A claim whose process on this host is dead, or which another host has not renewed for `STALE_AFTER_S`, is taken
    over. Two processes that take over the same stale claim both replace it: the later one holds it, and the earlier
    one finds out at its next `Claim.check`. Until then both write equal bytes, each file atomically.

    Raises
    ------
    ClaimedError
        When another process holds it.
    """
    path = unit / kind_of(unit).records / _NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex
    content = json.dumps(
        {"token": token, "host": socket.gethostname(), "pid": os.getpid(), "process_start": _process_start(os.getpid())}
    ).encode()
    try:
        file = path.open("xb")
    except FileExistsError:
        try:
            alive = _is_alive(path)
        except FileNotFoundError:  # given up just now; another process may have claimed the unit since
            return take_claim(unit)
        if alive:
            owner = _read(path) or {}
            raise ClaimedError(
                f"{unit} is being written by process {owner.get('pid', '?')} on {owner.get('host', '?')}; wait for it, "
                f"or, if that process is gone, delete {path}"
            ) from None
        write_atomic(path, content)
    else:
        try:
            with file:
                file.write(content)
        except OSError:  # a full disk: an empty claim would hold up the next attempt
            path.unlink(missing_ok=True)
            raise
    return Claim(path=path, token=token)


def _read(path: Path) -> dict[str, object] | None:
    try:
        owner = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return owner if isinstance(owner, dict) else None


def _is_alive(path: Path) -> bool:
    """Tell whether the holder of a claim file may still be writing; raise FileNotFoundError if there is none."""
    owner = _read(path)
    age = time.time() - path.stat().st_mtime
    if owner is None:  # being written at this moment, or torn by a crash
        return age < 10
    if owner.get("host") != socket.gethostname():
        return age < STALE_AFTER_S
    pid = owner.get("pid")
    start = _process_start(pid) if isinstance(pid, int) else None
    return start is not None and start == owner.get("process_start")


def _process_start(pid: int) -> str | None:
    """Return when a process of this host started, so that a reused number is not taken for it; None if it is gone."""
    try:
        # After the name in parentheses (which may hold spaces) comes field 3, the state; the start time is field 22.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]  # killed, but not yet waited for by its parent
    except (FileNotFoundError, ProcessLookupError):
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:  # no /proc (macOS): the number alone must do
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "unknown"
