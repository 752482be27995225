"""Options that say which features are fused, and how labels are propagated along them; a preset fills them in."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from .options import prefer_option, preset_option

if TYPE_CHECKING:
    from ...propagate import PropagationSettings
    from ...store import FeatureChoice
    from ..choices.presets import Preset

__all__ = ["ChosenFeatures", "feature_options", "setting_options", "take_features", "take_settings"]

_FROM_PRESET = "  [default: the preset's]"


@dataclass(frozen=True, kw_only=True)
class ChosenFeatures:
    """What `feature_options` say.

    Attributes
    ----------
    preset
        The published setting that fills in what is not given.
    renormalize
        Whether the fused feature is L2-normalised again.
    parts
        Features and their weights, also those of weight 0.
    prefer
        Which units are meant where several fit, as in `Cache.find`.
    """

    preset: "Preset"
    renormalize: bool
    parts: list[tuple["FeatureChoice", float]]
    prefer: list[tuple[str, str]]


def feature_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose features and weigh them; see `take_features`."""
    decorators = [
        preset_option,
        click.option("--video-feature", metavar="BACKBONE[@DIGEST]:TIMESTEP:TAP", help=f"Weighs alpha.{_FROM_PRESET}"),
        click.option(
            "--image-feature", metavar="BACKBONE[@DIGEST]:TIMESTEP:TAP", help=f"Weighs 1 - alpha.{_FROM_PRESET}"
        ),
        click.option("--alpha", type=float, help=f"Weight of the video feature, 0 to 1.{_FROM_PRESET}"),
        click.option(
            "--feature",
            "features",
            multiple=True,
            metavar="BACKBONE[@DIGEST]:TIMESTEP:TAP=WEIGHT",
            help="Any number of features with weights, instead of the two above and alpha. Repeat.",
        ),
        prefer_option,
        click.option("--renormalize/--no-renormalize", default=True, help="L2-normalise the fused feature again."),
    ]
    return functools.reduce(lambda wrapped, decorate: decorate(wrapped), reversed(decorators), function)


def setting_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of label propagation; see `take_settings`."""
    decorators = [
        click.option("--temperature", type=float, help=f"Divides similarities before the softmax.{_FROM_PRESET}"),
        click.option("--top-k", type=int, help=f"Sources kept per pixel.{_FROM_PRESET}"),
        click.option("--radius", type=int, help=f"Half the window's side, in cells of the feature grid.{_FROM_PRESET}"),
        click.option("--context", type=int, help=f"Last frames used beside the first.{_FROM_PRESET}"),
    ]
    return functools.reduce(lambda wrapped, decorate: decorate(wrapped), reversed(decorators), function)


def take_features(options: dict[str, Any]) -> ChosenFeatures:
    """Read what `feature_options` gave, and remove it from the options of a command.

    Raises
    ------
    ConfigError
        For an unknown preset, features that cannot be read, or a weight for a feature that is not named.
    """
    from ...store.errors import ConfigError
    from ..choices.features import parse_preference
    from ..choices.presets import get_preset

    preset = get_preset(options.pop("preset"))
    features: tuple[str, ...] = options.pop("features")
    video, image, alpha = (options.pop(name) for name in ("video_feature", "image_feature", "alpha"))
    if features and any(value is not None for value in (video, image, alpha)):
        raise ConfigError("--feature lists all features with their weights: leave out --alpha and the other two")
    alpha = preset.alpha if alpha is None else alpha
    prefer = [parse_preference(text) for text in options.pop("prefer")]
    return ChosenFeatures(
        preset=preset,
        renormalize=options.pop("renormalize"),
        parts=_parts(features, (video or preset.video_feature, image or preset.image_feature), alpha),
        prefer=[*prefer, ("ensemble", str(preset.ensemble)), ("clip_overlap", str(preset.overlap))],
    )


def take_settings(options: dict[str, Any], chosen: ChosenFeatures) -> "PropagationSettings":
    """Read what `setting_options` gave, and remove it from the options of a command.

    Raises
    ------
    ConfigError
        For a value out of range.
    """
    from ...propagate import PropagationSettings

    given = {name: options.pop(name) for name in ("temperature", "top_k", "radius", "context")}
    values = {name: getattr(chosen.preset, name) if value is None else value for name, value in given.items()}
    return PropagationSettings(renormalize=chosen.renormalize, **values)


def _parts(
    features: tuple[str, ...], pair: tuple[str | None, str | None], alpha: float
) -> list[tuple["FeatureChoice", float]]:
    """Return features and weights: those listed, or the two of a pair weighed by alpha."""
    from ...propagate import part_weights
    from ...store.errors import ConfigError
    from ..choices.features import parse_choice, parse_weighted

    if features:
        return [parse_weighted(text) for text in features]
    parts = []
    for name, text, weight in zip(("video", "image"), pair, part_weights(alpha), strict=True):
        if text is not None:
            parts.append((parse_choice(text), weight))
        elif weight:
            raise ConfigError(f"alpha {alpha} gives weight {weight} to the {name} feature, and none is named")
    return parts
