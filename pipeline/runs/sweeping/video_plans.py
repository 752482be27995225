"""The plan of one video: passes over its features, and the settings that are scored with each."""

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

from ....propagate import (
    AnnotatedLabel,
    SearchSpec,
    SweepPass,
    WeightedSettings,
    affinity_spec,
    finest_part,
    plan_passes,
)
from ....store import AffinitySpec, FeatureChoice, Unit
from ....store.durable import canonical_json
from ....store.errors import SchemaError
from ...datasets.video import Video
from ...tasks.base import EvalCase
from .space import Setting

__all__ = ["PassPlan", "TargetAffinities", "VideoPlan", "plan_video", "score_key"]

#: Part of every key of scores: changes when scores are computed differently.
_SCORING = 1


@dataclass(frozen=True, kw_only=True)
class TargetAffinities:
    """The affinities of one target.

    Attributes
    ----------
    folder
        Folder of the affinities in the cache.
    spec
        Description of the affinities.
    units
        Feature units to search, in the order of the parts; empty if the affinities are cached already.
    sweep_pass
        The search, and the settings that it serves.
    annotations
        Labels of the annotated frames by index, on the affinities' grid; set when the target is scored.
    """

    folder: Path
    spec: AffinitySpec
    units: tuple[Unit, ...]
    sweep_pass: SweepPass
    annotations: Mapping[int, AnnotatedLabel] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PassPlan:
    """The affinities of every target, and the settings that are scored with them.

    Attributes
    ----------
    targets
        One for each target of the video's task.
    frame_size
        (height, width) of the frames that the features were computed from.
    settings
        The settings, by their parameters.
    """

    targets: tuple[TargetAffinities, ...]
    frame_size: tuple[int, int]
    settings: Mapping[WeightedSettings, Setting]


@dataclass(frozen=True, kw_only=True)
class VideoPlan:
    """The work that is left for one video.

    Attributes
    ----------
    video
        The video.
    units
        Its feature units.
    case
        Targets and evaluator; None if nothing is scored.
    keys
        The key of the scores under each setting; empty if nothing is scored.
    passes
        The passes that are left.
    """

    video: Video
    units: Mapping[FeatureChoice, Unit]
    case: EvalCase | None
    keys: Mapping[Setting, str]
    passes: tuple[PassPlan, ...]

    @property
    def targets(self) -> tuple[TargetAffinities, ...]:
        """The affinities of all passes; shared ones occur several times."""
        return tuple(target for one in self.passes for target in one.targets)

    @property
    def missing(self) -> int:
        """Number of settings without scores."""
        return sum(len(one.settings) for one in self.passes)


def score_key(case: EvalCase, setting: Setting, units: Mapping[FeatureChoice, Unit]) -> str:
    """Return a digest of all inputs of a video's scores under a setting."""
    determining = {
        "scoring": _SCORING,
        "features": [[units[choice].content_hash, weight] for choice, weight in setting.parts],
        **case.key,
        **setting.propagation.to_json(),
    }
    return hashlib.sha256(canonical_json(determining)).hexdigest()


def plan_video(
    root: Path,
    video: Video,
    settings: Sequence[Setting],
    units: Mapping[FeatureChoice, Unit],
    case: EvalCase | None,
    *,
    annotated: Sequence[tuple[int, ...]],
    done: Collection[str],
    cached: Sequence[AffinitySpec],
) -> VideoPlan:
    """Plan the passes of a video: cached affinities serve as many settings as possible, the others are searched.

    Parameters
    ----------
    root
        The cache's folder.
    video
        The video.
    settings
        All settings of the sweep.
    units
        The units of their features.
    case
        Targets and evaluator; None if nothing is scored: then every setting is missing.
    annotated
        Indices of the annotated frames of each target, rising.
    done
        Keys of existing scores.
    cached
        Complete affinities of the video.
    """
    keys = {} if case is None else {setting: score_key(case, setting, units) for setting in settings}
    passes = []
    for features, every in _by_features(settings).items():
        missing = {setting.weighted: setting for setting in every if keys.get(setting) not in done}
        volumes = [units[choice] for choice in features]
        choices = [_target_affinities(root, list(missing), volumes, cached, frames) for frames in annotated]
        number_of = [
            {item: number for number, affinities in enumerate(of_target) for item in affinities.sweep_pass.settings}
            for of_target in choices
        ]
        # Settings that use the same affinities of every target are scored together.
        shared: dict[tuple[int, ...], list[WeightedSettings]] = {}
        for item in missing:
            shared.setdefault(tuple(numbers[item] for numbers in number_of), []).append(item)
        for numbers, some in shared.items():
            used = some[0].used_parts
            part = used[finest_part([volumes[number] for number in used])]
            passes.append(
                PassPlan(
                    targets=tuple(of_target[number] for of_target, number in zip(choices, numbers, strict=True)),
                    frame_size=volumes[part].frame_size,
                    settings={item: missing[item] for item in some},
                )
            )
    return VideoPlan(video=video, units=units, case=case, keys=keys, passes=tuple(passes))


def _target_affinities(
    root: Path,
    settings: Sequence[WeightedSettings],
    volumes: Sequence[Unit],
    cached: Sequence[AffinitySpec],
    annotated: tuple[int, ...],
) -> list[TargetAffinities]:
    """Return affinities for one target, cached ones first; each setting uses exactly one of them."""
    # On equal grids of frames of different sizes, settings that share affinities would not share a frame size.
    offered = [] if _same_grid_of_other_frames(volumes) else _cached_passes(settings, volumes, cached, annotated)
    chosen: list[tuple[AffinitySpec, tuple[Unit, ...], SweepPass]] = [
        (spec, (), sweep_pass) for spec, sweep_pass in offered
    ]
    served = {item for _, sweep_pass in offered for item in sweep_pass.settings}
    left = [item for item in settings if item not in served]
    for sweep_pass in plan_passes(left, [(unit.grid, unit.frame_size) for unit in volumes], annotated):
        searched = tuple(volumes[part] for part in sweep_pass.parts)
        chosen.append((affinity_spec(searched, sweep_pass.search), searched, sweep_pass))
    return [
        TargetAffinities(folder=spec.folder(root), spec=spec, units=units, sweep_pass=sweep_pass)
        for spec, units, sweep_pass in chosen
    ]


def _by_features(settings: Iterable[Setting]) -> dict[tuple[FeatureChoice, ...], list[Setting]]:
    """Group settings by their features; a setting without some of them joins a group that has its features.

    A part without a feature in a whole group stands for any other feature of it, and has no weight.
    """
    groups: dict[tuple[FeatureChoice, ...], list[Setting]] = {}
    for setting in sorted(settings, key=lambda item: -len(item.parts)):
        filled = tuple(choice or setting.parts[0][0] for choice in setting.features)
        slots = [(own, slot) for slot, own in enumerate(setting.features) if own is not None]
        fitting = (group for group in groups if all(group[slot] == own for own, slot in slots))
        groups.setdefault(next(fitting, filled), []).append(setting)
    return groups


def _cached_passes(
    settings: Sequence[WeightedSettings],
    volumes: Sequence[Unit],
    cached: Sequence[AffinitySpec],
    annotated: tuple[int, ...],
) -> list[tuple[AffinitySpec, SweepPass]]:
    """Return cached affinities that serve settings, each with the pass of these settings."""
    passes = []
    left = list(settings)
    for spec in cached:
        for parts in combinations(range(len(volumes)), len(spec.features)):
            with suppress(SchemaError):  # skip affinities of another version
                offered = SweepPass(parts=parts, search=SearchSpec.from_json(spec.search), settings=())
                if offered.search.annotated != annotated:
                    continue
                served = dict.fromkeys(item for item in left if _serves(spec, offered, item, volumes))
                if served:
                    passes.append((spec, replace(offered, settings=tuple(served))))
                    left = [item for item in left if item not in served]
    return passes


def _serves(spec: AffinitySpec, offered: SweepPass, item: WeightedSettings, volumes: Sequence[Unit]) -> bool:
    """Return whether affinities contain exactly the sources of a setting."""
    used = item.used_parts
    feature_of = dict(zip(offered.parts, spec.features, strict=False))
    return (
        len(spec.features) == len(offered.parts)
        and all(feature_of.get(part) == volumes[part].content_hash for part in used)
        # A run with this setting alone uses the grid of the finest feature with a weight.
        and spec.grid == max((volumes[part].grid for part in used), key=math.prod)
        and offered.search.serves(item.of_parts(offered.parts))
    )


def _same_grid_of_other_frames(volumes: Sequence[Unit]) -> bool:
    return len({unit.grid for unit in volumes}) < len({(unit.grid, unit.frame_size) for unit in volumes})
