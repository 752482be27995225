"""What another process is writing: waiting for it, and taking it over should that process die."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ....extract.plan import VideoPlan
from ....extract.worker import ExtractionReport
from ....store import Cache, UnitSpec
from ....store.claims import is_claimed
from ....store.errors import ClaimedError
from ....store.tidying import tidy_unit
from .request import Share

__all__ = ["Held", "any_is_free", "complete_before", "describe_held", "split_complete"]


@dataclass(frozen=True, kw_only=True)
class Held:
    """A share that another process was found to be writing.

    Attributes
    ----------
    share, plan
        What it is.
    goals
        The units that are wanted in the end, in their form.
    error
        Says who writes it.
    """

    share: Share
    plan: VideoPlan
    goals: Sequence[UnitSpec]
    error: ClaimedError


def describe_held(held: Sequence[Held]) -> str:
    """Say in a line what is waited for."""
    names = ", ".join(item.share.name for item in held[:3]) + (", ..." if len(held) > 3 else "")
    return f"waiting for {len(held)} that other processes are at ({names}): {held[0].error}"


def split_complete(cache: Cache, held: Sequence[Held]) -> tuple[list[Held], list[Held]]:
    """Split into what is complete by now, and the rest; of who died just after completing it, nothing stays."""
    complete = [item for item in held if all(cache.state(spec) == "complete" for spec in item.goals)]
    for goal in (goal for item in complete for goal in item.goals):
        tidy_unit(goal.folder(cache.root))
    return complete, [item for item in held if item not in complete]


def any_is_free(cache: Cache, held: Sequence[Held]) -> bool:
    """Tell whether nobody is writing one of these any more."""
    return any(not any(is_claimed(folder) for folder in _folders(cache, item)) for item in held)


def _folders(cache: Cache, held: Held) -> set[Path]:
    """Return where another process may be writing: the units wanted, and those they are made from."""
    forms = {goal.form for goal in held.goals} | {goal.codec.staging().name for goal in held.goals}
    return {replace(goal, form=form).folder(cache.root) for goal in held.goals for form in forms}


def complete_before(held: Held) -> ExtractionReport:
    """Return the report on units that others have written."""
    return ExtractionReport(
        written=(),
        skipped=tuple(held.goals),
        frames_computed=0,
        batch_size=held.plan.passes.size,
        seconds=0.0,
        waited={},
    )
