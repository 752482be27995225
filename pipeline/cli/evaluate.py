"""``ted evaluate``."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import CONTEXT, LocalPath, config_option, json_option, open_videos, source_options

if TYPE_CHECKING:
    from ..datasets.video import Video


_Scorer = Callable[[list[Any], Path, str], tuple[dict[str, Any], list[str]]]


@click.command(context_settings=CONTEXT)
@source_options
@click.option("--results", type=LocalPath(), default="results", help="Folder of results.")
@click.option(
    "--boxes",
    is_flag=True,
    help="Score the boxes around masks, instead of the masks. Results that are boxes are scored so anyway.",
)
@json_option
@config_option
def evaluate(results: Path, boxes: bool, as_json: bool, **choice: Any) -> None:
    """Score results against the ground truth of SOURCE.

    As the official DAVIS-2017 evaluation does (also MOSE and Kubric); on YouTube-VOS each object in the frames that
    meta.json lists, but for the first, in which it is given; on VIP the mean IoU of parts. Prints the scores, and
    writes them as tables into the folder of results: for J&F the two official ones, global_results-SET.csv and
    per-sequence_results-SET.csv, for VIP parts_results-SET.csv and per-video_results-SET.csv. On JHMDB it is PCK
    (pck_per-joint.csv, pck_per-video.csv), on TAP-Vid its measures (tapvid_first.csv, tapvid_strided.csv). Boxes are
    scored by their IoU, and success and precision as OTB and LaSOT have them (boxes_results-SET.csv): against the boxes
    around the masks of a dataset, or those that --annotations names.
    """
    from ...store.errors import ConfigError
    from ..runs.propagating.propagation import result_folder
    from ..runs.result_folders import check_result
    from .evaluate_boxes import are_boxes

    if not results.is_dir():
        raise ConfigError(
            f"there are no results at {results}; `ted propagate` makes them, or name others with --results"
        )
    videos = open_videos(**choice)
    if boxes and any(video.scoring in ("pck", "tapvid") for video in videos):
        raise ConfigError("--boxes is for results of masks and boxes: leave it out for joints and points")
    for video in videos:
        check_result(result_folder(results, video))
    scorers = {_scorer(video) for video in videos}
    if boxes or (scorers <= {_masks, _parts} and are_boxes(videos, results)):
        scorers = {_boxes}
    if len(scorers) > 1:
        raise ConfigError("different measures do not go into one table: evaluate the sources one by one")
    values, lines = scorers.pop()(videos, results, choice["set_name"] or "val")
    click.echo(json.dumps(_without_nan(values), indent=1) if as_json else "\n".join(lines))


def _scorer(video: "Video") -> _Scorer:
    """Return what scores videos that are scored like this one: the values, and lines that show them."""
    from .evaluate_points import score_joints, score_tracks

    scorers: dict[str, _Scorer] = {"parts": _parts, "pck": score_joints, "tapvid": score_tracks}
    scorers |= {"boxes": _boxes, "none": _nothing}
    return scorers.get(video.scoring, _masks)


def _masks(videos: list["Video"], results: Path, set_name: str) -> tuple[dict[str, Any], list[str]]:
    """Score J&F: the values, and lines that show them."""
    from tqdm import tqdm

    from ..runs.propagating.propagation import result_folder
    from ..tasks.masks.davis import DavisScore, score_sequence, write_csv

    scored = tuple(
        score_sequence(video.name, video.annotations(), result_folder(results, video), video.scored_frames())
        for video in tqdm(videos, unit="video", disable=None)
    )
    score = DavisScore(sequences=scored)
    tables = write_csv(score, results, set_name)
    lines = _table(
        ("object", "J-Mean", "F-Mean"),
        [(f"{item.name}_{thing.object_id}", thing.j.mean, thing.f.mean) for item in scored for thing in item.objects],
    )
    lines.append("  ".join(f"{name} {value:.3f}" for name, value in score.means.items()))
    lines.append(f"tables: {tables[0]} {tables[1]}")
    return {"means": score.means, "sequences": [dataclasses.asdict(item) for item in scored]}, lines


def _parts(videos: list["Video"], results: Path, set_name: str) -> tuple[dict[str, Any], list[str]]:
    """Score the IoU of parts: the values, and lines that show them."""
    from tqdm import tqdm

    from ..metrics.parts import PartsScore, score_parts, write_parts
    from ..runs.propagating.propagation import result_folder

    score = PartsScore(
        counts={
            video.name: score_parts(video.name, video.annotations(), result_folder(results, video))
            for video in tqdm(videos, unit="video", disable=None)
        }
    )
    tables = write_parts(score, results, set_name)
    lines = _table(("video", "mIoU"), score.by_video.items())
    lines += ["", *_table(("class", "IoU"), score.by_class.items())]
    lines += [f"mIoU {score.mean:.3f}", f"tables: {tables[0]} {tables[1]}"]
    return {"mIoU": score.mean, "classes": score.by_class, "videos": score.by_video}, lines


def _boxes(videos: list["Video"], results: Path, set_name: str) -> tuple[dict[str, Any], list[str]]:
    """Score boxes: the values, and lines that show them."""
    from .evaluate_boxes import score_boxes

    values, (header, *rows) = score_boxes(videos, results, set_name)
    return values, [*_table(header, rows), f"table: {values['table']}"]


def _nothing(videos: list["Video"], _results: Path, _set_name: str) -> tuple[dict[str, Any], list[str]]:
    """Refuse to score points that a user gave."""
    from ...store.errors import ConfigError

    raise ConfigError(
        f"there is no measure for the points of video {videos[0].name!r}: boxes of one's own are scored, and points of "
        "TAP-Vid"
    )


def _table(header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> list[str]:
    """Return a table's lines: a column of names, and columns of numbers as wide as their titles."""
    lines = [header, *((name, *(f"{value:.3f}" for value in values)) for name, *values in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join([name.ljust(widths[0]), *(text.rjust(width) for text, width in zip(texts, widths[1:], strict=True))])
        for name, *texts in lines
    ]


def _without_nan(value: Any) -> Any:
    """Replace what is not a number (the decay of very long videos, a part that does not occur): JSON knows no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
