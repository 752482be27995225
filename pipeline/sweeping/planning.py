"""Planning a sweep: which units it reads, which scores are missing, and which videos it cannot work on."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ...store import Cache
from ...store.errors import ConfigError, TedError
from ..datasets.video import Video
from .grading import find_units, plan_grading
from .journal import Journal
from .results import SweepResult, VideoResult
from .space import Setting, SweepSpace
from .work import VideoWork, plan_video_work

__all__ = ["SweepPlan", "plan_sweep", "sweep_result"]


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """What a sweep has to do, and what it cannot.

    Attributes
    ----------
    settings
        All settings.
    videos
        What is to be done for each video that can be swept.
    failures
        Why the others cannot, by name.
    """

    settings: Sequence[Setting]
    videos: Sequence[VideoWork]
    failures: Mapping[str, str]


def plan_sweep(
    cache: Cache,
    videos: Sequence[Video],
    space: SweepSpace,
    done: Collection[str],
    *,
    metrics: str | None,
    prefer: Sequence[tuple[str, str]] = (),
) -> SweepPlan:
    """Find the units of every video, and what is missing of its scores.

    Parameters
    ----------
    cache
        Where features and affinities are.
    videos
        Videos with their ground truth.
    space
        What is swept over.
    done
        Keys of the scores that are there.
    metrics
        ``"jf"``, ``"j"``, or None where only affinities are wanted.
    prefer
        Which features are meant where several units fit, as in `Cache.find`.

    Raises
    ------
    ConfigError
        When no video at all has the ground truth that metrics need.
    """
    if metrics and all(len(video.annotations()) < 3 for video in videos):
        raise ConfigError(
            "a sweep scores masks against ground truth, and no video of the sources has the three annotated frames "
            "that J&F needs: sweep over a dataset with ground truth, or give --affinities-only, which needs none"
        )
    settings = space.settings()
    used = {choice for setting in settings for choice, _ in setting.parts}
    choices = [choice for choice in (*space.video_features, *space.image_features) if choice in used]
    planned: list[VideoWork] = []
    failures: dict[str, str] = {}
    for video in videos:
        try:
            units = find_units(cache, video, choices, prefer)
            grading = plan_grading(video, contours=metrics == "jf") if metrics else None
            entries = cache.affinities(video.dataset, video.name)
            complete = sorted((entry for entry in entries if entry.state == "complete"), key=lambda entry: entry.bytes)
            kept = [entry.spec for entry in complete]  # the smallest first, which are read fastest
            planned.append(plan_video_work(video, settings, units, grading, done=done, kept=kept))
        except TedError as error:
            failures[video.name] = str(error)
    return SweepPlan(settings=settings, videos=planned, failures=failures)


def sweep_result(plan: SweepPlan, journal: Journal) -> SweepResult:
    """Collect the scores of a plan from the journal."""
    videos = [
        VideoResult(
            dataset=work.video.dataset,
            video=work.video.name,
            units={
                str(choice): f"{unit.request.backbone}@{unit.request.digest()[:8]}:{unit.spec.timestep}:{unit.spec.tap}"
                for choice, unit in work.units.items()
            },
            alpha_bars={
                str(choice): unit.spec.alpha_bar
                for choice, unit in work.units.items()
                if unit.spec.alpha_bar is not None
            },
            scores={setting: journal.scores[key] for setting, key in work.keys.items() if key in journal.scores},
        )
        for work in plan.videos
    ]
    return SweepResult(settings=plan.settings, videos=videos, failures=plan.failures)
