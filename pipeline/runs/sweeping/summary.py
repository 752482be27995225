"""Texts of a sweep: the plan, its progress, and the best settings."""

import math
import sys
from typing import Any

from tqdm import tqdm

from ....store import Cache, printable
from ...choices.hints import plural
from .planning import SweepPlan
from .results import SettingMeans, SweepResult
from .space import setting_columns


def best_lines(result: SweepResult, limit: int = 10) -> list[str]:
    """Return a table of the best settings: the parameters that vary, and the mean scores.

    Videos that do not count in the means are named first.
    """
    missing = [f"  {printable(name)}: {reason}" for name, reason in result.missing.items()]
    total = len(result.complete) + len(missing)
    warning = [f"INCOMPLETE: {len(missing)} of {total} videos are not in these means:", *missing] if missing else []
    if not result.ranking:
        return [*warning, "no video has a score under every setting"]
    settings = [item.setting for item in result.ranking]
    values = {name: {setting.value(name) for setting in settings} for name in setting_columns(settings)}
    varying = [name for name, found in values.items() if len(found - {"", None}) > 1]
    titles = result.metric_spec.titles(result.ranking[0].measures)
    table = [[*varying, *titles.values()]]
    table += [_cells(item, varying, list(titles)) for item in result.ranking[:limit]]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    best = result.ranking[0]
    more = len(result.ranking) - limit
    counted = f"{plural(best.objects, 'object')} of " if result.metric_spec.of_objects else ""
    return [
        *warning,
        *lines,
        *([f"... and {plural(more, 'more setting')}"] if more > 0 else []),
        f"means over {counted}{plural(best.videos, 'video')}; best by {result.metric_spec.ranked_by(best.measures)}: "
        f"{result.options(best.setting)}",
    ]


def describe_plan(plan: SweepPlan, cache: Cache) -> dict[str, Any]:
    """Return the work of a plan as JSON values.

    ``bytes_at_most`` is the size of the affinities that are not cached yet, before compression and if no two settings
    share a source.
    """
    videos = []
    for work in plan.videos:
        specs = list({target.folder: target.spec for target in work.targets}.values())
        absent = [spec for spec in specs if cache.state(spec) != "complete"]
        videos.append(
            {
                "video": work.video.name,
                "frames": len(work.video.frames),
                "settings": len(plan.settings),
                "missing": work.missing,
                "passes": len(specs),
                "passes_kept": len(specs) - len(absent),
                "bytes_at_most": sum(4 * math.prod(shape) for spec in absent for shape in spec.shapes.values()),
            }
        )
    return {"settings": len(plan.settings), "videos": videos, "failures": dict(plan.failures)}


def plan_lines(described: dict[str, Any]) -> list[str]:
    """Return the values of `describe_plan` as text."""
    lines = [
        f"{printable(item['video'])}: {item['missing']} of {plural(item['settings'], 'setting')} to score on "
        f"{plural(item['frames'], 'frame')}, in {plural(item['passes'], 'pass')} ({item['passes_kept']} with cached "
        "affinities)"
        for item in described["videos"]
    ]
    lines += [f"{printable(name)}: cannot be swept: {reason}" for name, reason in described["failures"].items()]
    missing = sum(item["missing"] for item in described["videos"])
    passes = sum(item["passes"] - item["passes_kept"] for item in described["videos"])
    size = sum(item["bytes_at_most"] for item in described["videos"])
    return [
        *lines,
        f"{plural(described['settings'], 'setting')}; {plural(len(described['videos']), 'video')}, "
        f"{len(described['failures'])} more that cannot be swept; to do: {plural(missing, 'score')}, affinities of "
        f"{plural(passes, 'pass')} (at most {size / 1e9:.3f} GB)",
    ]


def _cells(means: SettingMeans, parameters: list[str], measures: list[str]) -> list[str]:
    values = [means.setting.value(name) for name in parameters]
    return [
        *("-" if value in ("", None) else f"{value}" for value in values),
        *("-" if (value := means.measures[name]) is None else f"{value:.3f}" for name in measures),
    ]


class SweepBars:
    """Two progress bars on a terminal, with lines above them; a context manager."""

    def __init__(self, plan: SweepPlan) -> None:
        frames = sum(len(one.targets) * len(one.video.frames) for one in plan.videos)
        settings = sum(one.missing for one in plan.videos if one.case is not None)
        self._affinities = tqdm(
            total=frames, desc="affinities", unit="frame", disable=None if frames else True, dynamic_ncols=True
        )
        self._scores = tqdm(
            total=settings,
            desc="scores",
            unit="setting",
            disable=None if settings else True,
            dynamic_ncols=True,
            position=1,
        )
        for name, reason in plan.failures.items():
            self.note(f"Error: {name}: {reason}")

    def __enter__(self) -> "SweepBars":
        return self

    def __exit__(self, *_: object) -> None:
        self._scores.close()
        self._affinities.close()

    def affinities(self, frames: int) -> None:
        """Count frames whose affinities are in the cache now."""
        self._affinities.update(frames)

    def scores(self, settings: int) -> None:
        """Count settings that are scored now, each on one video."""
        self._scores.update(settings)

    def note(self, text: str) -> None:
        """Print a line."""
        tqdm.write(printable(text, keep="\n"), file=sys.stderr)
