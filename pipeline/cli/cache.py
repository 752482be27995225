"""``ted cache``: ls, info, verify, rm and gc; convert, copy and merge from modules of their own."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..choices.hints import explain, hint_text, plural
from ..runs.extracting.noise_level import level_text
from .base import Group, answer, command, fail, next_command, opt, titled
from .cache_convert import convert
from .cache_copy import copy, merge
from .cache_units import UnitFilter, warn_of_unknown_kinds
from .options import CACHE

if TYPE_CHECKING:
    from .cache_units import AnyEntry


@click.group(cls=Group)
def cache() -> None:
    """List, describe, verify, convert, copy and remove the units of a cache."""


for _command in (convert, copy, merge):
    cache.add_command(_command)

_CACHE = titled("Input and output", CACHE)


@command("ls", group=cache, json=True)
def list_units(units: UnitFilter, cache: Path = _CACHE) -> None:
    """List the units, one line each, complete or not: features, affinities, then those of plug-ins.

    Features are shown with their codec and, if recorded, the signal-to-noise ratio of the network's input.

    For example:
        ted cache ls
        ted cache ls --video camel --backbone adm
        ted cache ls --kind affinities --json
    """
    from ...store import printable

    entries = units.units(cache)
    rows = [_row(entry) for entry in entries]
    lines = []
    for row in rows:
        what = row["feature"] if "feature" in row else f"{row.get('affinities') or row['artifact']} {row['summary']}"
        name = printable(f"{row['dataset']}/{row['video']} {what}")
        about = f"{row['state']:<10} {row['frames']:>6} frames {row['bytes'] / 1e6:>10.1f} MB"
        level = row.get("alpha_bar")
        lines.append(f"{about}  {row.get('form', ''):<8} {'' if level is None else level_text(level):>10}  {name}")
    if not units:
        warn_of_unknown_kinds(cache)
    complete = sum(entry.state == "complete" for entry in entries)
    size = sum(entry.bytes for entry in entries) / 1e9
    answer(
        rows,
        *lines,
        f"{plural(len(entries), 'unit')}, {complete} complete, {size:.3f} GB",
        then=[next_command("cache info", video=entries[0].spec.video)] if entries else [],
    )


@command(group=cache, json=True)
def info(units: UnitFilter, cache: Path = _CACHE) -> None:
    """Show how units were made.

    Print the request or the search, the noise level, the hash of the content, and the run that finished them.

    For example:
        ted cache info --video camel
        ted cache info --feature adm:51:output_blocks[7]
        ted cache info --kind affinities --json
    """
    from ...store import Unit, open_unit, printable
    from ...store.errors import UnitNotFoundError

    entries = units.units(cache)
    if not entries:
        raise UnitNotFoundError(f"no unit in {cache} fits; `ted cache ls` lists what there is")
    records = []
    for entry in entries:
        details = entry.spec.to_json() | {"folder": str(entry.folder), "state": entry.state}
        if entry.state == "complete":
            unit = open_unit(entry.folder)
            summary = {"summary": unit.spec.columns()["summary"]} if not isinstance(unit, Unit) else {}
            shape = {"shape": list(unit.shape)} if isinstance(unit, Unit) else {}
            details |= unit.provenance | shape | summary | {"bytes": entry.bytes}
        records.append(details)
    lines: list[str] = []
    for details in records:
        record = dict(details)
        if "frame_names" in record:
            names = record.pop("frame_names")
            record["frames"] = f"{len(names)} ({names[0]} to {names[-1]})" if names else "0"
        if "alpha_bar" in record:
            record["alpha_bar"] = f"{record['alpha_bar']:.6g} (signal-to-noise ratio {level_text(record['alpha_bar'])})"
        lines += [*map(printable, _lines(record)), ""]
    answer(records, *lines)


@command(group=cache, json=True)
def verify(
    units: UnitFilter,
    cache: Path = _CACHE,
    repair: bool = opt("Mark damaged units; the command that made them then redoes the damaged parts."),
) -> None:
    """Read every byte and compare it with what was written. Exit code 1 if a unit is damaged.

    Incomplete units are listed and are not damaged: the command that makes them resumes them.

    For example:
        ted cache verify
        ted cache verify --video camel
        ted cache verify --repair
    """
    from tqdm import tqdm

    from ...store import demote, kind_at, printable, verify_unit
    from ...store.errors import Hint, TedError

    verdicts = [verify_unit(folder) for folder in tqdm(units.folders(cache), unit="unit", disable=None)]
    damaged = [verdict for verdict in verdicts if verdict.state == "damaged"]
    unrepaired: list[str] = []
    for verdict in damaged if repair else ():
        try:
            demote(verdict.folder)
        except TedError as error:
            unrepaired.append(explain(error))
    whole = sum(verdict.state == "ok" for verdict in verdicts)
    answer(
        [{"folder": str(v.folder), "state": v.state, "problems": list(v.problems)} for v in verdicts],
        *(printable(f"{v.state:<10} {v.folder}: {problem}") for v in verdicts for problem in v.problems),
        f"{plural(len(verdicts), 'unit')}: {whole} ok, {len(damaged)} damaged, "
        f"{len(verdicts) - whole - len(damaged)} incomplete",
    )
    for problem in unrepaired:
        click.echo(f"Error: {problem}", err=True)
    if damaged and not repair:
        for maker in dict.fromkeys(kind_at(v.folder).layout_at(v.folder).maker for v in damaged):
            click.echo(hint_text(Hint("repair", {"maker": maker})), err=True)
    if damaged and (not repair or unrepaired):
        fail()


@command(group=cache, json=True)
def rm(units: UnitFilter, cache: Path = _CACHE, yes: bool = opt("Do not ask.", allow_from_autoenv=False)) -> None:
    """Remove units. At least one filter is needed; nothing outside of the cache, or behind a link, is touched.

    Affinities contain all that propagation needs: they can be used after their features were removed.

    For example:
        ted cache rm --video camel
        ted cache rm --backbone adm --yes
        ted cache rm --feature i2vgen-xl@3f2a:300:up_blocks[2]
    """
    from ...store import open_cache, printable
    from ...store.errors import ConfigError

    if not units:
        raise ConfigError(
            "name what to remove: --dataset, --video, --backbone, --feature, --form, --kind or --affinities"
        )
    entries = units.units(cache)
    for entry in entries:
        click.echo(printable(f"{entry.spec.label} ({entry.bytes / 1e6:.1f} MB)"), err=True)
    if entries and not yes and not click.confirm(f"remove {plural(len(entries), 'unit')}?", err=True):
        click.echo("nothing removed", err=True)
        fail()
    for entry in entries:
        open_cache(cache).remove(entry.folder)
    size = sum(entry.bytes for entry in entries)
    answer(
        {"removed": [str(entry.folder) for entry in entries], "bytes": size},
        f"{plural(len(entries), 'unit')} removed, {size / 1e6:.1f} MB",
        then=[next_command("cache ls")],
    )


@command(group=cache, json=True)
def gc(cache: Path = _CACHE, dry_run: bool = opt("Only list what would be deleted.")) -> None:
    """Delete what killed processes left behind: half deleted or half copied units, temporary files, empty groups.

    Files that a running process may be using stay, and so do units, even incomplete or damaged ones.

    For example:
        ted cache gc --dry-run
        ted cache gc
        ted cache gc --cache /scratch/cache --json
    """
    from ...store import find_leftovers, open_cache, printable, reclaim
    from ...store.errors import TedError

    root = open_cache(cache).root
    found = list(find_leftovers(root))
    failures: list[str] = []
    for leftover in found if not dry_run else ():
        try:
            reclaim(root, leftover)
        except TedError as error:
            failures.append(explain(error))
    size = sum(leftover.bytes for leftover in found)
    answer(
        {
            "leftovers": [{"path": str(item.path), "kind": item.kind, "bytes": item.bytes} for item in found],
            "bytes": size,
            "deleted": not dry_run,
        },
        *(printable(f"{item.kind:<10} {item.bytes / 1e6:>10.1f} MB  {item.path}") for item in found),
        f"{plural(len(found), 'leftover')}{' to delete' if dry_run else ' deleted'}, {size / 1e6:.1f} MB",
        then=[next_command(dry_run=False)] if dry_run and found else [],
    )
    for failure in failures:
        click.echo(f"Error: {failure}", err=True)
    if failures:
        fail()


def _row(entry: "AnyEntry") -> dict[str, Any]:
    spec = entry.spec
    return {
        "dataset": spec.dataset,
        "video": spec.video,
        "kind": spec.kind,
        **spec.columns(),
        "frames": spec.frame_count,
        "state": entry.state,
        "bytes": entry.bytes,
        "folder": str(entry.folder),
    }


def _lines(record: dict[str, Any], indent: str = "") -> list[str]:
    lines = []
    for key, value in record.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {value}")
    return lines
