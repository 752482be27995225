"""``ted cache``: ls, info, verify, rm; convert, copy and merge from modules of their own."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..choices.hints import explain, hint_text
from ..runs.extracting.noise_level import level_text
from .cache_convert import convert
from .cache_copy import copy, merge
from .cache_units import select_folders, select_units, unit_filters
from .options import CONTEXT, cache_option, json_option

if TYPE_CHECKING:
    from ...store import AffinityEntry, Entry


@click.group(context_settings=CONTEXT)
def cache() -> None:
    """List, describe, verify, convert, copy and remove what the cache holds."""


cache.add_command(convert)
cache.add_command(copy)
cache.add_command(merge)


@cache.command("ls", context_settings=CONTEXT)
@cache_option
@unit_filters
@json_option
def list_units(cache: Path, as_json: bool, **chosen: Any) -> None:
    """List the units, features and then affinities: one line each, complete or not.

    Beside the form of features: the signal-to-noise ratio of what the UNet saw, where it is known.
    """
    entries = select_units(cache, **chosen)
    if as_json:
        click.echo(json.dumps([_row(entry) for entry in entries], indent=1))
        return
    for entry in entries:
        row = _row(entry)
        what = row["feature"] if "feature" in row else f"{row['affinities']} {row['summary']}"
        name = f"{row['dataset']}/{row['video']} {what}"
        about = f"{row['state']:<10} {row['frames']:>6} frames {entry.bytes / 1e6:>10.1f} MB"
        level = row.get("alpha_bar")
        click.echo(f"{about}  {row.get('form', ''):<8} {'' if level is None else level_text(level):>10}  {name}")
    complete = sum(entry.state == "complete" for entry in entries)
    click.echo(f"{len(entries)} units, {complete} complete, {sum(entry.bytes for entry in entries) / 1e9:.3f} GB")


@cache.command(context_settings=CONTEXT)
@cache_option
@unit_filters
@json_option
def info(cache: Path, as_json: bool, **chosen: Any) -> None:
    """Say how features and affinities were made.

    That is the request or the search, the noise level, the hash of the content, and the run that finished them.
    """
    from ...store import Unit
    from ...store.errors import UnitNotFoundError

    entries = select_units(cache, **chosen)
    if not entries:
        raise UnitNotFoundError(f"no unit in {cache} fits; `ted cache ls` lists what there is")
    records = []
    for entry in entries:
        details = entry.spec.to_json() | {"folder": str(entry.folder), "state": entry.state}
        if entry.state == "complete":
            unit = entry.open()
            shape = {"shape": list(unit.shape)} if isinstance(unit, Unit) else {"summary": unit.spec.summary}
            details |= unit.provenance | shape | {"bytes": entry.bytes}
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
        click.echo("\n".join(_lines(record)) + "\n")


@cache.command(context_settings=CONTEXT)
@cache_option
@unit_filters
@click.option("--repair", is_flag=True, help="Mark damaged units so that what made them redoes just what is damaged.")
@json_option
def verify(cache: Path, repair: bool, as_json: bool, **chosen: Any) -> None:
    """Read every byte and compare it with what was written. Exit code 1 when a unit is damaged.

    Incomplete units are named, and are no damage: the command that makes them resumes them.
    """
    from tqdm import tqdm

    from ...store import verify_unit
    from ...store.errors import Hint, TedError
    from ...store.integrity import demote
    from ...store.kinds import kind_of

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
                click.echo(f"{verdict.state:<10} {verdict.folder}: {problem}")
        whole = sum(verdict.state == "ok" for verdict in verdicts)
        click.echo(f"{len(verdicts)} units: {whole} ok, {len(damaged)} damaged, rest incomplete")
    for problem in unrepaired:
        click.echo(f"Error: {problem}", err=True)
    if damaged and not repair:
        for maker in dict.fromkeys(kind_of(verdict.folder).maker for verdict in damaged):
            click.echo(hint_text(Hint("repair", {"maker": maker})), err=True)
    if damaged and (not repair or unrepaired):
        sys.exit(1)


@cache.command(context_settings=CONTEXT)
@cache_option
@unit_filters
@click.option("--yes", is_flag=True, allow_from_autoenv=False, help="Do not ask.")
@json_option
def rm(cache: Path, yes: bool, as_json: bool, **chosen: Any) -> None:
    """Remove units. At least one filter is needed; nothing outside the cache is touched.

    Affinities hold all that labels are propagated with: those of removed features can still be used.
    """
    from ...store import open_cache
    from ...store.errors import ConfigError

    if not any(chosen.values()):
        raise ConfigError("name what to remove: --dataset, --video, --backbone, --feature, --form or --affinities")
    entries = select_units(cache, **chosen)
    for entry in entries:
        click.echo(f"{entry.spec.label} ({entry.bytes / 1e6:.1f} MB)", err=True)
    if entries and not yes and not click.confirm(f"remove {len(entries)} units?", err=True):
        click.echo("nothing removed", err=True)
        sys.exit(1)
    for entry in entries:
        open_cache(cache).remove(entry.folder)
    size = sum(entry.bytes for entry in entries)
    if as_json:
        click.echo(json.dumps({"removed": [str(entry.folder) for entry in entries], "bytes": size}, indent=1))
    else:
        click.echo(f"{len(entries)} units removed, {size / 1e6:.1f} MB")


def _row(entry: "Entry | AffinityEntry") -> dict[str, Any]:
    from ...store import AffinitySpec

    spec = entry.spec
    kind: dict[str, Any]
    if isinstance(spec, AffinitySpec):
        kind = {"affinities": f"affinities@{spec.digest()[:8]}", "summary": spec.summary}
    else:
        feature = f"{spec.request.backbone}@{spec.request.digest()[:8]}:{spec.timestep}:{spec.tap}"
        kind = {"feature": feature, "form": spec.form, "alpha_bar": spec.alpha_bar}
    return {
        "dataset": spec.dataset,
        "video": spec.video,
        "kind": spec.kind.name,
        **kind,
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
