"""``ted cache copy`` and ``ted cache merge``: combine caches."""

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..choices.hints import explain
from .cache_units import select_folders, unit_filters
from .options import CONTEXT, LocalFolder, cache_option, json_option

if TYPE_CHECKING:
    from ...store import Transfer

__all__ = ["copy", "merge"]

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


def _transfer_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        json_option,
        click.option("--dry-run", is_flag=True, help="Only print which units would be copied, and the free space."),
        unit_filters,
        cache_option,
    ):
        function = option(function)
    return function


@click.command(context_settings=CONTEXT)
@click.argument("destination", type=LocalFolder())
@_transfer_options
def copy(destination: Path, cache: Path, dry_run: bool, as_json: bool, **filters: Any) -> None:
    """Copy complete units of the cache (--cache) into the cache at DESTINATION, which is made if absent.

    Each file is verified while it is copied, and each unit appears at once, whole. Units that DESTINATION has are
    skipped, so the same command resumes an interrupted copy. Incomplete and damaged units there are replaced, complete
    ones never. Incomplete units are not copied. If a unit is damaged or cannot be copied, the others are copied all
    the same, and the exit code is 1.
    """
    _transfer([cache], destination, filters, dry_run=dry_run, as_json=as_json)


@click.command(context_settings=CONTEXT)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=LocalFolder())
@_transfer_options
def merge(sources: tuple[Path, ...], cache: Path, dry_run: bool, as_json: bool, **filters: Any) -> None:
    """Copy the complete units of one or several SOURCE caches into the cache (--cache), which is made if absent.

    This is `ted cache copy` in the other direction, for caches that jobs have left on the disks of their nodes.
    """
    _transfer(sources, cache, filters, dry_run=dry_run, as_json=as_json)


def _transfer(
    sources: Sequence[Path], destination: Path, filters: dict[str, Any], *, dry_run: bool, as_json: bool
) -> None:
    from tqdm import tqdm

    from ...store import copy_unit, open_cache, printable
    from ...store.errors import CacheError, ConfigError

    for source in sources:
        if source.resolve() == destination.resolve():
            raise ConfigError(f"{source} is source and destination at once; name two caches")
    root = open_cache(destination, create=True).root
    folders = [folder for source in sources for folder in select_folders(source, **filters)]
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
    _report(plan, root, as_json)
    for item in plan:
        if item.problem:
            click.echo(f"Error: {printable(item.label)}: {explain(item.problem)}", err=True)
    if full:
        click.echo(f"Error: {full}", err=True)
    if full or any(item.problem for item in plan):
        sys.exit(1)


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


def _report(items: Sequence["Transfer"], root: Path, as_json: bool) -> None:
    from ...store import printable

    existing = next(folder for folder in [root.absolute(), *root.absolute().parents] if folder.is_dir())
    free = shutil.disk_usage(existing).free
    moved = sum(item.bytes for item in items if item.state in ("copied", "wanted"))
    if as_json:
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
        click.echo(json.dumps({"units": rows, "bytes": moved, "disk_free": free}, indent=1))
        return
    for item in items:
        click.echo(printable(f"{item.state:<10} {item.bytes / 1e6:>10.1f} MB  {item.label}"))
    states = [item.state for item in items]
    counts = [f"{states.count(state)} {words}" for state, words in _STATES.items() if state in states]
    summary = ", ".join(counts) or "no units"
    click.echo(f"{summary}; {moved / 1e9:.3f} GB, {free / 1e9:.1f} GB free; cache: {root}")
