"""Shares that other processes have claimed: waiting for them, and taking over those of processes that died."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ....extract.plan import VideoPlan
from ....extract.worker import ExtractionReport
from ....store import Cache, UnitSpec, is_claimed, tidy_unit
from ....store.errors import ClaimedError
from .request import Share

__all__ = ["ClaimedShare", "any_is_free", "complete_report", "describe_claimed", "split_complete"]


@dataclass(frozen=True, kw_only=True)
class ClaimedShare:
    """A share that another process is writing.

    Attributes
    ----------
    share, plan
        The share and its plan.
    goals
        The units that the run makes in the end, in their codec.
    error
        The error that names the other process.
    """

    share: Share
    plan: VideoPlan
    goals: Sequence[UnitSpec]
    error: ClaimedError


def describe_claimed(claimed: Sequence[ClaimedShare]) -> str:
    """Return a line that names the shares and one of the processes that extract them."""
    names = ", ".join(item.share.name for item in claimed[:3]) + (", ..." if len(claimed) > 3 else "")
    return f"waiting for other processes to extract {names}: {claimed[0].error}"


def split_complete(cache: Cache, claimed: Sequence[ClaimedShare]) -> tuple[list[ClaimedShare], list[ClaimedShare]]:
    """Split into complete shares and the others; also delete leftovers of processes that died after completing them."""
    complete = [item for item in claimed if all(cache.state(spec) == "complete" for spec in item.goals)]
    for goal in (goal for item in complete for goal in item.goals):
        tidy_unit(goal.folder(cache.root))
    return complete, [item for item in claimed if item not in complete]


def any_is_free(cache: Cache, claimed: Sequence[ClaimedShare]) -> bool:
    """Return whether any of the shares is no longer being written."""
    return any(not any(is_claimed(folder) for folder in _folders(cache, item)) for item in claimed)


def _folders(cache: Cache, claimed: ClaimedShare) -> set[Path]:
    """Return the folders of the wanted units and of those they are converted from."""
    codecs = {goal.form for goal in claimed.goals} | {goal.codec.staging().name for goal in claimed.goals}
    return {replace(goal, form=codec).folder(cache.root) for goal in claimed.goals for codec in codecs}


def complete_report(claimed: ClaimedShare) -> ExtractionReport:
    """Return the report of units that other processes have written."""
    return ExtractionReport(
        written=(),
        skipped=tuple(claimed.goals),
        frames_computed=0,
        batch_size=claimed.plan.passes.size,
        seconds=0.0,
        waited={},
    )
