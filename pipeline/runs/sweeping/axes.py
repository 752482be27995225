"""Axes of a sweep's pictures, and slices through its best setting along them."""

from collections.abc import Mapping, Sequence
from typing import Any

from .results import SettingMeans
from .space import PAIR, RULES, Setting, setting_columns

_NUMBERS = ("temperature", "top_k", "radius", "context")

#: Numeric axes of every sweep of two parts. Parameters of kernels may be numeric, too (`Slices.numeric`).
NUMERIC = ("alpha", *_NUMBERS, "video_timestep", "image_timestep")


def axis_label(axis: str) -> str:
    """Return an axis's name for pictures, such as ``alpha`` or ``video timestep``."""
    return axis if axis in ("top_k",) else axis.replace("_", " ").replace(".", " ")


def value_text(value: Any) -> str:
    """Return a value of an axis for pictures."""
    return f"{value:g}" if isinstance(value, float) else str(value)


class Slices:
    """Means of a sweep along chosen axes; all other axes have the value of the best setting.

    Parameters
    ----------
    ranking
        Means under all settings, the best first; at least one.

    Attributes
    ----------
    varying
        Axes with more than one value, and these values in rising order.
    """

    def __init__(self, ranking: Sequence[SettingMeans]) -> None:
        self._names = tuple(dict.fromkeys(name for item in ranking for name in item.setting.names))
        columns = (*RULES, *setting_columns(item.setting for item in ranking))
        weights = [name for name in columns if name == "alpha" or name.endswith("_weight")]
        known = {*weights, *_NUMBERS, "renormalize", *(f"{name}_feature" for name in self._names)}
        others = dict.fromkeys(name for name in columns if name not in known)
        features = [f"{name}_{what}" for what in ("timestep", "tap") for name in self._names]
        self._axes = (*weights, *_NUMBERS, *features, *others)
        self._means = {self._position(item.setting): item for item in ranking}
        self._parameters = {item.setting.value("kernel"): item.setting.columns for item in ranking}
        values: dict[str, dict[Any, None]] = {axis: {} for axis in self._axes}
        for item in ranking:
            for axis, value in zip(self._axes, self._position(item.setting), strict=True):
                if value is not None:
                    values[axis].setdefault(value)
        # A part of weight 0 has no value on the axes of its feature: the best setting that has one counts.
        self._best = {axis: next(iter(found), None) for axis, found in values.items()}
        self.varying: dict[str, list[Any]] = {axis: sorted(found) for axis, found in values.items() if len(found) > 1}

    def at(self, **where: Any) -> SettingMeans | None:
        """Return the means at these values of some axes; None if the sweep has no such setting."""
        values = self._best | where
        for name in self._names:
            if self._has_no_weight(name, values):
                values |= {f"{name}_timestep": None, f"{name}_tap": None}
        # Nor has a kernel a value on the axes of another kernel's parameters.
        own = self._parameters.get(values.get("kernel"), values)
        values |= {axis: None for axis in values if axis.startswith("kernel.") and axis not in (*own, *where)}
        return self._means.get(tuple(values.values()))

    @staticmethod
    def _has_no_weight(name: str, values: Mapping[str, Any]) -> bool:
        if name in PAIR:
            return bool(values.get("alpha") == PAIR.index(name))
        return values.get(f"{name}_weight") == 0

    @property
    def numeric(self) -> list[str]:
        """Axes that vary and whose values are numbers."""
        return [
            axis
            for axis, values in self.varying.items()
            if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        ]

    def best_value(self, axis: str) -> Any:
        """Return the best setting's value on an axis; None if no setting has one."""
        return self._best.get(axis)

    def others(self, *axes: str) -> str:
        """Describe the best setting by the axes that vary, apart from these."""
        return ", ".join(
            f"{axis_label(axis)} {value_text(self._best[axis])}" for axis in self.varying if axis not in axes
        )

    def _position(self, setting: Setting) -> tuple[Any, ...]:
        columns = setting.columns
        for name in setting.names:
            choice = setting.feature(name)
            if choice is not None:
                digest = f"@{choice.digest}" if choice.digest else ""
                columns[f"{name}_timestep"] = choice.timestep
                columns[f"{name}_tap"] = f"{choice.backbone}{digest} {choice.tap}"
        return tuple(columns.get(axis, RULES.get(axis)) for axis in self._axes)
