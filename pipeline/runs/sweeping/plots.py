"""Choose the pictures of a sweep: curves over parameters, heat maps over pairs of parameters, bars for videos."""

import importlib.util
import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from ...choices.hints import plural
from .axes import Slices, axis_label, value_text
from .results import SettingMeans, SweepResult
from .space import Setting

#: Maximum number of lines in a picture, and of videos in a bar chart.
_MOST_LINES = 6
_MOST_VIDEOS = 60


def can_draw() -> bool:
    """Return whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def write_plots(result: SweepResult, folder: Path, *, default: Setting | None = None) -> list[Path]:
    """Draw a sweep.

    ``over-PARAMETER.png`` for each number that varies, ``heat-PARAMETER-PARAMETER.png`` for each pair of parameters
    that vary, and ``videos.png``, which compares the best settings with a `default` if the sweep has it. Other
    parameters have the values of the best setting, which the title names. Nothing is drawn without a complete video.
    """
    if not result.ranking:
        return []
    slices = Slices(result.ranking)
    paths = [_curves(slices, axis, folder) for axis in slices.numeric]
    paths += [_heat(slices, y, x, folder) for x, y in combinations(slices.varying, 2)]
    return [*paths, _videos(result, folder, default)]


def _curves(slices: Slices, axis: str, folder: Path) -> Path:
    from .drawing import draw_curves

    others = [name for name in slices.varying if name != axis]
    first = {"alpha": "temperature"}.get(axis, "alpha")
    line = first if first in others else next(iter(others), None)
    names = _some(slices.varying[line], slices.best_value(line)) if line else [None]
    x = slices.varying[axis]
    panels = {
        title: {
            value_text(name): [
                _measure(slices.at(**{axis: value} | ({line: name} if line else {})), measure) for value in x
            ]
            for name in names
        }
        for measure, title in _measures(slices).items()
    }
    rest = slices.others(axis, *([line] if line else []))
    return draw_curves(
        folder / f"over-{_file_name(axis)}.png",
        title=f"scores over {axis_label(axis)}" + (f"; {rest}" if rest else ""),
        x_label=axis_label(axis),
        x=x,
        panels=panels,
        legend=axis_label(line or ""),
        logarithmic=axis == "temperature" and max(x) > 5 * min(x),
    )


def _heat(slices: Slices, y: str, x: str, folder: Path) -> Path:
    from .drawing import draw_heatmap

    measure, title = next(iter(_measures(slices).items()))
    rows, columns = slices.varying[y], slices.varying[x]
    rest = slices.others(x, y)
    return draw_heatmap(
        folder / f"heat-{_file_name(x)}-{_file_name(y)}.png",
        title=title + (f"; {rest}" if rest else ""),
        measure=title,
        labels=(axis_label(y), axis_label(x)),
        ticks=([value_text(value) for value in rows], [value_text(value) for value in columns]),
        values=[[_measure(slices.at(**{y: row, x: column}), measure) for column in columns] for row in rows],
        best=(rows.index(slices.best_value(y)), columns.index(slices.best_value(x))),
    )


def _videos(result: SweepResult, folder: Path, default: Setting | None) -> Path:
    from .drawing import draw_bars

    best = result.ranking[0].setting
    rankings = dict(list(result.by_video.items())[:_MOST_VIDEOS])
    bars = {"best setting of all videos": [_score(ranking, best) for ranking in rankings.values()]}
    bars["best of each video"] = [ranking[0].score for ranking in rankings.values()]
    if default in result.settings and default != best:
        bars = {"preset": [_score(ranking, default) for ranking in rankings.values()]} | bars
    left_out = len(result.by_video) - len(rankings)
    return draw_bars(
        folder / "videos.png",
        title=f"best: {_words(best)}" + (f" ({plural(left_out, 'more video')})" if left_out else ""),
        measure=result.metric_spec.ranked_by(result.ranking[0].measures),
        names=list(rankings),
        bars=bars,
    )


def _words(setting: Setting) -> str:
    shown = {name: value for name, value in setting.columns.items() if value != "" and name != "renormalize"}
    return ", ".join(f"{axis_label(name)} {value_text(value)}" for name, value in shown.items())


def _score(ranking: Sequence[SettingMeans], setting: Setting | None) -> float:
    return next(item.score for item in ranking if item.setting == setting)


def _measures(slices: Slices) -> dict[str, str]:
    best = slices.at()
    return best.metric_spec.titles(best.measures) if best else {}


def _measure(means: SettingMeans | None, name: str) -> float:
    value = None if means is None else means.measures[name]
    return math.nan if value is None else value


def _some(values: Sequence[Any], best: Any) -> list[Any]:
    """Return evenly spaced values of the list, including the best one; at most as many as lines fit."""
    if len(values) <= _MOST_LINES:
        return list(values)
    places = {round(number * (len(values) - 1) / (_MOST_LINES - 1)) for number in range(_MOST_LINES)}
    nearest = min(places, key=lambda place: abs(place - values.index(best)))
    return [values[place] for place in sorted(places - {nearest} | {values.index(best)})]


def _file_name(axis: str) -> str:
    return axis.replace("_", "-").replace(".", "-")
