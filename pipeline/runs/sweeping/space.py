"""The space of a sweep: values of each parameter, and all settings that combine them."""

import itertools
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ....propagate import CosineKernel, PropagationSettings, WeightedSettings, parse_kernel, part_weights
from ....store import FeatureChoice
from ....store.errors import ConfigError
from ...choices.features import parse_choice

#: Names of two parts that alpha weighs.
PAIR = ("video", "image")

#: Columns of tables that every setting has, after those of its parts.
NUMBERS = ("temperature", "top_k", "radius", "context", "renormalize")

#: Columns that identify settings of two parts, in the order of tables.
PARAMETERS = ("video_feature", "image_feature", "alpha", *NUMBERS)

#: Columns of tables in which a setting differs from these defaults, besides the parameters of its kernel
#: (``kernel.NAME``).
RULES: Mapping[str, Any] = {
    "window": "square",
    "unrestricted_first": False,
    "context_fill": False,
    "kernel": CosineKernel.name,
}
_KERNEL = "kernel."

#: Fields of `PropagationSettings` and the weights, from the slowest to the fastest in the order of settings.
_ORDER = (
    "renormalize", "kernel", "window", "unrestricted_first", "context_fill",
    "radius", "weights", "context", "top_k", "temperature",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of a sweep: features and parameters.

    Attributes
    ----------
    features
        The feature of each part; None for a part without weight.
    weights
        The weight of each part; (alpha, 1 - alpha) for a pair.
    propagation
        The other parameters.
    names
        Names of the parts in tables: `PAIR`, or ``part1`` and so on.
    """

    features: tuple[FeatureChoice | None, ...]
    weights: tuple[float, ...]
    propagation: PropagationSettings
    names: tuple[str, ...] = PAIR

    @property
    def alpha(self) -> float | None:
        """Weight of the video feature; None if alpha does not weigh the parts."""
        return self.weights[0] if self.names == PAIR else None

    def feature(self, name: str) -> FeatureChoice | None:
        """Return the feature of a part by the part's name; None if it has no weight, or there is no such part."""
        return dict(zip(self.names, self.features, strict=True)).get(name)

    @property
    def parts(self) -> tuple[tuple[FeatureChoice, float], ...]:
        """The features that have a weight, with their weights."""
        both = zip(self.features, self.weights, strict=True)
        return tuple((choice, weight) for choice, weight in both if choice is not None)

    @property
    def weighted(self) -> WeightedSettings:
        """The parameters with the weights of all parts."""
        return WeightedSettings(weights=self.weights, settings=self.propagation)

    @property
    def columns(self) -> dict[str, Any]:
        """Values by column: parts, `NUMBERS`, and rules and kernel parameters that differ from the defaults.

        An unused feature is an empty text.
        """
        columns: dict[str, Any] = {
            f"{name}_feature": str(choice or "") for name, choice in zip(self.names, self.features, strict=True)
        }
        columns |= _weight_columns(self.names, self.weights)
        columns |= {name: getattr(self.propagation, name) for name in NUMBERS}
        columns |= {name: self._rule(name) for name, default in RULES.items() if self._rule(name) != default}
        kernel = self.propagation.kernel
        for parameter in kernel.parameters():
            value = getattr(kernel, parameter.name)
            columns[_KERNEL + parameter.name] = ",".join(map(str, value)) if isinstance(value, tuple) else value
        return columns

    def _rule(self, name: str) -> Any:
        return self.propagation.kernel.name if name == "kernel" else getattr(self.propagation, name)

    def value(self, column: str) -> Any:
        """Return the value of any column of `setting_columns`; None for a parameter of another kernel."""
        return self.columns.get(column, RULES.get(column))

    @property
    def options(self) -> str:
        """The options of ``ted propagate`` for this setting."""
        columns, flags = self.columns, []
        if self.names != PAIR:
            flags = [f"--feature {shlex.quote(f'{choice}={weight}')}" for choice, weight in self.parts]
            columns = {name: value for name, value in columns.items() if not name.startswith(self.names)}
        for name, value in columns.items():
            if name.startswith(_KERNEL):
                flags.append(f"--kernel-option {shlex.quote(f'{name.removeprefix(_KERNEL)}={value}')}")
            elif value is True and name != "renormalize":
                flags.append(f"--{name.replace('_', '-')}")
            elif value != "" and name != "renormalize":
                flags.append(f"--{name.replace('_', '-')} {shlex.quote(str(value))}")
        return " ".join(flags + ([] if self.propagation.renormalize else ["--no-renormalize"]))

    @classmethod
    def from_columns(cls, row: Mapping[str, str]) -> "Setting":
        """Build a setting from the columns of a table, as text.

        Raises
        ------
        ValueError, KeyError, TedError
            For columns or values that do not describe a setting.
        """
        names: tuple[str, ...] = PAIR
        if "alpha" not in row:
            names = tuple(name.removesuffix("_feature") for name in row if name.endswith("_feature"))
        kernel = {
            name.removeprefix(_KERNEL): text for name, text in row.items() if name.startswith(_KERNEL) and text != ""
        }
        rules: dict[str, Any] = {name: row.get(name) or default for name, default in RULES.items()}
        return cls(
            features=tuple(parse_choice(text) if (text := row[f"{name}_feature"]) else None for name in names),
            weights=part_weights(float(row["alpha"]))
            if names == PAIR
            else tuple(float(row[f"{name}_weight"]) for name in names),
            propagation=PropagationSettings(
                temperature=float(row["temperature"]),
                top_k=int(row["top_k"]),
                radius=int(row["radius"]),
                context=int(row["context"]),
                renormalize=_parse_bool(row["renormalize"]),
                window=rules["window"],
                unrestricted_first=_parse_bool(rules["unrestricted_first"]),
                context_fill=_parse_bool(rules["context_fill"]),
                kernel=parse_kernel(rules["kernel"], kernel),
            ),
            names=names,
        )


def setting_columns(settings: Iterable[Setting]) -> tuple[str, ...]:
    """Return the columns that identify settings."""
    return tuple(dict.fromkeys(name for setting in settings for name in setting.columns))


def _weight_columns(names: Sequence[str], weights: Sequence[float]) -> dict[str, float]:
    if names == PAIR:
        return {"alpha": weights[0]}
    return {f"{name}_weight": weight for name, weight in zip(names, weights, strict=True)}


@dataclass(frozen=True, kw_only=True)
class SweepSpace:
    """The values of each parameter; a sweep covers all combinations.

    Attributes
    ----------
    features
        The features of each part, all combinations of which are fused. None stands for no feature.
    weights
        The weights of all parts, one tuple for each fusion.
    values
        Values of fields of `PropagationSettings` by name, each at least one; other fields have their default.
    names
        Names of the parts; see `Setting`.

    Raises
    ------
    ConfigError
        For a parameter without a value, a value out of range, or a weight of an absent feature.
    """

    features: tuple[tuple[FeatureChoice | None, ...], ...]
    weights: tuple[tuple[float, ...], ...]
    values: Mapping[str, tuple[Any, ...]]
    names: tuple[str, ...] = PAIR

    @classmethod
    def pair(
        cls,
        video: Sequence[FeatureChoice | None],
        image: Sequence[FeatureChoice | None],
        alphas: Sequence[float],
        values: Mapping[str, tuple[Any, ...]],
    ) -> "SweepSpace":
        """Return the space of two parts, video and image features, with weights alpha and 1 - alpha."""
        return cls(features=(tuple(video), tuple(image)), weights=tuple(map(part_weights, alphas)), values=values)

    def __post_init__(self) -> None:
        parts = dict(zip(self.names, self.features, strict=True))
        for name, values in {**parts, "weights": self.weights, **self.values}.items():
            if not values:
                raise ConfigError(f"a sweep needs at least one value of {name}")
        for setting in self.settings():
            for name, choice, weight in zip(self.names, setting.features, setting.weights, strict=True):
                if weight and choice is None:
                    raise ConfigError(
                        f"alpha {setting.alpha} gives weight {weight} to the {name} feature, but none is "
                        f"named: add --{name}-feature"
                    )

    def settings(self) -> list[Setting]:
        """Return all settings, each once; features without a weight are left out of a setting."""
        default = PropagationSettings()
        axes = {name: (getattr(default, name, None),) for name in _ORDER} | {**self.values, "weights": self.weights}
        rows = [
            dict(zip(_ORDER, values, strict=True)) for values in itertools.product(*(axes[name] for name in _ORDER))
        ]
        parameters = [(row.pop("weights"), PropagationSettings(**row)) for row in rows]
        found = dict.fromkeys(
            Setting(
                features=tuple(choice if weight else None for choice, weight in zip(choices, weights, strict=True)),
                weights=weights,
                propagation=propagation,
                names=self.names,
            )
            for choices in itertools.product(*self.features)
            for weights, propagation in parameters
        )
        return list(found)


def _parse_bool(text: Any) -> bool:
    return bool(json.loads(str(text).lower()))
