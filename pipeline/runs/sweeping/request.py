"""A sweep's space from text: lists of values, completed by a preset."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from ....propagate import CosineKernel, Kernel, KernelParameter, get_kernel, kernel_class
from ....store import FeatureChoice
from ....store.errors import ConfigError
from ...choices.features import parse_choice
from ...choices.presets import Preset
from .notation import parse_booleans, parse_features, parse_integers, parse_numbers, parse_texts
from .space import NUMBERS, PAIR, RULES, Setting, SweepSpace

_PARSERS = {
    "temperature": parse_numbers, "top_k": parse_integers, "radius": parse_integers, "context": parse_integers,
    "window": parse_texts, "unrestricted_first": parse_booleans, "context_fill": parse_booleans,
}  # fmt: skip


def make_space(lists: Mapping[str, Sequence[str]], preset: Preset, *, renormalize: bool) -> SweepSpace:
    """Build the space of a sweep.

    Parameters
    ----------
    lists
        Lists of values as text: ``features`` (``FEATURES=WEIGHTS`` for each part), or ``video_features``,
        ``image_features`` and ``alpha``; ``temperature``, ``top_k``, ``radius``, ``context``, ``window``,
        ``unrestricted_first``, ``context_fill``, ``kernel`` and ``kernel_options``. The preset's value, or the default,
        replaces an empty or absent list.
    preset
        A published setting.
    renormalize
        Whether fused features are L2-normalised again.

    Raises
    ------
    ConfigError
        For lists that cannot be read, that exclude each other, and values out of range.
    """
    values: dict[str, tuple[Any, ...]] = {
        name: parse(name, lists.get(name, ())) or (getattr(preset, name),) for name, parse in _PARSERS.items()
    }
    values["renormalize"] = (renormalize,)
    values["kernel"] = _kernels(lists.get("kernel", ()), lists.get("kernel_options", ()), preset)
    of_pair = any(lists.get(name) for name in ("video_features", "image_features", "alpha"))
    parts = lists.get("features", ()) or (() if of_pair else tuple(f"{layer}=1" for layer in preset.layers))
    if not parts:
        return SweepSpace.pair(
            parse_features(lists["video_features"]) or (_choice(preset.video_feature),),
            parse_features(lists["image_features"]) or (_choice(preset.image_feature),),
            parse_numbers("alpha", lists.get("alpha", ())) or (preset.alpha,),
            values,
        )
    if of_pair:
        raise ConfigError("--feature lists all features with their weights: leave out --alpha and the other two")
    features, weights = [], []
    for text in parts:
        notation, equals, numbers = text.rpartition("=")
        if not equals:
            raise ConfigError(f"{text!r} is not FEATURES=WEIGHTS, such as rgb:0:stride8=0,0.5,1")
        features.append(parse_features([notation]))
        weights.append(sorted(parse_numbers("weight", [numbers])))
    return SweepSpace(
        features=tuple(features),
        weights=tuple(fused for fused in itertools.product(*weights) if any(fused)),
        values=values,
        names=tuple(f"part{number}" for number in range(1, len(features) + 1)),
    )


def parse_kernels(names: Sequence[str], options: Sequence[str]) -> tuple[Kernel, ...]:
    """Return kernels, by default the cosine kernel, with all combinations of their parameters' values.

    Options are ``NAME=LIST``: numbers and ranges, or texts separated by commas. A parameter that is a tuple takes one
    value for each option. Every kernel with a parameter of that name takes the values.
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
    (setting,) = make_space({"video_features": (), "image_features": ()}, preset, renormalize=True).settings()
    return setting


def space_options(space: SweepSpace) -> dict[str, Any]:
    """Return the options of ``ted sweep`` for a space, by long name, for a configuration file."""
    values = {name: list(found) for name, found in space.values.items()}
    kernels: list[Kernel] = values.pop("kernel", [CosineKernel()])
    options: dict[str, Any] = {}
    if space.names == PAIR:
        for name, choices in zip(space.names, space.features, strict=True):
            options[f"{name}_feature"] = [str(choice) for choice in choices if choice]
        options["alpha"] = [fused[0] for fused in space.weights]
    else:
        numbers = [",".join(map(str, sorted(set(of_part)))) for of_part in zip(*space.weights, strict=True)]
        texts = map(_notation, space.features)
        options["feature"] = [f"{text}={weights}" for text, weights in zip(texts, numbers, strict=True)]
    options |= {name: values[name] for name in NUMBERS if name in values}
    if "renormalize" in values:
        (options["renormalize"],) = values["renormalize"]
    for name, default in RULES.items():
        if values.get(name, [default]) != [default]:
            options[name] = [str(value).lower() for value in values[name]]
    if kernels != [CosineKernel()]:
        options["kernel"] = list(dict.fromkeys(kernel.name for kernel in kernels))
    texts_of = {
        f"{item.name}={','.join(map(str, value)) if isinstance(value, tuple) else value}": None
        for kernel in kernels
        for item in kernel.parameters()
        for value in [getattr(kernel, item.name)]
    }
    options["kernel_option"] = list(texts_of)
    return {name: value for name, value in options.items() if value != []}


def _notation(choices: Sequence[FeatureChoice | None]) -> str:
    """Return the features of one part, which are all combinations of timesteps and taps, as one text."""
    known = [choice for choice in choices if choice is not None]
    backbone = str(known[0]).split(":")[0]
    timesteps = dict.fromkeys(str(choice.timestep) for choice in known)
    return f"{backbone}:{','.join(timesteps)}:{','.join(dict.fromkeys(choice.tap for choice in known))}"


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
