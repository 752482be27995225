"""Exit on signals."""

import signal
import sys


def exit_on_signals() -> None:
    """Exit through the `with` blocks, which release claims, on SIGTERM and SIGHUP.

    A batch system or a parent process sends SIGTERM, a terminal that closes SIGHUP. The exit code is 128 plus the
    signal's number. Further signals of these kinds, such as one to the whole process group, do not disturb the exit.
    A SIGHUP that is ignored already (``nohup``) stays ignored.
    """
    handled = [signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        handled.append(signal.SIGHUP)

    def leave(number: int, *_: object) -> None:
        for each in handled:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    for each in handled:
        signal.signal(each, leave)
