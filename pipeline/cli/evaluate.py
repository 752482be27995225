"""``ted evaluate``."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ..choices.hints import explain
from .base import answer, command, fail, opt
from .options import ScoredVideos
from .report import report_command

if TYPE_CHECKING:
    from ..datasets.video import Video
    from ..tasks.base import Task


@command(json=True, config=True)
def evaluate(
    choice: ScoredVideos,
    results: Path = opt("Folder of results.", "results", title="Input and output"),
    boxes: bool = opt(
        "Score the boxes around masks, instead of the masks. Results of boxes are always scored as boxes."
    ),
    metric: Literal["mot"] | None = opt(
        "mot: score by the metrics of multi-object tracking (HOTA, MOTA, IDF1; of masks also sMOTSA).  [default for "
        "MOTChallenge and MOTS, without --boxes]"
    ),
) -> None:
    """Score results against the ground truth of SOURCE.

    Masks are scored by J&F as in the official DAVIS-2017 evaluation, also on MOSE and Kubric. On YouTube-VOS, each
    object is scored in the frames that meta.json lists, except the first, where it is annotated. VIP is scored by the
    mean IoU of parts, JHMDB by PCK, TAP-Vid by its own metrics. Boxes are scored by their IoU, and by success and
    precision as in OTB and LaSOT: against the boxes around the masks of a dataset, or those of --truth. Boxes of
    MOTChallenge and masks of MOTS are scored by HOTA, MOTA and IDF1, as TrackEval does; those of other datasets with
    --metric mot. With --truth FOLDER, masks of your own are the ground truth of all frames that propagation did not
    start from.

    The scores are printed, and written as tables into the folder of results: global_results-SET.csv and
    per-sequence_results-SET.csv for J&F, parts_results-SET.csv and per-video_results-SET.csv for VIP, pck_per-joint.csv
    and pck_per-video.csv, tapvid_first.csv or tapvid_strided.csv, boxes_results-SET.csv, mot_results-SET.csv and
    mots_results-SET.csv. A video with too little ground truth is named, and the others are scored; the exit code is 1
    then.

    For example:
        ted evaluate DAVIS --results results
        ted evaluate walk.mp4 --truth walk-masks --results results
        ted evaluate DAVIS --results results --boxes --json
        ted evaluate DAVIS --results results --metric mot
    """
    from tqdm import tqdm

    from ...store import printable
    from ...store.errors import ConfigError, FrameError
    from ..runs.result_folders import check_result, result_folder

    if not results.is_dir():
        raise ConfigError(
            f"there are no results at {results}; `ted propagate` makes them, or name others with --results"
        )
    videos = choice.open()
    task = _task(videos, results, boxes=boxes, metric=metric)
    scores: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for video in tqdm(videos, unit="video", disable=None):
        folder = result_folder(results, video)
        check_result(folder)
        try:
            scores[video.name] = task.score_video(video, folder)
        except (ConfigError, FrameError) as error:  # too little ground truth, or frames that cannot be read
            failures[video.name] = explain(error)
    if not scores:
        raise ConfigError("\n".join(failures.values()))
    evaluation = task.evaluation(scores, results, choice.set_name or "val")
    answer(
        _without_nan(evaluation.values | ({"failures": failures} if failures else {})),
        printable("\n".join(evaluation.lines), keep="\n"),
        then=[report_command(results)],
    )
    for name, reason in failures.items():
        click.echo(f"Error: {printable(name)} is not scored, and counts in no mean: {reason}", err=True)
    if failures:
        fail()


def _task(videos: "list[Video]", results: Path, *, boxes: bool, metric: str | None) -> "Task":
    """Return the task that scores all videos: that of the results, if it can score all of them."""
    from ...store.errors import ConfigError
    from ..runs.result_folders import result_folder
    from ..tasks.boxes.task import BoxTask
    from ..tasks.mot import has_mot_truth, mot_task
    from ..tasks.registry import task_of, task_of_results

    found = [task_of_results(video, result_folder(results, video)) for video in videos]
    if metric == "mot" or (not boxes and all(map(has_mot_truth, videos))):
        return mot_task(videos, boxes=boxes or any(task is not None and task.name == BoxTask.name for task in found))
    if boxes:
        task = BoxTask()
        if not all(task.accepts(video) for video in videos):
            raise ConfigError("--boxes is for results of masks and boxes: leave it out for joints and points")
        return task
    first = found[0]
    if first is not None and all(
        task is not None and task.name == first.name and first.accepts(video)
        for task, video in zip(found, videos, strict=True)
    ):
        return first
    tasks = {task.name: task for task in map(task_of, videos)}
    if len(tasks) > 1:
        raise ConfigError("the sources have different metrics, which need separate tables: evaluate them one by one")
    return tasks.popitem()[1]


def _without_nan(value: Any) -> Any:
    """Replace NaN (the decay of very long videos, a part that never occurs) by None: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
