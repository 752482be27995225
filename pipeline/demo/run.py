"""The demo: both stages, a sweep, the evaluation and a report on synthetic videos, with the bundled models."""

import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ...extract.frame_size import FrameSize
from ...extract.settings import ExtractionSettings
from ...propagate import InProcess, PropagationSettings
from ...store import Cache, open_cache
from ...store.durable import explain_os_errors
from ...store.errors import TedError
from ..choices.features import parse_choice
from ..choices.hints import plural
from ..datasets.masks_io import read_mask
from ..datasets.video import Video
from ..metrics.identity import identity_accuracy
from ..pictures.columns import Column, PictureOutput, frame_column, write_columns
from ..pictures.movie import write_movie
from ..pictures.overlay import overlay_mask
from ..pictures.selection import evenly_spaced
from ..pictures.sheet import contact_sheet
from ..reports.page import make_page, render_page
from ..runs.extracting.running import extract_features
from ..runs.files import written_whole
from ..runs.propagating.propagation import propagate_video
from ..runs.result_folders import result_folder
from ..runs.sweeping.journal import open_journal
from ..runs.sweeping.planning import plan_sweep, sweep_result
from ..runs.sweeping.results import SettingMeans
from ..runs.sweeping.running import run_sweep
from ..runs.sweeping.space import SweepSpace
from ..runs.sweeping.summary import SweepBars
from ..runs.sweeping.tables import write_outputs
from ..tasks.masks.frames import ReadMask, result_masks, true_masks
from ..tasks.masks.scores import MaskScore, write_tables
from ..tasks.masks.task import MaskTask
from ..tasks.masks.truth import score_sequence
from .setup import KINDS, METHODS, SETTINGS, make_videos

#: The sweep's grid: 216 settings, among them that of the method ``fused``.
_ALPHAS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
_TEMPERATURES, _TOP_KS, _RADII = (0.05, 0.1, 0.2), (5, 10, 15), (5, 8)

_CPU = torch.device("cpu")

Progress = Callable[[str, int], Callable[[int], None]]
_Picture = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class DemoScore:
    """Means of a method over the videos of one kind, in [0, 1]: DAVIS's J and F, and identity accuracy."""

    j: float
    f: float
    identity: float


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """Results of the demo."""

    scores: Mapping[tuple[str, str], DemoScore]  # scores by kind of video and name of method
    ranking: Sequence[SettingMeans]  # means of the sweep over the first video of each kind, best setting first
    fused: SettingMeans  # means of the sweep with the setting of the method ``fused``
    pictures: Sequence[Path]  # contact sheets, movies and small loops
    # sweep and report: folder of the sweep's tables, and the HTML report
    sweep: Path
    report: Path


def run_demo(out: Path, *, videos: int = 2, progress: Progress, say: Callable[[str], None]) -> DemoResult:
    """Run both stages, a sweep, the evaluation and a report on some videos of each kind.

    The folder gets ``data`` (a DAVIS root), ``cache``, ``results`` with one folder per method, ``sweep``, pictures and
    ``report.html``. `progress` is called with a title and a number of frames, and returns a function to call with the
    number of frames just done; `say` is called with a line about each step. Raises TedError if a step fails.
    """
    with explain_os_errors(f"write {out}"):
        made = make_videos(out / "data", videos)
    every = [video for some in made.values() for video in some]
    say(
        f"made {plural(len(every), 'video')} of {len(every[0].frames)} frames: "
        f"{', '.join(kind.title for kind in KINDS.values())}"
    )
    cache = open_cache(out / "cache", create=True)
    started = time.monotonic()
    for feature in dict.fromkeys(feature for method in METHODS.values() for feature in method.features):
        side = SETTINGS.video_frame_size if feature.startswith("demo-video:") else SETTINGS.frame_size
        settings = ExtractionSettings(
            frame_size=FrameSize(short_side=side), ensemble=SETTINGS.ensemble, batch_size=None
        )
        extract_features(cache.root, every, [feature], settings, device=_CPU, progress=progress, say=say)
    say(f"stage 1, once: extracted features in {time.monotonic() - started:.0f} s into {out / 'cache'}")
    started = time.monotonic()
    scores = {}
    for method in METHODS:
        folder = out / "results" / method
        _propagate(cache, every, method, folder, progress)
        scored = {kind: [_score(video, folder) for video in some] for kind, some in made.items()}
        for kind, found in scored.items():
            means = MaskScore.means([score for score, _ in found])
            scores[kind, method] = DemoScore(
                j=means["j"] or 0.0,
                f=means["f"] or 0.0,
                identity=fmean(identity for _, identity in found),
            )
        of_videos = {
            video.name: score
            for kind, some in made.items()
            for video, (score, _) in zip(some, scored[kind], strict=True)
        }
        write_tables(of_videos, folder, "val")
    say(f"stage 2: propagated with {len(METHODS)} sets of features in {time.monotonic() - started:.0f} s")
    started = time.monotonic()
    ranking = _sweep(cache, [some[0] for some in made.values()], out / "sweep")
    say(
        f"swept {len(ranking)} settings over the first video of each kind in {time.monotonic() - started:.0f} s, "
        "without running a network again"
    )
    alpha = next(iter(METHODS["fused"].features.values()))
    return DemoResult(
        scores=scores,
        ranking=ranking,
        fused=next(item for item in ranking if (item.setting.alpha, item.setting.propagation) == (alpha, _settings())),
        pictures=[path for kind, some in made.items() for path in _draw(kind, some[0], out)],
        sweep=out / "sweep",
        report=_report(every, out),
    )


def _settings() -> PropagationSettings:
    return PropagationSettings(temperature=SETTINGS.temperature, top_k=SETTINGS.top_k, radius=SETTINGS.radius)


def _propagate(cache: Cache, videos: Sequence[Video], method: str, folder: Path, progress: Progress) -> None:
    parts = [(parse_choice(feature), weight) for feature, weight in METHODS[method].features.items()]
    advance = progress(METHODS[method].title, sum(len(video.frames) for video in videos))
    for video in videos:
        propagate_video(
            cache, video, parts, _settings(), folder, device=_CPU, overwrite=True, affinities="off", progress=advance
        )


def _score(video: Video, results: Path) -> tuple[MaskScore, float]:
    """Return J and F of a video's objects, and its identity accuracy over the same frames."""
    truth, folder = video.annotations(), result_folder(results, video)
    scored = score_sequence(video.name, truth, folder)
    masks = [(read_mask(truth[name]), read_mask(folder / f"{name}.png")) for name in scored.names]
    true, found = (np.stack(some) for some in zip(*masks, strict=True))
    return scored, identity_accuracy(true, found)


def _sweep(cache: Cache, videos: Sequence[Video], out: Path) -> Sequence[SettingMeans]:
    video, image = (parse_choice(feature) for feature in METHODS["fused"].features)
    values = {"temperature": _TEMPERATURES, "top_k": _TOP_KS, "radius": _RADII}
    space = SweepSpace.pair([video], [image], _ALPHAS, values)
    with open_journal(out, overwrite=True) as journal:
        plan = plan_sweep(cache, videos, space, journal.scores, task=MaskTask(metrics="j"))
        with SweepBars(plan) as bars:
            plan, timing = run_sweep(cache, plan, journal, workers=InProcess(), device=_CPU, keep=True, progress=bars)
        for name, reason in plan.failures.items():
            raise TedError(f"the demo's sweep failed on {name}: {reason}")
        result = sweep_result(plan, journal)
        plots = importlib.util.find_spec("matplotlib") is not None
        write_outputs(result, out, options={"cache": str(cache.root)}, timing=timing, plots=plots, compare=None)
    return result.ranking


def _draw(kind: str, video: Video, out: Path) -> list[Path]:
    """Draw a video's frames, and ground truth and results over grey frames; a small loop leaves the truth out."""
    truth, names = true_masks(video), video.frames.names
    columns = [frame_column(video.frames), _mask_column("ground truth", video, truth, truth)]
    for method in ("image", "video", "fused"):
        read = result_masks(video, out / "results" / method)
        columns.append(_mask_column(METHODS[method].title, video, read, truth))
    output = PictureOutput(base=out / f"demo-{kind}", frames=evenly_spaced(len(names), 3), fps=6.0)
    title = f"ted demo: {KINDS[kind].title} (white box: most of the object has the other one's label)"
    written = write_columns(columns, names, output, title=title, legend={1: "object 1", 2: "object 2"})
    shown = [columns[0], *columns[2:]]
    rows = zip(*(column.draw(range(len(names))) for column in shown), strict=True)
    headings = [column.title for column in shown]
    loop = (contact_sheet([("", cell) for cell in row], columns=4, headings=headings, width=760) for row in rows)
    return [*written, write_movie(out / f"demo-{kind}.webp", loop, fps=6.0)]


def _mask_column(title: str, video: Video, read: ReadMask, truth: ReadMask) -> Column:
    """Return a column of masks over grey frames, in which colours are those of the labels alone."""

    def draw(frames: Sequence[int]) -> Iterator[_Picture]:
        for frame in frames:
            grey = cv2.cvtColor(video.frames.read(frame), cv2.COLOR_RGB2GRAY)
            ids, true = read(frame), truth(frame)
            if ids is None or true is None:
                raise TedError(f"frame {frame} of the demo's video {video.name} has no mask")
            yield mark_swaps(overlay_mask(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB).astype(np.uint8), ids), ids, true)

    return Column(title=title, draw=draw)


def mark_swaps(picture: _Picture, ids: _Picture, true: _Picture) -> _Picture:
    """Draw a white box, in place, around each true object with more pixels labelled as another object than as itself.

    `ids` and `true` (height, width) hold predicted and true object numbers; 0 for background.
    """
    for number in np.unique(true[true > 0]).tolist():
        found = ids[true == number]
        if np.count_nonzero((found > 0) & (found != number)) > np.count_nonzero(found == number):
            x, y, width, height = cv2.boundingRect((true == number).astype(np.uint8))
            for colour, thickness in (((0, 0, 0), 5), ((255, 255, 255), 2)):
                cv2.rectangle(picture, (x, y), (x + width, y + height), colour, thickness)
    return picture


def _report(videos: Sequence[Video], out: Path) -> Path:
    """Write a report of all methods and of the sweep."""
    folders = [out / "results" / method for method in METHODS]
    page = make_page([*folders, out / "sweep"], title="ted demo", videos=videos, cache=out / "cache", pictures=2)
    path = out / "report.html"
    with written_whole(path) as temporary:
        temporary.write_text(render_page(page), encoding="utf-8")
    return path
