"""``ted cache``: ls, info, verify, rm and gc; convert, copy and merge from modules of their own."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..choices.hints import explain, hint_text, plural
from ..runs.extracting.noise_level import level_text
from .cache_convert import convert
from .cache_copy import copy, merge
from .cache_units import select_folders, select_units, unit_filters, warn_of_unknown_kinds
from .options import CONTEXT, cache_option, json_option

if TYPE_CHECKING:
    from .cache_units import AnyEntry


@click.group(context_settings=CONTEXT)
def cache() -> None:
    """List, describe, verify, convert, copy and remove the units of a cache."""


cache.add_command(convert)
cache.add_command(copy)
cache.add_command(merge)


@cache.command("ls", context_settings=CONTEXT)
@cache_option
@unit_filters
@json_option
def list_units(cache: Path, as_json: bool, **chosen: Any) -> None:
    """List the units, one line each, complete or not: features, affinities, then those of plug-ins.

    Features are shown with their codec and, if recorded, the signal-to-noise ratio of the network's input.
    """
    from ...store import printable

    entries = select_units(cache, **chosen)
    if as_json:
        click.echo(json.dumps([_row(entry) for entry in entries], indent=1))
        return
    for entry in entries:
        row = _row(entry)
        what = row["feature"] if "feature" in row else f"{row.get('affinities') or row['artifact']} {row['summary']}"
        name = printable(f"{row['dataset']}/{row['video']} {what}")
        about = f"{row['state']:<10} {row['frames']:>6} frames {entry.bytes / 1e6:>10.1f} MB"
        level = row.get("alpha_bar")
        click.echo(f"{about}  {row.get('form', ''):<8} {'' if level is None else level_text(level):>10}  {name}")
    if not any(chosen.values()):
        warn_of_unknown_kinds(cache)
    complete = sum(entry.state == "complete" for entry in entries)
    size = sum(entry.bytes for entry in entries) / 1e9
    click.echo(f"{plural(len(entries), 'unit')}, {complete} complete, {size:.3f} GB")


@cache.command(context_settings=CONTEXT)
@cache_option
@unit_filters
@json_option
def info(cache: Path, as_json: bool, **chosen: Any) -> None:
    """Show how units were made.

    Print the request or the search, the noise level, the hash of the content, and the run that finished them.
    """
    from ...store import Unit, open_unit, printable
    from ...store.errors import UnitNotFoundError

    entries = select_units(cache, **chosen)
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
    if as_json:
        click.echo(json.dumps(records, indent=1))
        return
    for record in records:
        if "frame_names" in record:
            names = record.pop("frame_names")
            record["frames"] = f"{len(names)} ({names[0]} to {names[-1]})" if names else "0"
        if "alpha_bar" in record:
            record["alpha_bar"] = f"{record['alpha_bar']:.6g} (signal-to-noise ratio {level_text(record['alpha_bar'])})"
        click.echo("\n".join(map(printable, _lines(record))) + "\n")


@cache.command(context_settings=CONTEXT)
@cache_option
@unit_filters
@click.option(
    "--repair", is_flag=True, help="Mark damaged units; the command that made them then redoes the damaged parts."
)
@json_option
def verify(cache: Path, repair: bool, as_json: bool, **chosen: Any) -> None:
    """Read every byte and compare it with what was written. Exit code 1 if a unit is damaged.

    Incomplete units are listed and are not damaged: the command that makes them resumes them.
    """
    from tqdm import tqdm

    from ...store import demote, kind_at, printable, verify_unit
    from ...store.errors import Hint, TedError

    wanted = select_folders(cache, **chosen)
    verdicts = [verify_unit(folder) for folder in tqdm(wanted, unit="unit", disable=None)]
    damaged = [verdict for verdict in verdicts if verdict.state == "damaged"]
    unrepaired: list[str] = []
    if repair:
        for verdict in damaged:
            try:
                demote(verdict.folder)
            except TedError as error:
                unrepaired.append(explain(error))
    if as_json:
        rows = [{"folder": str(v.folder), "state": v.state, "problems": list(v.problems)} for v in verdicts]
        click.echo(json.dumps(rows, indent=1))
    else:
        for verdict in verdicts:
            for problem in verdict.problems:
                click.echo(printable(f"{verdict.state:<10} {verdict.folder}: {problem}"))
        whole = sum(verdict.state == "ok" for verdict in verdicts)
        click.echo(
            f"{plural(len(verdicts), 'unit')}: {whole} ok, {len(damaged)} damaged, "
            f"{len(verdicts) - whole - len(damaged)} incomplete"
        )
    for problem in unrepaired:
        click.echo(f"Error: {problem}", err=True)
    if damaged and not repair:
        for maker in dict.fromkeys(kind_at(v.folder).layout_at(v.folder).maker for v in damaged):
            click.echo(hint_text(Hint("repair", {"maker": maker})), err=True)
    if damaged and (not repair or unrepaired):
        sys.exit(1)


@cache.command(context_settings=CONTEXT)
@cache_option
@unit_filters
@click.option("--yes", is_flag=True, allow_from_autoenv=False, help="Do not ask.")
@json_option
def rm(cache: Path, yes: bool, as_json: bool, **chosen: Any) -> None:
    """Remove units. At least one filter is needed; nothing outside of the cache, or behind a link, is touched.

    Affinities contain all that propagation needs: they can be used after their features were removed.
    """
    from ...store import open_cache, printable
    from ...store.errors import ConfigError

    if not any(chosen.values()):
        raise ConfigError(
            "name what to remove: --dataset, --video, --backbone, --feature, --form, --kind or --affinities"
        )
    entries = select_units(cache, **chosen)
    for entry in entries:
        click.echo(printable(f"{entry.spec.label} ({entry.bytes / 1e6:.1f} MB)"), err=True)
    if entries and not yes and not click.confirm(f"remove {plural(len(entries), 'unit')}?", err=True):
        click.echo("nothing removed", err=True)
        sys.exit(1)
    for entry in entries:
        open_cache(cache).remove(entry.folder)
    size = sum(entry.bytes for entry in entries)
    if as_json:
        click.echo(json.dumps({"removed": [str(entry.folder) for entry in entries], "bytes": size}, indent=1))
    else:
        click.echo(f"{plural(len(entries), 'unit')} removed, {size / 1e6:.1f} MB")


@cache.command(context_settings=CONTEXT)
@cache_option
@click.option("--dry-run", is_flag=True, help="Only list what would be deleted.")
@json_option
def gc(cache: Path, dry_run: bool, as_json: bool) -> None:
    """Delete what killed processes left behind: half deleted or half copied units, temporary files, empty groups.

    Files that a running process may be using stay, and so do units, even incomplete or damaged ones.
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
    if as_json:
        rows = [{"path": str(item.path), "kind": item.kind, "bytes": item.bytes} for item in found]
        click.echo(json.dumps({"leftovers": rows, "bytes": size, "deleted": not dry_run}, indent=1))
    else:
        for item in found:
            click.echo(printable(f"{item.kind:<10} {item.bytes / 1e6:>10.1f} MB  {item.path}"))
        click.echo(f"{plural(len(found), 'leftover')}{' to delete' if dry_run else ' deleted'}, {size / 1e6:.1f} MB")
    for failure in failures:
        click.echo(f"Error: {failure}", err=True)
    if failures:
        sys.exit(1)


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
