"""Options of features, their weights and label propagation; a preset provides their defaults."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import click
from click.shell_completion import CompletionItem

from ..choices.presets import DEFAULT, PRESETS, get_preset
from .base import Options, opt
from .options import PREFER, PRESET

if TYPE_CHECKING:
    from ...propagate import Kernel, PropagationSettings
    from ...store import FeatureChoice

_FEATURE = "BACKBONE[@DIGEST]:TIMESTEP:TAP"
_NUMBERS = ("temperature", "top_k", "radius", "context")
_RULES = ("window", "unrestricted_first", "context_fill")


def of_preset(field: str, help_text: str, **settings: Any) -> Any:
    """Declare an option whose default is a field of the preset; the help names the default preset's value."""
    value = getattr(PRESETS[DEFAULT], field)
    text = " ".join(value) if isinstance(value, tuple) else "no" if value is False else value
    return opt(f"{help_text}  [default: the preset's, such as {text}]", **settings)


def complete_feature(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete a feature by those in the cache."""
    from ...store import open_cache

    try:
        specs = [entry.spec for entry in open_cache(context.params.get("cache") or "cache").entries()]
    except Exception:  # a shell cannot show it
        return []
    weight = "=" if "=WEIGHT" in (parameter.metavar or "") else ""
    names = {f"{spec.request.backbone}:{spec.timestep}:{spec.tap}{weight}" for spec in specs}
    return [CompletionItem(name) for name in sorted(names) if name.startswith(begun)]


def preferences(preset: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return fields that decide between several units of a feature: those of ``--prefer``, then the preset's."""
    from ..choices.features import parse_preference

    return [*map(parse_preference, texts), *get_preset(preset).preferences]


RENORMALIZE = opt("L2-normalise the fused feature again.", True, flag="--renormalize/--no-renormalize")


class FusionChoice(Options, title="Features and their weights"):
    """Features and their weights."""

    preset: str = PRESET
    video_feature: str | None = of_preset(
        "video_feature", "Feature with weight alpha.", metavar=_FEATURE, shell_complete=complete_feature
    )
    image_feature: str | None = of_preset(
        "image_feature", "Feature with weight 1 - alpha.", metavar=_FEATURE, shell_complete=complete_feature
    )
    alpha: float | None = of_preset("alpha", "Weight of the video feature, 0 to 1.")
    features: tuple[str, ...] = opt(
        "Any number of features with weights, instead of the two above and alpha. Repeat.",
        flag="--feature",
        metavar=f"{_FEATURE}=WEIGHT",
        shell_complete=complete_feature,
    )
    prefer: tuple[str, ...] = PREFER
    renormalize: bool = RENORMALIZE

    def parts(self) -> list[tuple["FeatureChoice", float]]:
        """Return the features and their weights, including those of weight 0; raises ConfigError for wrong ones."""
        from ...propagate import part_weights
        from ...store.errors import ConfigError
        from ..choices.features import parse_choice, parse_weighted

        preset = get_preset(self.preset)
        pair_given = any(value is not None for value in (self.video_feature, self.image_feature, self.alpha))
        if self.features and pair_given:
            raise ConfigError("--feature lists all features with their weights: leave out --alpha and the other two")
        layers = () if pair_given else tuple(f"{layer}=1" for layer in preset.layers)
        if self.features or layers:
            return [parse_weighted(text) for text in self.features or layers]
        alpha = preset.alpha if self.alpha is None else self.alpha
        pair = (self.video_feature or preset.video_feature, self.image_feature or preset.image_feature)
        parts = []
        for name, text, weight in zip(("video", "image"), pair, part_weights(alpha), strict=True):
            if text is not None:
                parts.append((parse_choice(text), weight))
            elif weight:
                raise ConfigError(f"alpha {alpha} gives weight {weight} to the {name} feature, but none is named")
        return parts

    def preferred(self) -> list[tuple[str, str]]:
        """Return fields that decide between several units of a feature, as in `Cache.find`."""
        return preferences(self.preset, self.prefer)


class KernelChoice(Options, title="Label propagation"):
    """The affinity kernel."""

    kernel: str | None = of_preset("kernel", "Affinity kernel: the similarity of pixels.")
    kernel_options: tuple[str, ...] = opt(
        "Parameter of the kernel. Repeat.", flag="--kernel-option", metavar="NAME=VALUE"
    )

    def get(self, fusion: FusionChoice) -> "Kernel":
        """Return the kernel; that of the preset, with its parameters, unless another is given."""
        from ...propagate import parse_kernel
        from ...store.errors import ConfigError

        preset = get_preset(fusion.preset)
        name = self.kernel or preset.kernel
        default = preset.kernel_options if name == preset.kernel else ()
        texts = [text.partition("=") for text in (*default, *self.kernel_options)]
        if any(not equals for _, equals, _ in texts):
            raise ConfigError("--kernel-option takes NAME=VALUE")
        return parse_kernel(name, {name.strip(): value for name, _, value in texts})


class SettingChoice(KernelChoice):
    """Settings of label propagation."""

    temperature: float | None = of_preset("temperature", "Divisor of similarities before the softmax.")
    top_k: int | None = of_preset("top_k", "Number of sources per pixel.")
    radius: int | None = of_preset("radius", "Half the window's side, in cells of the feature grid.")
    context: int | None = of_preset("context", "Number of last frames used beside the first.")
    window: Literal["square", "circle"] | None = of_preset(
        "window", "Shape of the window; a circle has distances strictly below the radius."
    )
    unrestricted_first: bool | None = of_preset(
        "unrestricted_first",
        "Search annotated frames without a window.",
        flag="--unrestricted-first/--no-unrestricted-first",
    )
    context_fill: bool | None = of_preset(
        "context_fill",
        "Repeat the first frame until the context is full.",
        flag="--context-fill/--no-context-fill",
    )

    def settings(self, fusion: FusionChoice) -> "PropagationSettings":
        """Return the settings, completed by the preset; raises ConfigError for a value out of range."""
        from ...propagate import PropagationSettings

        preset = get_preset(fusion.preset)
        given = {name: getattr(self, name) for name in (*_NUMBERS, *_RULES)}
        values = {name: getattr(preset, name) if value is None else value for name, value in given.items()}
        return PropagationSettings(renormalize=fusion.renormalize, kernel=self.get(fusion), **values)


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
