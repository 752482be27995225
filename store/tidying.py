"""Clearing away what a process that was killed at the very end of a unit has left in it."""

import contextlib
from pathlib import Path

from .claims import take_claim
from .durable import PARTIAL_SUFFIX, explain_os_errors
from .errors import ClaimedError, IncompleteUnitError
from .journal import remove_journal
from .kinds import kind_of
from .marker import read_marker

__all__ = ["tidy_unit"]

#: The records that a complete unit keeps.
_LASTING = frozenset({"complete.json", "run.json"})


def tidy_unit(unit: Path) -> None:
    """Delete the journal, the claim and the temporary files that a kill after the marker has left in a complete unit.

    They do no harm. A unit that another process is just about to leave, or to replace, is left alone.
    """
    records = unit / kind_of(unit).records
    with explain_os_errors(f"tidy {unit}"), contextlib.suppress(ClaimedError, IncompleteUnitError, FileNotFoundError):
        if all(path.name in _LASTING for path in records.iterdir()):
            return
        with take_claim(unit):
            read_marker(unit)
            remove_journal(unit)
            for leftover in records.glob(f".*{PARTIAL_SUFFIX}"):
                leftover.unlink(missing_ok=True)
