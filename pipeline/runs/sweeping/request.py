"""What a person asks of a sweep: lists of values, with a preset for what is not given."""

from collections.abc import Mapping, Sequence
from typing import Any

from ....propagate import PropagationSettings
from ....store import FeatureChoice
from ...choices.features import parse_choice
from ...choices.presets import Preset
from .notation import parse_features, parse_integers, parse_numbers
from .space import Setting, SweepSpace

__all__ = ["make_space", "preset_setting", "space_options"]


def make_space(lists: Mapping[str, Sequence[str]], preset: Preset, *, renormalize: bool) -> SweepSpace:
    """Build the space of a sweep.

    Parameters
    ----------
    lists
        What was given, as text: ``video_features``, ``image_features``, ``alpha``, ``temperature``, ``top_k``,
        ``radius`` and ``context``; the preset's value stands for an empty one.
    preset
        A published setting.
    renormalize
        Whether fused features are L2-normalised again.

    Raises
    ------
    ConfigError
        For what cannot be read, or makes no sense.
    """
    return SweepSpace(
        video_features=parse_features(lists["video_features"]) or (_choice(preset.video_feature),),
        image_features=parse_features(lists["image_features"]) or (_choice(preset.image_feature),),
        alphas=parse_numbers("alpha", lists["alpha"]) or (preset.alpha,),
        temperatures=parse_numbers("temperature", lists["temperature"]) or (preset.temperature,),
        top_ks=parse_integers("top_k", lists["top_k"]) or (preset.top_k,),
        radii=parse_integers("radius", lists["radius"]) or (preset.radius,),
        contexts=parse_integers("context", lists["context"]) or (preset.context,),
        renormalize=renormalize,
    )


def preset_setting(preset: Preset) -> Setting:
    """Return the setting that a preset means."""
    return Setting(
        video=_choice(preset.video_feature) if preset.alpha > 0 else None,
        image=_choice(preset.image_feature) if preset.alpha < 1 else None,
        alpha=preset.alpha,
        propagation=PropagationSettings(
            temperature=preset.temperature,
            top_k=preset.top_k,
            radius=preset.radius,
            context=preset.context,
        ),
    )


def space_options(space: SweepSpace) -> dict[str, Any]:
    """Return the options of ``ted sweep`` that mean a space, by long name, for a configuration file."""
    return {
        "video_feature": [str(choice) for choice in space.video_features if choice] or None,
        "image_feature": [str(choice) for choice in space.image_features if choice] or None,
        "alpha": list(space.alphas),
        "temperature": list(space.temperatures),
        "top_k": list(space.top_ks),
        "radius": list(space.radii),
        "context": list(space.contexts),
        "renormalize": space.renormalize,
    }


def _choice(text: str | None) -> FeatureChoice | None:
    return None if text is None else parse_choice(text)
