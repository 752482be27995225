"""``ted evaluate``."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import click

from .options import CONTEXT, config_option, json_option, open_videos, source_options


@click.command(context_settings=CONTEXT)
@source_options
@click.option("--results", type=click.Path(path_type=Path), default="results", help="Folder of results.")
@json_option
@config_option
def evaluate(results: Path, as_json: bool, **choice: Any) -> None:
    """Score masks against the ground truth of SOURCE, as the official DAVIS-2017 evaluation does.

    Prints J&F and writes the two official tables, global_results-SET.csv and per-sequence_results-SET.csv, into the
    folder of results.
    """
    from tqdm import tqdm

    from ...store.errors import ConfigError
    from ..metrics.davis import DavisScore, score_sequence, write_csv
    from ..propagation import result_folder

    if not results.is_dir():
        raise ConfigError(
            f"there are no results at {results}; `ted propagate` makes them, or name others with --results"
        )
    videos = open_videos(**choice)
    scored = tuple(
        score_sequence(video.name, video.annotations(), result_folder(results, video.name))
        for video in tqdm(videos, unit="video", disable=None)
    )
    score = DavisScore(sequences=scored)
    tables = write_csv(score, results, choice["set_name"])
    if as_json:
        values = {"means": score.means, "sequences": [dataclasses.asdict(item) for item in scored]}
        click.echo(json.dumps(_without_nan(values), indent=1))
        return
    width = max(len(f"{item.name}_{thing.object_id}") for item in scored for thing in item.objects)
    click.echo(f"{'object':<{width}}  J-Mean  F-Mean")
    for item in scored:
        for thing in item.objects:
            click.echo(f"{f'{item.name}_{thing.object_id}':<{width}}  {thing.j.mean:6.3f}  {thing.f.mean:6.3f}")
    click.echo("  ".join(f"{name} {value:.3f}" for name, value in score.means.items()))
    click.echo(f"tables: {tables[0]} {tables[1]}")


def _without_nan(value: Any) -> Any:
    """Replace what is not a number (the decay of very long videos) by None: JSON knows no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
