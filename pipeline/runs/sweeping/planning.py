"""Plan a sweep: find the units and the ground truth of every video, and the scores that are missing."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ....store import Cache, FeatureChoice, Unit
from ....store.errors import ConfigError, FrameError, TedError
from ...choices.hints import explain, plural
from ...datasets.video import Video
from ...tasks.base import EvalCase, Task
from ..propagating.units import find_units
from .journal import Journal
from .results import SweepResult, VideoResult
from .space import Setting, SweepSpace
from .video_plans import VideoPlan, plan_video

__all__ = ["SweepPlan", "SweepSurvey", "plan_sweep", "survey_sweep", "sweep_result"]


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Units and ground truth of one video: arguments of `plan_video`."""

    video: Video
    units: Mapping[FeatureChoice, Unit]
    case: EvalCase | None
    annotated: Sequence[tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class SweepSurvey:
    """Units and ground truth of every video, independent of existing scores.

    Attributes
    ----------
    cache
        Where features and affinities are.
    task
        The task: targets and metrics.
    settings
        All settings.
    videos
        Units and ground truth of each video that can be swept.
    failures
        Why the other videos cannot be swept, by name.
    """

    cache: Cache
    task: Task
    settings: Sequence[Setting]
    videos: Sequence[_Found]
    failures: Mapping[str, str]

    def plan(self, done: Collection[str]) -> "SweepPlan":
        """Plan the work that is left when some scores exist.

        Parameters
        ----------
        done
            Keys of existing scores. `SweepPlan.replan` reads them again.
        """
        found_by_name = {found.video.name: found for found in self.videos}
        return SweepPlan(
            task=self.task,
            settings=self.settings,
            videos=[self._plan_video(found, done) for found in self.videos],
            failures=self.failures,
            replan=lambda plan: self._plan_video(found_by_name[plan.video.name], done),
        )

    def _plan_video(self, found: _Found, done: Collection[str]) -> VideoPlan:
        entries = self.cache.affinities(found.video.dataset, found.video.name)
        complete = [entry for entry in entries if entry.state == "complete"]
        return plan_video(
            self.cache.root,
            found.video,
            self.settings,
            found.units,
            found.case,
            annotated=found.annotated,
            done=done,
            cached=[
                entry.spec for entry in sorted(complete, key=lambda entry: entry.bytes)
            ],  # small units are read fastest
        )


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """The work of a sweep, and the videos that it cannot work on.

    Attributes
    ----------
    task
        The task: targets and metrics.
    settings
        All settings.
    videos
        The plan of each video that can be swept.
    failures
        Why the other videos cannot be swept, by name.
    replan
        Plans a video again, with the affinities and scores that exist at that time.
    """

    task: Task
    settings: Sequence[Setting]
    videos: Sequence[VideoPlan]
    failures: Mapping[str, str]
    replan: Callable[[VideoPlan], VideoPlan]


def survey_sweep(
    cache: Cache,
    videos: Sequence[Video],
    space: SweepSpace,
    *,
    task: Task,
    score: bool = True,
    prefer: Sequence[tuple[str, str]] = (),
) -> SweepSurvey:
    """Find the units and the ground truth of every video. Nothing is written.

    Parameters
    ----------
    cache
        Where features and affinities are.
    videos
        Videos with their ground truth.
    space
        The settings.
    task
        The task: targets and metrics.
    score
        Whether to score; if not, only affinities are computed.
    prefer
        Fields that decide between several units of a feature, as in `Cache.find`.

    Raises
    ------
    ConfigError
        When no video at all has the ground truth that scores need.
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
    found: list[_Found] = []
    failures: dict[str, str] = {}
    for video in videos:
        try:
            units = find_units(cache, video, choices, prefer)
            case = task.eval_case(video) if score else None
            found.append(
                _Found(
                    video=video,
                    units=units,
                    case=case,
                    annotated=[frames for frames, _ in case.targets] if case else task.annotated_frames(video),
                )
            )
        except TedError as error:
            failures[video.name] = explain(error)
    return SweepSurvey(cache=cache, task=task, settings=settings, videos=found, failures=failures)


def plan_sweep(
    cache: Cache,
    videos: Sequence[Video],
    space: SweepSpace,
    done: Collection[str],
    *,
    task: Task,
    prefer: Sequence[tuple[str, str]] = (),
) -> SweepPlan:
    """Survey a sweep, and plan the work that is left when some scores exist; see `survey_sweep`."""
    return survey_sweep(cache, videos, space, task=task, prefer=prefer).plan(done)


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
