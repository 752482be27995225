"""Ending by a signal."""

import signal
import sys

__all__ = ["exit_on_sigterm"]


def exit_on_sigterm() -> None:
    """Leave through the `with` blocks, which give up claims, when a batch system (or a parent) ends this process.

    Once: a second signal, such as to the whole group of processes, must not break that off.
    """

    def leave(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(143)

    signal.signal(signal.SIGTERM, leave)
