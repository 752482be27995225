"""Axes of a sweep's pictures, and slices through its best setting along them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .results import SettingMeans
from .space import PARAMETERS, RULES, Setting, setting_columns

__all__ = ["NUMERIC", "Slices", "axis_label"]


def _feature(part: str, of: Callable[[Any], Any]) -> Callable[[Setting], Any]:
    def value(setting: Setting) -> Any:
        choice = getattr(setting, part)
        return None if choice is None else of(choice)

    return value


def _parameter(name: str) -> Callable[[Setting], Any]:
    return lambda setting: setting.columns[name]


def _column(name: str) -> Callable[[Setting], Any]:
    return lambda setting: setting.value(name)


_VALUES: Mapping[str, Callable[[Setting], Any]] = {
    **{name: _parameter(name) for name in ("alpha", "temperature", "top_k", "radius", "context")},
    **{f"{part}_timestep": _feature(part, lambda choice: choice.timestep) for part in ("video", "image")},
    **{
        f"{part}_tap": _feature(part, lambda choice: f"{choice.backbone}{_at(choice.digest)} {choice.tap}")
        for part in ("video", "image")
    },
}

#: Numeric axes of every sweep. Parameters of kernels may be numeric, too (`Slices.numeric`).
NUMERIC = ("alpha", "temperature", "top_k", "radius", "context", "video_timestep", "image_timestep")


def axis_label(axis: str) -> str:
    """Return an axis's name for pictures, such as ``alpha`` or ``video timestep``."""
    return axis if axis in ("top_k",) else axis.replace("_", " ").replace(".", " ")


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
        columns = (*RULES, *setting_columns(item.setting for item in ranking))
        others = [name for name in columns if name not in PARAMETERS]
        self._axes = {**_VALUES, **{name: _column(name) for name in others}}
        self._means = {self._position(item.setting): item for item in ranking}
        self._parameters = {item.setting.value("kernel"): item.setting.columns for item in ranking}
        values: dict[str, dict[Any, None]] = {axis: {} for axis in self._axes}
        for item in ranking:
            for axis, value in zip(self._axes, self._position(item.setting), strict=True):
                if value is not None:
                    values[axis].setdefault(value)
        # An alpha of 0 or 1 has no value on the axes of the feature that it leaves out: the best that has one counts.
        self._best = {axis: next(iter(found), None) for axis, found in values.items()}
        self.varying: dict[str, list[Any]] = {axis: sorted(found) for axis, found in values.items() if len(found) > 1}

    def at(self, **where: Any) -> SettingMeans | None:
        """Return the means at these values of some axes; None if the sweep has no such setting."""
        values = self._best | where
        for alpha, part in ((0, "video"), (1, "image")):
            if values["alpha"] == alpha:
                values |= {f"{part}_timestep": None, f"{part}_tap": None}
        # Nor has a kernel a value on the axes of another kernel's parameters.
        own = self._parameters.get(values.get("kernel"), values)
        values |= {axis: None for axis in values if axis.startswith("kernel.") and axis not in (*own, *where)}
        return self._means.get(tuple(values.values()))

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
        return ", ".join(f"{axis_label(axis)} {_text(self._best[axis])}" for axis in self.varying if axis not in axes)

    def _position(self, setting: Setting) -> tuple[Any, ...]:
        return tuple(value(setting) for value in self._axes.values())


def _at(digest: str | None) -> str:
    return f"@{digest}" if digest else ""


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
