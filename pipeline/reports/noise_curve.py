"""Scores over the signal-to-noise ratio: one axis for all backbones, whatever their noise schedules."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...store import FeatureChoice
from ..runs.extracting.noise_level import snr_db
from ..runs.sweeping.axes import Slices
from ..runs.sweeping.results import SettingMeans
from .charts import Series, legend_key, line_chart
from .compared import Compared, exact_text
from .curves import legend, series_of
from .views import ChartView, Key, TableView, number, row, texts

__all__ = ["over_noise"]

_LABEL = "signal-to-noise ratio, dB"
_HOW_TO_KNOW = (
    "Extraction records it, but earlier versions did not, imported features have none, and videos that were extracted "
    "with different weights have no common one. To get it, extract one of the videos again with the same weights and "
    "timesteps into the results' cache (`ted extract ... --videos NAME --overwrite`): the other videos share it. If "
    "the cache has moved, name it with --cache"
)

Part = Literal["video", "image"]


@dataclass(frozen=True, kw_only=True)
class _Line:
    """The scores of a backbone in one of the two parts, at its timesteps; all else at its best setting.

    Attributes
    ----------
    item
        What the line is of.
    name
        In the legend.
    points
        The feature at each timestep, its level in dB (None where that is not known), and the means; as timesteps rise.
    elsewhere
        Where the best setting lies on the other axes.
    """

    item: Compared
    name: str
    points: tuple[tuple[FeatureChoice, float | None, SettingMeans], ...]
    elsewhere: str

    @property
    def unknown(self) -> list[FeatureChoice]:
        return [choice for choice, level, _ in self.points if level is None]

    @property
    def rows(self) -> list[tuple[FeatureChoice, float, SettingMeans]]:
        """All points, as the signal-to-noise ratio rises."""
        known = [(choice, level, means) for choice, level, means in self.points if level is not None]
        return sorted(known, key=lambda point: point[1])

    @property
    def drawn(self) -> list[tuple[FeatureChoice, float, SettingMeans]]:
        """The points that have a place on an axis."""
        return [point for point in self.rows if math.isfinite(point[1])]


def over_noise(compared: Sequence[Compared], notes: list[str]) -> list[ChartView]:
    """Draw scores over the signal-to-noise ratio, where sweeps vary a timestep: one chart, or none.

    A line for each backbone of each sweep, and of each of its controls, in either part; those of which a level is not
    known are left out, and noted. Of a single line its other measures are drawn, too, as over other parameters.
    Results of one setting are level lines.

    Parameters
    ----------
    compared
        Results.
    notes
        Gets what is left out, why, and what helps.
    """
    found = [line for item in compared for part in ("video", "image") for line in _lines(item, part)]
    unknown = {line.name: ", ".join(dict.fromkeys(map(str, line.unknown))) for line in found if line.unknown}
    if unknown:
        named = "; ".join(f"{name} ({features})" for name, features in unknown.items())
        notes.append(f"left out of curves over the signal-to-noise ratio, which is not known: {named}. {_HOW_TO_KNOW}")
    lines = [line for line in found if line.drawn and not line.unknown]
    return [_chart(lines, compared)] if lines else []


def _lines(item: Compared, part: Part) -> list[_Line]:
    """Divide results by the backbone of a part; those with one timestep make no line."""
    by_backbone: dict[str, list[SettingMeans]] = {}
    for means in (*item.ranking, *item.shared):
        choice = getattr(means.setting, part)
        if choice is not None:
            by_backbone.setdefault(_backbone(choice), []).append(means)
    lines = []
    for backbone, ranking in by_backbone.items():
        slices, axis = Slices(ranking), f"{part}_timestep"
        found = [slices.at(**{axis: timestep}) for timestep in slices.varying.get(axis, ())]
        points = [(getattr(means.setting, part), means) for means in found if means is not None]
        if len(points) > 1:
            lines.append(
                _Line(
                    item=item,
                    name=f"{item.label}, {part} {backbone}",
                    points=tuple((choice, _level(item, choice), means) for choice, means in points),
                    elsewhere=slices.others(axis),
                )
            )
    return lines


def _chart(lines: Sequence[_Line], compared: Sequence[Compared]) -> ChartView:
    best = lines[0].rows[0][2]
    measures = best.metric_spec.titles(best.measures)
    title = next(iter(measures.values()))
    constant = [item for item in compared if not item.ranking and item.score is not None]
    if len(lines) > 1 or constant:
        measures = dict([next(iter(measures.items()))])
    x = sorted({level for line in lines for _, level, _ in line.drawn})
    # As in the other charts, where results have one line; else colours could not tell their lines apart.
    own = len({id(line.item) for line in lines}) == len(lines)
    series = []
    for place, line in enumerate(lines):
        for number_of, (measure, words) in enumerate(measures.items()):
            values = {level: means.measures[measure] for _, level, means in line.drawn}
            series.append(
                Series(
                    name=line.name if len(measures) == 1 else words,
                    values=[values.get(level) for level in x],
                    place=number_of if len(measures) > 1 else compared.index(line.item) if own else place,
                    control=bool(line.item.controls),
                )
            )
    levels = [series_of(item, compared.index(item), [item.score]) for item in constant]
    heading = f"{'Scores' if len(measures) > 1 else title} over the signal-to-noise ratio"
    return ChartView(
        title=heading,
        picture=line_chart(
            "over-noise",
            title=heading,
            x_label=_LABEL,
            y_label=title if len(measures) == 1 else "score",
            x=x,
            series=series,
            levels=levels,
            scattered=True,
        ),
        legend=legend(series)
        + tuple(Key(picture=legend_key(level, level=True), name=f"{level.name}, one setting") for level in levels),
        remark=_remark(lines),
        table=_table(heading, lines, measures),
    )


def _table(heading: str, lines: Sequence[_Line], measures: dict[str, str]) -> TableView:
    return TableView(
        view_id="over-noise-numbers",
        caption=heading,
        columns=("line", "timestep", "alpha_bar", _LABEL, *measures.values(), "feature"),
        rows=tuple(
            row(
                line.name,
                [
                    number(str(choice.timestep)),
                    number(exact_text(line.item.alpha_bars[choice])),
                    number(repr(level)),
                    *(number(exact_text(means.measures[measure])) for measure in measures),
                    *texts(choice),
                ],
                control=bool(line.item.controls),
            )
            for line in lines
            for choice, level, means in line.rows
        ),
    )


def _remark(lines: Sequence[_Line]) -> str:
    parts = ["More noise is at the left."]
    elsewhere = "; ".join(
        f"{line.name}: {line.elsewhere}" if len(lines) > 1 else line.elsewhere for line in lines if line.elsewhere
    )
    if elsewhere:
        parts.append(f"Elsewhere at the best setting: {elsewhere}.")
    for line in lines:
        for choice, level, _ in line.rows:
            if math.isinf(level):
                what = "noise alone" if level < 0 else "without noise"
                parts.append(f"{choice} is {what}, which has no place on this axis; it is in the table.")
    return " ".join(dict.fromkeys(parts))


def _level(item: Compared, choice: FeatureChoice) -> float | None:
    level = item.alpha_bars.get(choice)
    return None if level is None else snr_db(level)


def _backbone(choice: FeatureChoice) -> str:
    return choice.backbone + (f"@{choice.digest}" if choice.digest else "")
