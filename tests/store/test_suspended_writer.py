"""A suspended writer whose claim another process has taken over."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from ted.store import Cache, verify_unit
from ted.store.claims import STALE_AFTER_S

from .claim_inputs import NAME, age
from .test_writer import tree
from .unit_inputs import make_spec

FROZEN = """
import socket, sys
from pathlib import Path
import numpy as np
socket.gethostname = lambda: "elsewhere"
from ted.store import heartbeat, open_cache
from ted.store.errors import ClaimedError
from tests.store.unit_inputs import make_spec

heartbeat.HEARTBEAT_S = 0.02
with open_cache(Path(sys.argv[1])).writer(make_spec()) as writer:
    writer.write(0, np.zeros((3, 4, 6)))
    writer.commit()
    print("ready", flush=True)
    sys.stdin.readline()
    all_frames = {f"features/c/{frame}/0/0/0": None for frame in range(5)}
    for step in (
        lambda: writer.write(1, np.zeros((3, 4, 6))),
        lambda: (writer._pending.update(dict(writer._written)), writer.commit()),
        lambda: (writer._pending.clear(), writer._written.update(all_frames), writer.finish({})),
    ):
        try:
            step()
        except ClaimedError as error:
            print(error, flush=True)
"""


def test_a_process_that_was_suspended_notices_and_writes_nothing(cache: Cache) -> None:
    """The writer writes neither a frame, nor a journal entry, nor the marker."""
    cache.root.mkdir()
    spec, values = make_spec(), np.ones((5, 3, 4, 6), np.float16)
    with subprocess.Popen(
        [sys.executable, "-c", FROZEN, str(cache.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        age(spec.folder(cache.root) / NAME, STALE_AFTER_S + 10)
        with cache.writer(spec) as writer:
            assert writer.done == {0}
            writer.write(1, values[1])
            writer.commit()
            before = tree(cache.root)
            process.stdin.write("go on\n")
            process.stdin.flush()
            process.send_signal(signal.SIGCONT)
            for _ in range(3):
                assert f"process {os.getpid()} on " in process.stdout.readline()
            assert process.wait(120) == 0
            assert tree(cache.root) == before
            for frame in (2, 3, 4):
                writer.write(frame, values[frame])
            writer.finish({})
    assert verify_unit(spec.folder(cache.root)).state == "ok"
