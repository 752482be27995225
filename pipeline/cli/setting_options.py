"""Options of features, their weights and label propagation; a preset provides their defaults."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from .options import prefer_option, preset_option

if TYPE_CHECKING:
    from ...propagate import Kernel, PropagationSettings
    from ...store import FeatureChoice
    from ..choices.presets import Preset

__all__ = [
    "FROM_PRESET",
    "ChosenFeatures",
    "feature_options",
    "kernel_options",
    "saved_settings",
    "setting_options",
    "take_features",
    "take_kernel",
    "take_settings",
]

#: Default of an option in its help text.
FROM_PRESET = "  [default: the preset's]"
_NUMBERS = ("temperature", "top_k", "radius", "context")
_RULES = ("window", "unrestricted_first", "context_fill")


@dataclass(frozen=True, kw_only=True)
class ChosenFeatures:
    """Values of `feature_options`.

    Attributes
    ----------
    preset
        The published setting that provides defaults.
    renormalize
        Whether the fused feature is L2-normalised again.
    parts
        Features and their weights, including those of weight 0.
    prefer
        Fields that decide between several units of a feature, as in `Cache.find`.
    """

    preset: "Preset"
    renormalize: bool
    parts: list[tuple["FeatureChoice", float]]
    prefer: list[tuple[str, str]]


def feature_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose features and weigh them; see `take_features`."""
    decorators = [
        preset_option,
        click.option("--video-feature", metavar="BACKBONE[@DIGEST]:TIMESTEP:TAP", help=f"Weighs alpha.{FROM_PRESET}"),
        click.option(
            "--image-feature", metavar="BACKBONE[@DIGEST]:TIMESTEP:TAP", help=f"Weighs 1 - alpha.{FROM_PRESET}"
        ),
        click.option("--alpha", type=float, help=f"Weight of the video feature, 0 to 1.{FROM_PRESET}"),
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
        click.option("--temperature", type=float, help=f"Divisor of similarities before the softmax.{FROM_PRESET}"),
        click.option("--top-k", type=int, help=f"Number of sources per pixel.{FROM_PRESET}"),
        click.option("--radius", type=int, help=f"Half the window's side, in cells of the feature grid.{FROM_PRESET}"),
        click.option("--context", type=int, help=f"Number of last frames used beside the first.{FROM_PRESET}"),
        click.option(
            "--window",
            type=click.Choice(["square", "circle"]),
            help=f"Shape of the window; a circle has distances strictly below the radius.{FROM_PRESET}",
        ),
        click.option(
            "--unrestricted-first/--no-unrestricted-first",
            default=None,
            help=f"Search annotated frames without a window.{FROM_PRESET}",
        ),
        click.option(
            "--context-fill/--no-context-fill",
            default=None,
            help=f"Repeat the first frame until the context is full.{FROM_PRESET}",
        ),
    ]
    return functools.reduce(lambda wrapped, decorate: decorate(wrapped), reversed(decorators), kernel_options(function))


def kernel_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the affinity kernel; see `take_kernel`."""
    parameter = click.option(
        "--kernel-option",
        "kernel_options",
        multiple=True,
        metavar="NAME=VALUE",
        help="Parameter of the kernel. Repeat.",
    )
    name = click.option("--kernel", help=f"Affinity kernel: the similarity of pixels.{FROM_PRESET}")
    return name(parameter(function))


def take_features(options: dict[str, Any]) -> ChosenFeatures:
    """Read the values of `feature_options`, and remove them from the options of a command.

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
    if video is image is alpha is None:
        features = features or tuple(f"{layer}=1" for layer in preset.layers)
    alpha = preset.alpha if alpha is None else alpha
    prefer = [parse_preference(text) for text in options.pop("prefer")]
    return ChosenFeatures(
        preset=preset,
        renormalize=options.pop("renormalize"),
        parts=_parts(features, (video or preset.video_feature, image or preset.image_feature), alpha),
        prefer=[*prefer, *preset.preferences],
    )


def take_settings(options: dict[str, Any], chosen: ChosenFeatures) -> "PropagationSettings":
    """Read the values of `setting_options`, and remove them from the options of a command.

    Raises
    ------
    ConfigError
        For a value out of range, an unknown kernel or an unknown parameter of it.
    """
    from ...propagate import PropagationSettings

    kernel = take_kernel(options, chosen)
    given = {name: options.pop(name) for name in (*_NUMBERS, *_RULES)}
    values = {name: getattr(chosen.preset, name) if value is None else value for name, value in given.items()}
    return PropagationSettings(renormalize=chosen.renormalize, kernel=kernel, **values)


def take_kernel(options: dict[str, Any], chosen: ChosenFeatures) -> "Kernel":
    """Read the values of `kernel_options`, and remove them from the options of a command.

    The preset's kernel and its parameters replace those that are not given.

    Raises
    ------
    ConfigError
        For an unknown kernel, or an unknown parameter of it.
    """
    from ...propagate import parse_kernel
    from ...store.errors import ConfigError

    name = options.pop("kernel") or chosen.preset.kernel
    default = chosen.preset.kernel_options if name == chosen.preset.kernel else ()
    texts = [text.partition("=") for text in (*default, *options.pop("kernel_options"))]
    if any(not equals for _, equals, _ in texts):
        raise ConfigError("--kernel-option takes NAME=VALUE")
    return parse_kernel(name, {name.strip(): value for name, _, value in texts})


def saved_settings(settings: "PropagationSettings") -> dict[str, Any]:
    """Return the options of settings, for a configuration file; default rules are left out."""
    from ...propagate import PropagationSettings

    default, kernel = PropagationSettings(), settings.kernel
    values = {name: getattr(settings, name) for name in ("renormalize", *_NUMBERS)}
    values |= {name: getattr(settings, name) for name in _RULES if getattr(settings, name) != getattr(default, name)}
    if kernel != default.kernel:
        parameters = {parameter.name: getattr(kernel, parameter.name) for parameter in kernel.parameters()}
        values["kernel"] = kernel.name
        values["kernel_option"] = [
            f"{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
            for name, value in parameters.items()
        ]
    return values


def _parts(
    features: tuple[str, ...], pair: tuple[str | None, str | None], alpha: float
) -> list[tuple["FeatureChoice", float]]:
    """Return features and weights: the listed ones, or the pair weighed by alpha."""
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
            raise ConfigError(f"alpha {alpha} gives weight {weight} to the {name} feature, but none is named")
    return parts
