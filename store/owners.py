"""Identity of a process, from which other processes tell whether it still runs, across containers and machines."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Key that marks owners whose claims a heartbeat renews; earlier versions did not write it.
SINCE_HEARTBEATS = "boot_id"


def this_process() -> dict[str, Any]:
    """Return the identity of this process: host, process id, start time, boot id, PID namespace.

    The host's name is not enough: several containers or hosts can share it. A process id is unique only within one boot
    of one kernel and one PID namespace.
    """
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_start": _process_start(os.getpid()),
        "boot_id": _boot_id(),
        "pid_namespace": _pid_namespace(),
    }


def is_local(owner: Mapping[str, Any]) -> bool:
    """Tell whether an owner's process id can be looked up here. Owners of earlier versions name only their host."""
    ours = {"host": socket.gethostname(), "boot_id": _boot_id(), "pid_namespace": _pid_namespace()}
    return "host" in owner and all(owner.get(key, value) == value for key, value in ours.items())


def is_running(owner: Mapping[str, Any]) -> bool:
    """Tell whether a local owner's process still runs."""
    pid = owner.get("pid")
    start = _process_start(pid) if isinstance(pid, int) else None
    return start is not None and start == owner.get("process_start")


def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # no /proc (macOS)
        return None


def _pid_namespace() -> str | None:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None


def _process_start(pid: int) -> str | None:
    """Return the start time of a process, which tells reused process ids apart; None if the process is gone."""
    try:
        # After the name in parentheses (which may hold spaces) comes field 3, the state; the start time is field 22.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]  # zombies are dead
    except (FileNotFoundError, ProcessLookupError):
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:  # no /proc (macOS): only the process id is known
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "unknown"
