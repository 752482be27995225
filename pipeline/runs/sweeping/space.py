"""The space of a sweep: values of each parameter, and all settings that combine them."""

import itertools
import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ....propagate import CosineKernel, Kernel, PropagationSettings, WeightedSettings, parse_kernel, part_weights
from ....propagate.kernels.window import WindowShape
from ....store import FeatureChoice
from ....store.errors import ConfigError
from ...choices.features import parse_choice

__all__ = ["PARAMETERS", "RULES", "Setting", "SweepSpace", "setting_columns"]

#: Columns that identify settings, in the order of tables.
PARAMETERS = (
    "video_feature",
    "image_feature",
    "alpha",
    "temperature",
    "top_k",
    "radius",
    "context",
    "renormalize",
)

#: Columns of tables in which a setting differs from these defaults, besides the parameters of its kernel
#: (``kernel.NAME``).
RULES: Mapping[str, Any] = {
    "window": "square",
    "unrestricted_first": False,
    "context_fill": False,
    "kernel": CosineKernel.name,
}
_KERNEL = "kernel."


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of a sweep: features and parameters.

    Attributes
    ----------
    video, image
        The features; None for a feature without a weight.
    alpha
        Weight of the video feature, in [0, 1]; the image feature weighs ``1 - alpha``.
    propagation
        The other parameters.
    """

    video: FeatureChoice | None
    image: FeatureChoice | None
    alpha: float
    propagation: PropagationSettings

    @property
    def parts(self) -> tuple[tuple[FeatureChoice, float], ...]:
        """The features that have a weight, with their weights."""
        both = zip((self.video, self.image), part_weights(self.alpha), strict=True)
        return tuple((choice, weight) for choice, weight in both if choice is not None)

    @property
    def weighted(self) -> WeightedSettings:
        """The parameters with the weights of (video, image)."""
        return WeightedSettings(weights=part_weights(self.alpha), settings=self.propagation)

    @property
    def columns(self) -> dict[str, Any]:
        """Values by column: all of `PARAMETERS`, and rules and kernel parameters that differ from the defaults.

        An unused feature is an empty text.
        """
        numbers = {name: getattr(self.propagation, name) for name in PARAMETERS[3:]}
        features = {"video_feature": str(self.video or ""), "image_feature": str(self.image or "")}
        rules = {name: self._rule(name) for name, default in RULES.items() if self._rule(name) != default}
        return {**features, "alpha": self.alpha, **numbers, **rules, **self._kernel_columns}

    @property
    def _kernel_columns(self) -> dict[str, Any]:
        kernel = self.propagation.kernel
        values = {parameter.name: getattr(kernel, parameter.name) for parameter in kernel.parameters()}
        return {
            f"{_KERNEL}{name}": ",".join(map(str, value)) if isinstance(value, tuple) else value
            for name, value in values.items()
        }

    def _rule(self, name: str) -> Any:
        return self.propagation.kernel.name if name == "kernel" else getattr(self.propagation, name)

    def value(self, column: str) -> Any:
        """Return the value of any column of `setting_columns`; None for a parameter of another kernel."""
        return self.columns.get(column, RULES.get(column))

    @property
    def options(self) -> str:
        """The options of ``ted propagate`` for this setting."""
        flags = []
        for name, value in self.columns.items():
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
        kernel = {
            name.removeprefix(_KERNEL): text for name, text in row.items() if name.startswith(_KERNEL) and text != ""
        }
        rules: dict[str, Any] = {name: row.get(name) or default for name, default in RULES.items()}
        return cls(
            video=parse_choice(row["video_feature"]) if row["video_feature"] else None,
            image=parse_choice(row["image_feature"]) if row["image_feature"] else None,
            alpha=float(row["alpha"]),
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
        )


def setting_columns(settings: Iterable[Setting]) -> tuple[str, ...]:
    """Return the columns that identify settings: `PARAMETERS`, and others that any of them needs."""
    return tuple(dict.fromkeys((*PARAMETERS, *(name for setting in settings for name in setting.columns))))


@dataclass(frozen=True, kw_only=True)
class SweepSpace:
    """The values of each parameter; a sweep covers all combinations.

    Attributes
    ----------
    video_features, image_features
        Features, all pairs of which are fused. None stands for no feature.
    alphas, temperatures, top_ks, radii, contexts
        Values, each at least one.
    renormalize
        Whether fused features are L2-normalised again.
    windows, unrestricted_first, context_fill
        Values of these fields of `PropagationSettings`, each at least one.
    kernels
        Affinity kernels with their parameters, at least one.

    Raises
    ------
    ConfigError
        For a parameter without a value, a value out of range, or an alpha that weighs an absent feature.
    """

    video_features: tuple[FeatureChoice | None, ...]
    image_features: tuple[FeatureChoice | None, ...]
    alphas: tuple[float, ...]
    temperatures: tuple[float, ...]
    top_ks: tuple[int, ...]
    radii: tuple[int, ...]
    contexts: tuple[int, ...]
    renormalize: bool = True
    windows: tuple[WindowShape, ...] = ("square",)
    unrestricted_first: tuple[bool, ...] = (False,)
    context_fill: tuple[bool, ...] = (False,)
    kernels: tuple[Kernel, ...] = (CosineKernel(),)

    def __post_init__(self) -> None:
        for name, values in vars(self).items():
            if name != "renormalize" and not values:
                raise ConfigError(f"a sweep needs at least one value of {name}")
        for setting in self.settings():
            for name, choice, weight in zip(
                ("video", "image"),
                (setting.video, setting.image),
                part_weights(setting.alpha),
                strict=True,
            ):
                if weight and choice is None:
                    raise ConfigError(
                        f"alpha {setting.alpha} gives weight {weight} to the {name} feature, but none is "
                        f"named: add --{name}-feature"
                    )

    def settings(self) -> list[Setting]:
        """Return all settings, each once; features without a weight are left out of a setting."""
        parameters = [
            (
                alpha,
                PropagationSettings(
                    temperature=temperature,
                    top_k=top_k,
                    radius=radius,
                    context=context,
                    renormalize=self.renormalize,
                    kernel=kernel,
                    window=window,
                    unrestricted_first=unrestricted,
                    context_fill=fill,
                ),
            )
            for kernel, window, unrestricted, fill, radius, alpha, context, top_k, temperature in itertools.product(
                self.kernels,
                self.windows,
                self.unrestricted_first,
                self.context_fill,
                self.radii,
                self.alphas,
                self.contexts,
                self.top_ks,
                self.temperatures,
            )
        ]
        found = dict.fromkeys(
            Setting(
                video=video if alpha > 0 else None,
                image=image if alpha < 1 else None,
                alpha=alpha,
                propagation=values,
            )
            for video, image in itertools.product(self.video_features, self.image_features)
            for alpha, values in parameters
        )
        return list(found)


def _parse_bool(text: Any) -> bool:
    return bool(json.loads(str(text).lower()))
