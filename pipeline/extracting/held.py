"""What another process is writing: waiting for it, and taking it over should that process die."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...extract.plan import VideoPlan
from ...extract.worker import ExtractionReport
from ...store import Cache
from ...store.claims import is_claimed
from ...store.errors import ClaimedError
from ...store.tidying import tidy_unit
from .request import Share

__all__ = ["Held", "any_is_free", "complete_before", "describe_held", "split_complete"]


@dataclass(frozen=True, kw_only=True)
class Held:
    """A share that another process was found to be writing.

    Attributes
    ----------
    share, plan
        What it is.
    error
        Says who writes it.
    """

    share: Share
    plan: VideoPlan
    error: ClaimedError


def describe_held(held: Sequence[Held]) -> str:
    """Say in a line what is waited for."""
    names = ", ".join(item.share.name for item in held[:3]) + (", ..." if len(held) > 3 else "")
    return f"waiting for {len(held)} that other processes are at ({names}): {held[0].error}"


def split_complete(cache: Cache, held: Sequence[Held]) -> tuple[list[Held], list[Held]]:
    """Split into what is complete by now, and the rest; of who died just after completing it, nothing stays."""
    complete = [item for item in held if all(cache.state(spec) == "complete" for spec in item.plan.specs.values())]
    for spec in (spec for item in complete for spec in item.plan.specs.values()):
        tidy_unit(spec.folder(cache.root))
    return complete, [item for item in held if item not in complete]


def any_is_free(cache: Cache, held: Sequence[Held]) -> bool:
    """Tell whether nobody is writing one of these any more."""
    return any(not any(is_claimed(spec.folder(cache.root)) for spec in item.plan.specs.values()) for item in held)


def complete_before(plan: VideoPlan) -> ExtractionReport:
    """Return the report on units that others have written."""
    return ExtractionReport(
        written=(),
        skipped=tuple(plan.specs.values()),
        frames_computed=0,
        batch_size=plan.passes.size,
        seconds=0.0,
        waited={},
    )
