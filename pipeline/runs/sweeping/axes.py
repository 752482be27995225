"""The axes of a sweep's pictures, and slices through its best setting along them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .results import SettingMeans
from .space import Setting

__all__ = ["NUMERIC", "Slices", "axis_label"]


def _feature(part: str, of: Callable[[Any], Any]) -> Callable[[Setting], Any]:
    def value(setting: Setting) -> Any:
        choice = getattr(setting, part)
        return None if choice is None else of(choice)

    return value


def _parameter(name: str) -> Callable[[Setting], Any]:
    return lambda setting: setting.columns[name]


_VALUES: Mapping[str, Callable[[Setting], Any]] = {
    **{name: _parameter(name) for name in ("alpha", "temperature", "top_k", "radius", "context")},
    **{f"{part}_timestep": _feature(part, lambda choice: choice.timestep) for part in ("video", "image")},
    **{
        f"{part}_tap": _feature(part, lambda choice: f"{choice.backbone}{_at(choice.digest)} {choice.tap}")
        for part in ("video", "image")
    },
}

#: Axes along which a curve makes sense; the others are ``video_tap`` and ``image_tap``.
NUMERIC = ("alpha", "temperature", "top_k", "radius", "context", "video_timestep", "image_timestep")


def axis_label(axis: str) -> str:
    """Return an axis's name as pictures show it: the parameter's, or ``video timestep``."""
    return axis if axis in ("top_k",) else axis.replace("_", " ")


class Slices:
    """The means of a sweep, looked up along some axes with all others where the best setting has them.

    Parameters
    ----------
    ranking
        Means under all settings, the best first; at least one.

    Attributes
    ----------
    varying
        Axes with more than one value, and these values in rising order (of taps: in the order of the sweep).
    """

    def __init__(self, ranking: Sequence[SettingMeans]) -> None:
        self._means = {self._place(item.setting): item for item in ranking}
        values: dict[str, dict[Any, None]] = {axis: {} for axis in _VALUES}
        for item in ranking:
            for axis, place in zip(_VALUES, self._place(item.setting), strict=True):
                if place is not None:
                    values[axis].setdefault(place)
        # An alpha of 0 or 1 has no value on the axes of the feature that it leaves out: the best that has one counts.
        self._best = {axis: next(iter(found), None) for axis, found in values.items()}
        self.varying: dict[str, list[Any]] = {axis: sorted(found) for axis, found in values.items() if len(found) > 1}

    def at(self, **where: Any) -> SettingMeans | None:
        """Return the means at some values of some axes; None where the sweep has no such setting."""
        values = self._best | where
        for alpha, part in ((0, "video"), (1, "image")):
            if values["alpha"] == alpha:
                values |= {f"{part}_timestep": None, f"{part}_tap": None}
        return self._means.get(tuple(values.values()))

    def best_value(self, axis: str) -> Any:
        """Return where the best setting lies on an axis."""
        return self._best[axis]

    def others(self, *axes: str) -> str:
        """Say where the best setting lies on the axes that vary and are not these."""
        return ", ".join(f"{axis_label(axis)} {_text(self._best[axis])}" for axis in self.varying if axis not in axes)

    @staticmethod
    def _place(setting: Setting) -> tuple[Any, ...]:
        return tuple(value(setting) for value in _VALUES.values())


def _at(digest: str | None) -> str:
    return f"@{digest}" if digest else ""


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
