"""What a sweep is over: the values of each parameter, and the settings that they make."""

import itertools
import shlex
from dataclasses import dataclass
from typing import Any

from ....propagate import PropagationSettings, WeightedSettings, part_weights
from ....store import FeatureChoice
from ....store.errors import ConfigError

__all__ = ["PARAMETERS", "Setting", "SweepSpace"]

#: Columns that tell settings apart, in the order of tables.
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


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of a sweep: features and parameters.

    Attributes
    ----------
    video, image
        The features; None for one that alpha gives no weight.
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
        """Values by the names in `PARAMETERS`; an unused feature is empty text."""
        numbers = {name: getattr(self.propagation, name) for name in PARAMETERS[3:]}
        features = {"video_feature": str(self.video or ""), "image_feature": str(self.image or "")}
        return {**features, "alpha": self.alpha, **numbers}

    @property
    def options(self) -> str:
        """The options of ``ted propagate`` that mean this setting."""
        values = {name: value for name, value in self.columns.items() if value != "" and name != "renormalize"}
        flags = [f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in values.items()]
        return " ".join(flags + ([] if self.propagation.renormalize else ["--no-renormalize"]))


@dataclass(frozen=True, kw_only=True)
class SweepSpace:
    """The values of each parameter; a sweep is over all combinations.

    Attributes
    ----------
    video_features, image_features
        Features, all pairs of which are fused. None stands for no feature.
    alphas, temperatures, top_ks, radii, contexts
        Values, each at least one.
    renormalize
        Whether fused features are L2-normalised again.

    Raises
    ------
    ConfigError
        For a parameter without a value, one out of range, or an alpha that weighs a feature that is not there.
    """

    video_features: tuple[FeatureChoice | None, ...]
    image_features: tuple[FeatureChoice | None, ...]
    alphas: tuple[float, ...]
    temperatures: tuple[float, ...]
    top_ks: tuple[int, ...]
    radii: tuple[int, ...]
    contexts: tuple[int, ...]
    renormalize: bool = True

    def __post_init__(self) -> None:
        for name, values in vars(self).items():
            if name != "renormalize" and not values:
                raise ConfigError(f"{name} of a sweep hold no value")
        for setting in self.settings():
            for name, choice, weight in zip(
                ("video", "image"),
                (setting.video, setting.image),
                part_weights(setting.alpha),
                strict=True,
            ):
                if weight and choice is None:
                    raise ConfigError(
                        f"alpha {setting.alpha} gives weight {weight} to the {name} feature, and none is "
                        f"named: give --{name}-feature"
                    )

    @property
    def pairs(self) -> list[tuple[FeatureChoice | None, FeatureChoice | None]]:
        """All pairs of features."""
        return list(itertools.product(self.video_features, self.image_features))

    def settings(self) -> list[Setting]:
        """Return all settings, each once: what alpha gives no weight is left out, and tells no settings apart."""
        parameters = [
            (
                alpha,
                PropagationSettings(
                    temperature=temperature, top_k=top_k, radius=radius, context=context, renormalize=self.renormalize
                ),
            )
            for radius, alpha, context, top_k, temperature in itertools.product(
                self.radii, self.alphas, self.contexts, self.top_ks, self.temperatures
            )
        ]
        found = dict.fromkeys(
            Setting(
                video=video if alpha > 0 else None,
                image=image if alpha < 1 else None,
                alpha=alpha,
                propagation=values,
            )
            for video, image in self.pairs
            for alpha, values in parameters
        )
        return list(found)
