"""What a sweep has to do: of every video, the passes over its features whose scores are not there yet."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from ....propagate import SearchSpec, SweepPass, WeightedSettings, affinity_spec, finest_part, plan_passes
from ....store import AffinitySpec, FeatureChoice, Unit
from ....store.errors import SchemaError
from ...datasets.video import Video
from ...tasks.base import EvalCase
from .grading import score_key
from .space import Setting

__all__ = ["Leg", "PassWork", "VideoWork", "plan_video_work"]

#: Features of a pair that affinities can be of, (video, image).
_PARTS = ((0,), (1,), (0, 1))


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One pass over the features of a video for one target, with the frames in which it is given.

    Attributes
    ----------
    affinities
        What is kept of the pass.
    units
        Features, in the order of the parts that are searched; none where affinities are kept already.
    the_pass
        What is searched for.
    """

    affinities: AffinitySpec
    units: tuple[Unit, ...]
    the_pass: SweepPass


@dataclass(frozen=True, kw_only=True)
class PassWork:
    """Passes over the features of a video, one for each target, and the settings that are scored with them.

    Attributes
    ----------
    legs
        The passes, in the order of the targets.
    frame_size
        (height, width) of the frames that the features were computed from.
    settings
        The settings by their parameters, which tell those of one pair of features apart.
    """

    legs: tuple[Leg, ...]
    frame_size: tuple[int, int]
    settings: Mapping[WeightedSettings, Setting]


@dataclass(frozen=True, kw_only=True)
class VideoWork:
    """What is to be done for one video.

    Attributes
    ----------
    video
        The video.
    units
        Its feature units.
    grading
        What its labels are scored against; None where they are not scored.
    keys
        The key of the scores under each setting; empty where they are not scored.
    passes
        What is missing.
    """

    video: Video
    units: Mapping[FeatureChoice, Unit]
    grading: EvalCase | None
    keys: Mapping[Setting, str]
    passes: tuple[PassWork, ...]

    @property
    def legs(self) -> tuple[Leg, ...]:
        """The passes over its features; one that serves several groups of settings as often."""
        return tuple(leg for work in self.passes for leg in work.legs)

    @property
    def missing(self) -> int:
        """Number of settings without scores."""
        return sum(len(work.settings) for work in self.passes)


def plan_video_work(
    video: Video,
    settings: Sequence[Setting],
    units: Mapping[FeatureChoice, Unit],
    grading: EvalCase | None,
    *,
    annotated: Sequence[tuple[int, ...]],
    done: Collection[str],
    kept: Sequence[AffinitySpec],
) -> VideoWork:
    """Plan the passes of a video: as many settings as possible with affinities that are kept, the others anew.

    Parameters
    ----------
    video
        The video.
    settings
        All settings of the sweep.
    units
        The units of their features.
    grading
        What labels are scored against; None if there is nothing to score, which makes every setting a missing one.
    annotated
        Of each target, the indices of the frames in which it is given, rising.
    done
        Keys of the scores that are there.
    kept
        Affinities of the video that are complete.
    """
    keys = {} if grading is None else {setting: score_key(grading, setting, units) for setting in settings}
    passes = []
    for pair, every in _by_pair(settings).items():
        missing = {setting.weighted: setting for setting in every if keys.get(setting) not in done}
        volumes = [units[choice] for choice in pair]
        legs = [_legs(list(missing), volumes, kept, frames) for frames in annotated]
        leg_of = [
            {values: place for place, leg in enumerate(of_target) for values in leg.the_pass.settings}
            for of_target in legs
        ]
        # Settings that share the passes of every target are scored together.
        shared: dict[tuple[int, ...], list[WeightedSettings]] = {}
        for values in missing:
            shared.setdefault(tuple(places[values] for places in leg_of), []).append(values)
        for places, some in shared.items():
            used = some[0].used_parts
            part = used[finest_part([volumes[number] for number in used])]
            passes.append(
                PassWork(
                    legs=tuple(of_target[place] for of_target, place in zip(legs, places, strict=True)),
                    frame_size=volumes[part].frame_size,
                    settings={values: missing[values] for values in some},
                )
            )
    return VideoWork(video=video, units=units, grading=grading, keys=keys, passes=tuple(passes))


def _legs(
    settings: Sequence[WeightedSettings],
    volumes: Sequence[Unit],
    kept: Sequence[AffinitySpec],
    annotated: tuple[int, ...],
) -> list[Leg]:
    """Return passes for one target, each setting in exactly one: kept affinities first, the others anew."""
    # On equal grids of frames of different sizes, settings that share affinities would not share a frame size.
    offered = [] if _same_grid_of_other_frames(volumes) else _kept_passes(settings, volumes, kept, annotated)
    legs = [Leg(affinities=spec, units=(), the_pass=the_pass) for spec, the_pass in offered]
    served = {values for leg in legs for values in leg.the_pass.settings}
    left = [values for values in settings if values not in served]
    for the_pass in plan_passes(left, [(unit.grid, unit.frame_size) for unit in volumes], annotated):
        searched = tuple(volumes[part] for part in the_pass.parts)
        legs.append(Leg(affinities=affinity_spec(searched, the_pass.search), units=searched, the_pass=the_pass))
    return legs


def _by_pair(settings: Iterable[Setting]) -> dict[tuple[FeatureChoice, FeatureChoice], list[Setting]]:
    """Divide settings by their (video, image) features, those of one feature among the pairs that have it.

    Where only one feature is used at all, it stands for the other, which has no weight.
    """
    both: dict[tuple[FeatureChoice, FeatureChoice], list[Setting]] = {}
    single: list[Setting] = []
    for setting in settings:
        if setting.video is not None and setting.image is not None:
            both.setdefault((setting.video, setting.image), []).append(setting)
        else:
            single.append(setting)
    for setting in single:
        ((choice, _),) = setting.parts
        place = 0 if setting.image is None else 1
        pair = next((pair for pair in both if pair[place] == choice), (choice, choice))
        both.setdefault(pair, []).append(setting)
    return both


def _kept_passes(
    settings: Sequence[WeightedSettings],
    volumes: Sequence[Unit],
    kept: Sequence[AffinitySpec],
    annotated: tuple[int, ...],
) -> list[tuple[AffinitySpec, SweepPass]]:
    """Return kept affinities and the pass that they make, for those of the settings that there are some for."""
    passes = []
    left = list(settings)
    for spec in kept:
        for parts in [(0, 1)] if len(spec.features) == 2 else [(0,), (1,)]:
            with suppress(SchemaError):  # of another version: searched for anew
                offered = SweepPass(parts=parts, search=SearchSpec.from_json(spec.search), settings=())
                if offered.search.annotated != annotated:
                    continue
                served = dict.fromkeys(values for values in left if _serves(spec, offered, values, volumes))
                if served:
                    passes.append((spec, replace(offered, settings=tuple(served))))
                    left = [values for values in left if values not in served]
    return passes


def _serves(spec: AffinitySpec, offered: SweepPass, values: WeightedSettings, volumes: Sequence[Unit]) -> bool:
    """Tell whether affinities hold all that a setting needs, to the last bit."""
    used = values.used_parts
    feature_of = dict(zip(offered.parts, spec.features, strict=False))
    return (
        len(spec.features) == len(offered.parts)
        and all(feature_of.get(part) == volumes[part].content_hash for part in used)
        # A run of the setting's own is on the grid of the finest feature that has a weight.
        and spec.grid == max((volumes[part].grid for part in used), key=math.prod)
        and offered.search.serves(values.of_parts(offered.parts))
    )


def _same_grid_of_other_frames(volumes: Sequence[Unit]) -> bool:
    return len({unit.grid for unit in volumes}) < len({(unit.grid, unit.frame_size) for unit in volumes})
