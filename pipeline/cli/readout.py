"""``ted readout``."""

import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..choices.hints import plural
from .base import Options, Tally, answer, command, next_command, opt
from .options import CACHE, ScoredVideos

if TYPE_CHECKING:
    from ...propagate.interpolation import ReadOutSettings


class ReadOutChoice(Options, title="Read-out (several values, as 0.3,0.5 or 0.3:0.7:0.1, are scored, not written)"):
    """Lists of values of settings of the read-out."""

    mode: tuple[str, ...] = opt(
        "Map of a target: propagated (self-attention times cross-attention), product (cross-attention times that), "
        "cross (cross-attention alone), self (self-attention times the label in the previous frame).  [default: "
        "propagated; self for networks without cross-attention]",
        metavar="LIST",
    )
    power: tuple[str, ...] = opt("Number of times that self-attention is applied.", ("1",), metavar="LIST")
    top_n: tuple[str, ...] = opt(
        "Largest self-attention weights of a cell that are used; all for those that are stored.",
        ("all",),
        metavar="LIST",
    )
    threshold: tuple[str, ...] = opt(
        "What belongs to a target: values above this share of the way from the map's minimum to its maximum.",
        ("0.5",),
        metavar="LIST",
    )
    scale: tuple[str, ...] = opt(
        "Minimum and maximum of each frame's map, or of the target's first annotated frame, with which a target can "
        "vanish: frame, first.",
        ("frame",),
        metavar="LIST",
    )
    place: tuple[str, ...] = opt(
        "Where a point or joint is: in the mean of the cells around the maximum (soft arg max), or in the cell of the "
        "max (arg max).",
        ("mean",),
        metavar="LIST",
    )

    def settings(self) -> list["ReadOutSettings"]:
        """Return every combination of the values; raises ConfigError for wrong ones."""
        from ...propagate.interpolation import MODES, PLACES, SCALES, ReadOutSettings
        from ..runs.sweeping.notation import parse_integers, parse_numbers

        tops = _split(self.top_n)
        values: dict[str, Any] = {
            "mode": _words("--mode", self.mode, MODES) or [None],
            "power": parse_integers("--power", self.power),
            "top_n": [*([None] if "all" in tops else []), *parse_integers("--top-n", [t for t in tops if t != "all"])],
            "threshold": parse_numbers("--threshold", self.threshold),
            "scale": _words("--scale", self.scale, SCALES),
            "place": _words("--place", self.place, PLACES),
        }
        return [ReadOutSettings(**dict(zip(values, row, strict=True))) for row in itertools.product(*values.values())]


@command(json=True, config=True)
def readout(
    choice: ScoredVideos,
    lists: ReadOutChoice,
    *,
    target: str | None = opt(
        "What to track, where SOURCE has annotations for several tasks, as for `ted propagate`.",
        metavar="TASK",
        title="Task",
    ),
    prefer: tuple[str, ...] = opt(
        "Choose between several sets of attention maps of a video: digest=1a2b3c4d, or a field of their request. "
        "Repeat.",
        metavar="FIELD=VALUE",
        title="Input and output",
    ),
    cache: Path = CACHE,
    out: Path = opt("Folder of the results.", "results"),
    refine: str | None = opt(
        "Refine results by sam or by a refiner of an installed package, as in `ted propagate`.",
        metavar="NAME[:OPTION=VALUE,...]",
    ),
    overwrite: bool = opt("Replace results of other settings."),
) -> None:
    """Read targets out of cached attention maps of pairs of frames.

    This is stage 2 of tracking by interpolation (DINTR-style); `ted interpolate` writes the maps. No network runs. The
    results are those of `ted propagate`: masks, boxes, joints or points, forward from the first annotation. With
    several values of a setting, every combination is scored against ground truth instead, and nothing is written.

    For example:
        ted readout DAVIS --out results/interpolated
        ted readout DAVIS --threshold 0.3:0.7:0.1 --power 1,2
        ted readout walk.mp4 --mask first.png --mode product --scale first
    """
    videos = choice.open(cache)
    from ...store import open_cache
    from ...store.errors import ConfigError
    from ..runs.devices import choose_device
    from ..runs.progress import FrameBars
    from ..runs.reading_out import read_out_video
    from ..tasks.refiners import get_refiner
    from ..tasks.registry import task_of

    settings, preferred = lists.settings(), [_preference(text) for text in prefer]
    source = open_cache(cache.absolute())
    if len(settings) > 1:
        if refine:
            raise ConfigError("--refine improves one result: give each setting one value")
        _score(source, videos, settings, target, preferred)
        return
    make_refiner = None if refine is None else get_refiner(refine, choose_device("auto"))
    tasks = {video.name: task_of(video, target) for video in videos}
    with FrameBars() as bars:
        tally = Tally(bars.note)
        for video in videos:
            with tally.item("video", video.name) as row:
                refiner = None if make_refiner is None else make_refiner(source, video)
                if getattr(refiner, "feedback", None):
                    raise ConfigError(f"--refine {refine}: feedback is for `ted propagate`")
                report = read_out_video(
                    source,
                    video,
                    settings[0],
                    out,
                    task=tasks[video.name],
                    refiner=refiner,
                    prefer=preferred,
                    overwrite=overwrite,
                    progress=bars.start(video.name, len(video.frames)),
                )
                row |= {"folder": str(report.folder), "frames": report.frames, "skipped": report.skipped}
                row |= {"seconds": round(report.seconds, 2), "absent": dict(report.absent)}
                if counts := {} if report.skipped else dict(getattr(refiner, "counts", {})):
                    row["refined"] = counts
                row |= {"losses": list(report.losses), "roll_out_errors": list(report.errors)}
                state = "there before" if report.skipped else f"{report.seconds:.1f} s"
                gone = [f"{name} absent in {plural(count, 'frame')}" for name, count in report.absent.items()]
                bars.note(f"{video.name}: {', '.join([plural(report.frames, 'frame'), state, *gone])}")
    and_failed = f", {tally.failures} failed" if tally.failures else ""
    done = {row["video"] for row in tally.done}
    nouns = [tasks[video.name].noun for video in videos if video.name in done]
    answer(
        {"out": str(out), "videos": tally.rows},
        f"{plural(len(done), 'video')} read out{and_failed}; results in {out}",
        then=[next_command(f"show {nouns[0]}", results=[out])] if nouns else [],
    )
    tally.finish()


def _score(source: Any, videos: Any, settings: Any, target: str | None, prefer: Any) -> None:
    """Score combinations of settings, and print them, the best first."""
    from ..runs.reading_out import score_read_outs
    from ..tasks.registry import common_task
    from ..tasks.scoring import official
    from ..tasks.tables import known_value, text_table

    task = common_task(videos, target)
    spec, scores = task.metric_spec, []
    tally = Tally(partial(click.echo, err=True))
    for video in videos:
        with tally.item("video", video.name):
            scores.append(score_read_outs(source, video, settings, task, prefer))
    if not scores:
        answer({"settings": [], "videos": tally.rows}, "no video could be scored")
        tally.finish()
        return
    means = [task.score_type.means(list(of_setting)) for of_setting in zip(*scores, strict=True)]
    ranked = sorted(zip(settings, means, strict=True), key=lambda item: spec.rank(item[1]), reverse=True)
    varied = [name for name in settings[0].to_json() if len({getattr(one, name) for one in settings}) > 1]
    table, rows = [], []
    for one, values in ranked:
        named = official(spec, values)
        table.append({**one.to_json(), "scores": {name: known_value(value) for name, value in named.items()}})
        rows.append(
            (" ".join(f"{name}={value}" for name, value in _options(one, varied).items()), list(named.values()))
        )
    answer(
        {"settings": table, "videos": tally.rows},
        *text_table(["setting", *spec.official.values()], rows),
        then=[next_command(**_options(ranked[0][0], varied))],
    )
    tally.finish()


def _options(settings: "ReadOutSettings", names: Sequence[str]) -> dict[str, Any]:
    return {name: "all" if (value := getattr(settings, name)) is None else value for name in names}


def _split(texts: tuple[str, ...]) -> list[str]:
    return [item.strip() for text in texts for item in text.split(",")]


def _words(flag: str, texts: tuple[str, ...], known: tuple[str, ...]) -> list[str]:
    from ...store.errors import ConfigError

    words = _split(texts)
    for word in words:
        if word not in known:
            raise ConfigError(f"{flag} takes {', '.join(known)}, not {word!r}")
    return list(dict.fromkeys(words))


def _preference(text: str) -> tuple[str, str]:
    from ...store.errors import ConfigError

    field, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--prefer takes FIELD=VALUE, not {text!r}")
    return field, value
