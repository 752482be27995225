"""A sweep's space from text: lists of values, completed by a preset."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ....propagate import CosineKernel, Kernel, KernelParameter, PropagationSettings, get_kernel, kernel_class
from ....store import FeatureChoice
from ....store.errors import ConfigError
from ...choices.features import parse_choice
from ...choices.presets import Preset
from .notation import parse_booleans, parse_features, parse_integers, parse_numbers, parse_texts
from .space import Setting, SweepSpace

__all__ = ["make_space", "parse_kernels", "preset_setting", "space_options"]


def make_space(lists: Mapping[str, Sequence[str]], preset: Preset, *, renormalize: bool) -> SweepSpace:
    """Build the space of a sweep.

    Parameters
    ----------
    lists
        Lists of values as text: ``video_features``, ``image_features``, ``alpha``, ``temperature``, ``top_k``,
        ``radius``, ``context``, ``window``, ``unrestricted_first``, ``context_fill``, ``kernel`` and
        ``kernel_options``. The preset's value, or the default, replaces an empty or absent list.
    preset
        A published setting.
    renormalize
        Whether fused features are L2-normalised again.

    Raises
    ------
    ConfigError
        For lists that cannot be read, and values out of range.
    """

    def values(name: str, parse: Callable[[str, Sequence[str]], tuple[Any, ...]], default: Any) -> tuple[Any, ...]:
        return parse(name, lists.get(name, ())) or (default,)

    return SweepSpace(
        video_features=parse_features(lists["video_features"]) or (_choice(preset.video_feature),),
        image_features=parse_features(lists["image_features"]) or (_choice(preset.image_feature),),
        alphas=values("alpha", parse_numbers, preset.alpha),
        temperatures=values("temperature", parse_numbers, preset.temperature),
        top_ks=values("top_k", parse_integers, preset.top_k),
        radii=values("radius", parse_integers, preset.radius),
        contexts=values("context", parse_integers, preset.context),
        renormalize=renormalize,
        windows=values("window", parse_texts, preset.window),
        unrestricted_first=values("unrestricted_first", parse_booleans, preset.unrestricted_first),
        context_fill=values("context_fill", parse_booleans, preset.context_fill),
        kernels=_kernels(lists.get("kernel", ()), lists.get("kernel_options", ()), preset),
    )


def parse_kernels(names: Sequence[str], options: Sequence[str]) -> tuple[Kernel, ...]:
    """Return kernels with all combinations of their parameters' values.

    Parameters
    ----------
    names
        Lists of kernels, separated by commas; the cosine kernel by default.
    options
        ``NAME=LIST``: numbers and ranges, or texts separated by commas. A parameter that is a tuple takes one value
        for each option. Every kernel with a parameter of that name takes the values.

    Raises
    ------
    ConfigError
        For an unknown kernel, a parameter that no kernel has, and values that cannot be read.
    """
    chosen = parse_texts("kernel", names) or (CosineKernel.name,)
    lists: dict[str, list[str]] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals:
            raise ConfigError(f"{option!r} is not NAME=LIST, such as gain=1,2,4")
        lists.setdefault(name.strip(), []).append(text)
    parameters = {name: {item.name: item for item in kernel_class(name).parameters()} for name in chosen}
    for name in lists:
        if not any(name in known for known in parameters.values()):
            known = ", ".join(sorted({item for items in parameters.values() for item in items})) or "none"
            raise ConfigError(f"no kernel of {', '.join(chosen)} has a parameter {name!r}; parameters: {known}")
    kernels = []
    for kernel, known_parameters in parameters.items():
        axes = {name: _values(known_parameters[name], lists[name]) for name in lists if name in known_parameters}
        rows = itertools.product(*axes.values())
        kernels += [get_kernel(kernel, **dict(zip(axes, row, strict=True))) for row in rows]
    return tuple(dict.fromkeys(kernels))


def _kernels(names: Sequence[str], options: Sequence[str], preset: Preset) -> tuple[Kernel, ...]:
    """Return the kernels of lists; the preset's, with its parameters, unless others are named."""
    if names:
        return parse_kernels(names, options)
    given = {option.partition("=")[0].strip() for option in options}
    default = [option for option in preset.kernel_options if option.partition("=")[0] not in given]
    return parse_kernels([preset.kernel], [*default, *options])


def preset_setting(preset: Preset) -> Setting:
    """Return the setting of a preset."""
    return Setting(
        video=_choice(preset.video_feature) if preset.alpha > 0 else None,
        image=_choice(preset.image_feature) if preset.alpha < 1 else None,
        alpha=preset.alpha,
        propagation=PropagationSettings(
            temperature=preset.temperature,
            top_k=preset.top_k,
            radius=preset.radius,
            context=preset.context,
            window=preset.window,
            unrestricted_first=preset.unrestricted_first,
            context_fill=preset.context_fill,
            kernel=_kernels((), (), preset)[0],
        ),
    )


def space_options(space: SweepSpace) -> dict[str, Any]:
    """Return the options of ``ted sweep`` for a space, by long name, for a configuration file."""
    rules = {
        "window": list(space.windows),
        "unrestricted_first": [str(value).lower() for value in space.unrestricted_first],
        "context_fill": [str(value).lower() for value in space.context_fill],
    }
    kernel_values: dict[str, None] = {}
    for kernel in space.kernels:
        for parameter in kernel.parameters():
            value = getattr(kernel, parameter.name)
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            kernel_values[f"{parameter.name}={text}"] = None
    options = {
        "video_feature": [str(choice) for choice in space.video_features if choice] or None,
        "image_feature": [str(choice) for choice in space.image_features if choice] or None,
        "alpha": list(space.alphas),
        "temperature": list(space.temperatures),
        "top_k": list(space.top_ks),
        "radius": list(space.radii),
        "context": list(space.contexts),
        "renormalize": space.renormalize,
        **{name: values for name, values in rules.items() if values not in (["square"], ["false"])},
        "kernel": None if space.kernels == (CosineKernel(),) else list(dict.fromkeys(k.name for k in space.kernels)),
        "kernel_option": list(kernel_values) or None,
    }
    return {name: value for name, value in options.items() if value is not None}


def _values(parameter: KernelParameter, texts: Sequence[str]) -> tuple[Any, ...]:
    """Return the values of a kernel's parameter."""
    kind = type(parameter.default)
    if kind is int:
        return parse_integers(parameter.name, texts)
    if kind is float:
        return parse_numbers(parameter.name, texts)
    items = texts if kind is tuple else parse_texts(parameter.name, texts)
    return tuple(dict.fromkeys(parameter.parse(text) for text in items))


def _choice(text: str | None) -> FeatureChoice | None:
    return None if text is None else parse_choice(text)
