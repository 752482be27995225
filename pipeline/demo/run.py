"""The demo: both stages, a sweep and the evaluation on synthetic videos, with the bundled models."""

import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from ...extract.frame_size import FrameSize
from ...extract.settings import ExtractionSettings
from ...propagate import InProcess, PropagationSettings
from ...store import Cache, open_cache
from ...store.durable import explain_os_errors
from ...store.errors import TedError
from ..choices.features import parse_choice, parse_job
from ..datasets.masks_io import read_mask
from ..datasets.video import Video
from ..metrics.identity import identity_accuracy
from ..pictures.columns import PictureOutput, frame_column, write_columns
from ..pictures.result import mask_column
from ..pictures.selection import evenly_spaced
from ..runs.extracting.request import ExtractionRequest, Share
from ..runs.extracting.running import Failure, extract
from ..runs.propagating.propagation import propagate_video
from ..runs.result_folders import result_folder
from ..runs.sweeping.journal import open_journal
from ..runs.sweeping.output import write_outputs
from ..runs.sweeping.planning import plan_sweep, sweep_result
from ..runs.sweeping.progress import SweepBars
from ..runs.sweeping.results import SettingMeans
from ..runs.sweeping.running import run_sweep
from ..runs.sweeping.space import SweepSpace
from ..tasks.masks.davis import ObjectScore, score_sequence
from ..tasks.masks.frames import result_masks, true_masks
from ..tasks.masks.task import MaskTask
from .features import METHODS, SETTINGS
from .scenes import KINDS, make_videos

__all__ = ["DemoScore", "Swept", "run_demo"]

#: What the sweep varies: alpha, temperature, top-k and radius, 216 settings.
_ALPHAS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
_TEMPERATURES, _TOP_KS, _RADII = (0.05, 0.1, 0.2), (5, 10, 15), (5, 8)

Progress = Callable[[str, int], Callable[[int], None]]


@dataclass(frozen=True, kw_only=True)
class DemoScore:
    """Means of one method over the videos of one kind, in [0, 1].

    Attributes
    ----------
    j, f
        As DAVIS has them.
    identity
        See `identity_accuracy`.
    """

    j: float
    f: float
    identity: float


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What came of the sweep.

    Attributes
    ----------
    settings
        How many settings were scored.
    seconds
        How long all of them took.
    best
        The best of them.
    folder
        Where its tables are.
    """

    settings: int
    seconds: float
    best: SettingMeans
    folder: Path


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """All that the demo found.

    Attributes
    ----------
    scores
        By kind of video and name of method.
    swept
        The sweep.
    pictures
        Contact sheets and movies.
    """

    scores: Mapping[tuple[str, str], DemoScore]
    swept: Swept
    pictures: Sequence[Path]


def run_demo(out: Path, *, videos: int = 2, progress: Progress, say: Callable[[str], None]) -> DemoResult:
    """Run the whole path in a folder.

    Parameters
    ----------
    out
        Folder for everything: ``data`` (a DAVIS root), ``cache``, ``results`` with a folder for each method, ``sweep``,
        and the pictures.
    videos
        How many of each kind.
    progress
        Called with a title and a number of frames, returns what is called with frames done.
    say
        Called with a line about each step.

    Raises
    ------
    TedError
        When a step fails; the message says which and why.
    """
    device = torch.device("cpu")
    with explain_os_errors(f"write {out}"):
        made = make_videos(out / "data", videos)
    every = [video for some in made.values() for video in some]
    say(
        f"made {len(every)} videos of {len(every[0].frames)} frames: {', '.join(kind.title for kind in KINDS.values())}"
    )
    cache = open_cache(out / "cache", create=True)
    started = time.monotonic()
    _extract(cache, every, device, progress, say)
    say(f"stage 1, once: extracted features in {time.monotonic() - started:.0f} s into {out / 'cache'}")
    started = time.monotonic()
    scores = {}
    for method in METHODS:
        _propagate(cache, every, method, out, device, progress)
        for kind, some in made.items():
            scores[kind, method] = _score(some, out / "results" / method)
    say(f"stage 2: propagated with {len(METHODS)} sets of features in {time.monotonic() - started:.0f} s")
    first = [some[0] for some in made.values()]
    swept = _sweep(cache, first, out / "sweep", device)
    say(
        f"swept {swept.settings} settings over the first video of each kind in {swept.seconds:.0f} s, "
        "without running a network again"
    )
    return DemoResult(scores=scores, swept=swept, pictures=_draw(made, out))


def _extract(
    cache: Cache, videos: Sequence[Video], device: torch.device, progress: Progress, say: Callable[[str], None]
) -> None:
    features = dict.fromkeys(feature for method in METHODS.values() for feature in method.features)
    for feature in features:
        job = parse_job(feature)
        side = SETTINGS.video_frame_size if job.backbone == "demo-video" else SETTINGS.frame_size
        request = ExtractionRequest(
            cache=cache.root,
            shares=tuple(Share(job=job, video=video) for video in videos),
            weights={},
            settings=ExtractionSettings(
                frame_size=FrameSize(short_side=side), ensemble=SETTINGS.ensemble, batch_size=None
            ),
        )
        for result in extract(request, device, progress=progress, say=say):
            if isinstance(result, Failure):
                raise TedError(f"the demo's extraction failed: {result.reason}")


def _settings() -> PropagationSettings:
    return PropagationSettings(temperature=SETTINGS.temperature, top_k=SETTINGS.top_k, radius=SETTINGS.radius)


def _propagate(
    cache: Cache, videos: Sequence[Video], method: str, out: Path, device: torch.device, progress: Progress
) -> None:
    parts = [(parse_choice(feature), weight) for feature, weight in METHODS[method].features.items()]
    advance = progress(METHODS[method].title, sum(len(video.frames) for video in videos))
    for video in videos:
        folder = out / "results" / method
        propagate_video(
            cache, video, parts, _settings(), folder, device=device, overwrite=True, affinities="off", progress=advance
        )


def _score(videos: Sequence[Video], results: Path) -> DemoScore:
    objects: list[ObjectScore] = []
    identities = []
    for video in videos:
        truth, folder = video.annotations(), result_folder(results, video)
        scored = score_sequence(video.name, truth, folder)
        objects += scored.objects
        masks = [(read_mask(truth[name]), read_mask(folder / f"{name}.png")) for name in scored.frames]
        true, found = (np.stack(some) for some in zip(*masks, strict=True))
        identities.append(identity_accuracy(true, found))
    return DemoScore(
        j=fmean(item.j.mean for item in objects), f=fmean(item.f.mean for item in objects), identity=fmean(identities)
    )


def _sweep(cache: Cache, videos: Sequence[Video], out: Path, device: torch.device) -> Swept:
    video, image = (parse_choice(feature) for feature in METHODS["fused"].features)
    space = SweepSpace(
        video_features=(video,),
        image_features=(image,),
        alphas=_ALPHAS,
        temperatures=_TEMPERATURES,
        top_ks=_TOP_KS,
        radii=_RADII,
        contexts=(_settings().context,),
        renormalize=True,
    )
    started = time.monotonic()
    with open_journal(out, overwrite=True) as journal:
        plan = plan_sweep(cache, videos, space, journal.scores, task=MaskTask(metrics="j"))
        with SweepBars(plan) as bars:
            plan, timing = run_sweep(cache, plan, journal, workers=InProcess(), device=device, keep=True, progress=bars)
        for name, reason in plan.failures.items():
            raise TedError(f"the demo's sweep failed on {name}: {reason}")
        result = sweep_result(plan, journal)
        seconds = time.monotonic() - started
        plots = importlib.util.find_spec("matplotlib") is not None
        write_outputs(result, out, options={}, timing=timing, plots=plots, compare=None)
    return Swept(settings=len(plan.settings), seconds=seconds, best=result.ranking[0], folder=out)


def _draw(made: Mapping[str, Sequence[Video]], out: Path) -> list[Path]:
    """Draw the first video of each kind: frames, truth and results side by side."""
    pictures: list[Path] = []
    for kind, videos in made.items():
        video = videos[0]
        columns = [frame_column(video.frames), mask_column("ground truth", video, true_masks(video))]
        for method in ("image", "video", "fused"):
            read = result_masks(video, out / "results" / method)
            columns.append(mask_column(METHODS[method].title, video, read))
        look = PictureOutput(base=out / f"demo-{kind}", frames=evenly_spaced(len(video.frames), 5), fps=6.0)
        legend = {1: "object 1", 2: "object 2"}
        pictures += write_columns(
            columns, video.frames.names, look, title=f"ted demo: {KINDS[kind].title}", legend=legend
        )
    return pictures
