"""``ted cache copy`` and ``ted cache merge``: combine caches."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..choices.hints import explain
from .base import LocalFolder, answer, arg, command, fail, free_space, next_command, opt, titled
from .cache_units import UnitFilter
from .options import CACHE

if TYPE_CHECKING:
    from ...store import Transfer

# Words of the summary for each state of a unit, in its order.
_STATES = {
    "copied": "copied",
    "wanted": "to copy",
    "present": "there already",
    "kept": "there with other content, which stays",
    "incomplete": "incomplete",
    "damaged": "damaged",
    "failed": "failed",
}


_CACHE = titled("Input and output", CACHE)
_DRY_RUN = opt("Only print which units would be copied, and the free space.")


@command(json=True)
def copy(
    units: UnitFilter,
    destination: Path = arg("DESTINATION", type=LocalFolder()),
    cache: Path = _CACHE,
    dry_run: bool = _DRY_RUN,
) -> None:
    """Copy complete units of the cache (--cache) into the cache at DESTINATION, which is made if absent.

    Each file is verified while it is copied, and each unit appears at once, whole. Units that DESTINATION has are
    skipped, so the same command resumes an interrupted copy. Incomplete and damaged units there are replaced, complete
    ones never. Incomplete units are not copied. If a unit is damaged or cannot be copied, the others are copied all
    the same, and the exit code is 1.

    For example:
        ted cache copy /archive/cache --dry-run
        ted cache copy /archive/cache --video camel
        ted cache copy /archive/cache --cache cache --kind affinities
    """
    _transfer([cache], destination, units, dry_run=dry_run)


@command(json=True)
def merge(
    units: UnitFilter,
    sources: tuple[Path, ...] = arg("SOURCE...", type=LocalFolder()),
    cache: Path = _CACHE,
    dry_run: bool = _DRY_RUN,
) -> None:
    """Copy the complete units of one or several SOURCE caches into the cache (--cache), which is made if absent.

    This is `ted cache copy` in the other direction, for caches that jobs have left on the disks of their nodes.

    For example:
        ted cache merge /scratch/node1/cache /scratch/node2/cache
        ted cache merge /scratch/node1/cache --cache /archive/cache --dry-run
        ted cache merge other/cache --backbone adm
    """
    _transfer(sources, cache, units, dry_run=dry_run)


def _transfer(sources: Sequence[Path], destination: Path, units: UnitFilter, *, dry_run: bool) -> None:
    from tqdm import tqdm

    from ...store import copy_unit, open_cache, printable
    from ...store.errors import CacheError, ConfigError

    for source in sources:
        if source.resolve() == destination.resolve():
            raise ConfigError(f"{source} is source and destination at once; name two caches")
    root = open_cache(destination, create=True).root
    folders = [folder for source in sources for folder in units.folders(source)]
    plan = _plan(folders, root)
    full = None
    if not dry_run:
        done: list[Transfer] = []
        total = sum(item.bytes for item in plan if item.state == "wanted")
        with tqdm(total=total, unit="B", unit_scale=True, disable=None, dynamic_ncols=True) as bar:
            for folder in folders:
                try:
                    done.append(copy_unit(folder, root, progress=bar.update))
                except CacheError as error:  # the disk is full: the others would not fit either
                    full = explain(error)
                    break
        plan = done
    _report(plan, root, dry_run=dry_run)
    for item in plan:
        if item.problem:
            click.echo(f"Error: {printable(item.label)}: {explain(item.problem)}", err=True)
    if full:
        click.echo(f"Error: {full}", err=True)
    if full or any(item.problem for item in plan):
        fail()


def _plan(folders: Iterable[Path], root: Path) -> list["Transfer"]:
    """Plan the transfer of units; if several sources have one, the first is taken."""
    from dataclasses import replace

    from ...store import plan_transfer

    plan: list[Transfer] = []
    chosen: dict[Path, str] = {}
    for folder in folders:
        item = plan_transfer(folder, root)
        target = item.target
        if item.state == "wanted" and target is not None:
            if target in chosen:
                item = replace(item, state="present" if chosen[target] == item.content_hash else "kept")
            else:
                chosen[target] = item.content_hash
        plan.append(item)
    return plan


def _report(items: Sequence["Transfer"], root: Path, *, dry_run: bool) -> None:
    from ...store import printable

    free = free_space(root)
    moved = sum(item.bytes for item in items if item.state in ("copied", "wanted"))
    rows = [
        {
            "unit": item.label,
            "state": item.state,
            "bytes": item.bytes,
            "source": str(item.source),
            "target": None if item.target is None else str(item.target),
            "problem": item.problem and explain(item.problem),
        }
        for item in items
    ]
    states = [item.state for item in items]
    counts = [f"{states.count(state)} {words}" for state, words in _STATES.items() if state in states]
    answer(
        {"units": rows, "bytes": moved, "disk_free": free},
        *(printable(f"{item.state:<10} {item.bytes / 1e6:>10.1f} MB  {item.label}") for item in items),
        f"{', '.join(counts) or 'no units'}; {moved / 1e9:.3f} GB, {free / 1e9:.1f} GB free; cache: {root}",
        then=[next_command(dry_run=False) if dry_run else next_command("cache ls", cache=root)],
    )
