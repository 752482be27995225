"""Plan a sweep: the passes over every video's features, and the scores that are missing."""

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
from ....store import AffinitySpec, Cache, FeatureChoice, Unit
from ....store.durable import canonical_json
from ....store.errors import ConfigError, FrameError, SchemaError, TedError
from ...choices.hints import explain, plural
from ...datasets.video import Video
from ...tasks.base import EvalCase, Task
from ..propagating.units import find_units
from .journal import Journal
from .results import SweepResult, VideoResult
from .space import Setting, SweepSpace

#: Part of every key of scores: changes when scores are computed differently.
_SCORING = 1


@dataclass(frozen=True, kw_only=True)
class TargetAffinities:
    """The affinities of one target: their unit in the cache, and the pass that they serve.

    `units` are the feature units to search, in the order of the parts; empty if the affinities are cached already.
    `annotations`, on the affinities' grid, are set when the target is scored.
    """

    folder: Path
    spec: AffinitySpec
    units: tuple[Unit, ...]
    sweep_pass: SweepPass
    annotations: Mapping[int, AnnotatedLabel] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PassPlan:
    """The affinities of every target of a video, and the settings that are scored with them.

    `frame_size` is the (height, width) of the frames that the features were computed from.
    """

    targets: tuple[TargetAffinities, ...]
    frame_size: tuple[int, int]
    settings: Mapping[WeightedSettings, Setting]


@dataclass(frozen=True, kw_only=True)
class VideoPlan:
    """The features and the ground truth of one video, and the work that is left for it.

    Attributes
    ----------
    units
        The units of its features.
    case
        Targets and evaluator; None if nothing is scored: then every setting is missing.
    annotated
        Indices of the annotated frames of each target, rising.
    keys
        The key of the scores under each setting; empty if nothing is scored.
    passes
        The passes that are left.
    """

    video: Video
    units: Mapping[FeatureChoice, Unit]
    case: EvalCase | None
    annotated: Sequence[tuple[int, ...]]
    keys: Mapping[Setting, str] = field(default_factory=dict)
    passes: tuple[PassPlan, ...] = ()

    @property
    def targets(self) -> tuple[TargetAffinities, ...]:
        """The affinities of all passes; shared ones occur several times."""
        return tuple(target for one in self.passes for target in one.targets)

    @property
    def missing(self) -> int:
        """Number of settings without scores."""
        return sum(len(one.settings) for one in self.passes)


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """The work of a sweep: the plan of each video, and why other videos cannot be swept, by name.

    `done` are the keys of existing scores.
    """

    cache: Cache
    task: Task
    settings: Sequence[Setting]
    videos: Sequence[VideoPlan]
    failures: Mapping[str, str]
    done: Collection[str] = ()

    def plan(self, done: Collection[str]) -> "SweepPlan":
        """Plan the work that is left when some scores exist; `replan` reads their keys again."""
        own = replace(self, done=done)
        return replace(own, videos=[own.replan(work) for work in self.videos])

    def replan(self, work: VideoPlan) -> VideoPlan:
        """Plan a video with the affinities and scores that exist now.

        Cached affinities serve as many settings as possible; the others are searched for.
        """
        entries = self.cache.affinities(work.video.dataset, work.video.name)
        complete = sorted((entry for entry in entries if entry.state == "complete"), key=lambda entry: entry.bytes)
        cached = [entry.spec for entry in complete]  # small units are read fastest
        case = work.case
        keys = {} if case is None else {setting: _score_key(case, setting, work.units) for setting in self.settings}
        passes = []
        for features, every in _by_features(self.settings).items():
            missing = {setting.weighted: setting for setting in every if keys.get(setting) not in self.done}
            volumes = [work.units[choice] for choice in features]
            choices = [_affinities(self.cache.root, list(missing), volumes, cached, some) for some in work.annotated]
            number_of = [
                {item: number for number, affinities in enumerate(of_target) for item in affinities.sweep_pass.settings}
                for of_target in choices
            ]
            # Settings that use the same affinities of every target are scored together.
            shared: dict[tuple[int, ...], list[WeightedSettings]] = {}
            for item in missing:
                shared.setdefault(tuple(numbers[item] for numbers in number_of), []).append(item)
            for numbers, some_settings in shared.items():
                used = some_settings[0].used_parts
                finest = used[finest_part([volumes[part] for part in used])]
                passes.append(
                    PassPlan(
                        targets=tuple(of_target[number] for of_target, number in zip(choices, numbers, strict=True)),
                        frame_size=volumes[finest].frame_size,
                        settings={item: missing[item] for item in some_settings},
                    )
                )
        return replace(work, keys=keys, passes=tuple(passes))


def survey_sweep(
    cache: Cache,
    videos: Sequence[Video],
    space: SweepSpace,
    *,
    task: Task,
    score: bool = True,
    prefer: Sequence[tuple[str, str]] = (),
) -> SweepPlan:
    """Find the units and the ground truth of every video, for `SweepPlan.plan`. Nothing is written.

    Without `score`, only affinities are computed. Raises ConfigError when no video at all has the ground truth that
    scores need.
    """
    lacks: dict[str, str | None] = {}
    for video in videos if score else ():
        with suppress(FrameError):  # reported among the failures below
            lacks[video.name] = task.missing_truth(video)
    if lacks and None not in lacks.values():
        name, reason = next(iter(lacks.items()))
        others = f" (and likewise {plural(len(lacks) - 1, 'other video')})" if len(lacks) > 1 else ""
        raise ConfigError(
            f"a sweep scores against ground truth, and there is too little: video {name!r} {reason}{others}. Sweep "
            "over videos with public ground truth (the train split, if that of the validation split is not public), "
            "and give the best setting to `ted propagate`; or give --affinities-only, which needs none"
        )
    settings = space.settings()
    used = {choice for setting in settings for choice, _ in setting.parts}
    choices = [choice for of_part in space.features for choice in of_part if choice in used]
    found: list[VideoPlan] = []
    failures: dict[str, str] = {}
    for video in videos:
        try:
            units = find_units(cache, video, choices, prefer)
            case = task.eval_case(video) if score else None
            annotated = [frames for frames, _ in case.targets] if case else task.annotated_frames(video)
            found.append(VideoPlan(video=video, units=units, case=case, annotated=annotated))
        except TedError as error:
            failures[video.name] = explain(error)
    return SweepPlan(cache=cache, task=task, settings=settings, videos=found, failures=failures)


def plan_sweep(
    cache: Cache, videos: Sequence[Video], space: SweepSpace, done: Collection[str], *, task: Task
) -> SweepPlan:
    """Survey a sweep, and plan the work that is left when some scores exist; see `survey_sweep`."""
    return survey_sweep(cache, videos, space, task=task).plan(done)


def sweep_result(plan: SweepPlan, journal: Journal) -> SweepResult:
    """Collect the scores of a plan from the journal."""
    videos = [
        VideoResult(
            dataset=one.video.dataset,
            video=one.video.name,
            units={
                str(choice): f"{unit.request.backbone}@{unit.request.digest()[:8]}:{unit.spec.timestep}:{unit.spec.tap}"
                for choice, unit in one.units.items()
            },
            alpha_bars={
                str(choice): unit.spec.alpha_bar
                for choice, unit in one.units.items()
                if unit.spec.alpha_bar is not None
            },
            scores={setting: journal.scores[key] for setting, key in one.keys.items() if key in journal.scores},
        )
        for one in plan.videos
    ]
    return SweepResult(metric_spec=plan.task.metric_spec, settings=plan.settings, videos=videos, failures=plan.failures)


def _score_key(case: EvalCase, setting: Setting, units: Mapping[FeatureChoice, Unit]) -> str:
    """Return a digest of all inputs of a video's scores under a setting."""
    determining = {
        "scoring": _SCORING,
        "features": [[units[choice].content_hash, weight] for choice, weight in setting.parts],
        **case.key,
        **setting.propagation.to_json(),
    }
    return hashlib.sha256(canonical_json(determining)).hexdigest()


def _affinities(
    root: Path,
    settings: Sequence[WeightedSettings],
    volumes: Sequence[Unit],
    cached: Sequence[AffinitySpec],
    annotated: tuple[int, ...],
) -> list[TargetAffinities]:
    """Return affinities for one target, cached ones first; each setting uses exactly one of them."""
    chosen: list[tuple[AffinitySpec, tuple[Unit, ...], SweepPass]] = []
    # On equal grids of frames of different sizes, settings that share affinities would not share a frame size.
    if len({unit.grid for unit in volumes}) == len({(unit.grid, unit.frame_size) for unit in volumes}):
        chosen = [(spec, (), offered) for spec, offered in _cached_passes(settings, volumes, cached, annotated)]
    served = {item for _, _, offered in chosen for item in offered.settings}
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
                served = tuple(dict.fromkeys(item for item in left if _serves(spec, offered, item, volumes)))
                if served:
                    passes.append((spec, replace(offered, settings=served)))
                    left = [item for item in left if item not in served]
    return passes


def _serves(spec: AffinitySpec, offered: SweepPass, item: WeightedSettings, volumes: Sequence[Unit]) -> bool:
    """Return whether affinities contain exactly the sources of a setting."""
    used = item.used_parts
    feature_of = dict(zip(offered.parts, spec.features, strict=True))
    return (
        all(feature_of.get(part) == volumes[part].content_hash for part in used)
        # A run with this setting alone uses the grid of the finest feature with a weight.
        and spec.grid == max((volumes[part].grid for part in used), key=math.prod)
        and offered.search.serves(item.of_parts(offered.parts))
    )
