"""The demo: both stages and the evaluation on a synthetic video, with small random backbones."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from ...extract.frames import FrameSize
from ...extract.settings import ExtractionSettings
from ...extract.small_models import make_small
from ...propagate.settings import PropagationSettings, part_weights
from ...store import open_cache
from ...store.durable import explain_os_errors
from ...store.errors import TedError
from ..choices import parse_choice, parse_job
from ..datasets.sources import Source, open_sources
from ..extracting.request import ExtractionRequest, Share
from ..extracting.running import Failure, extract
from ..metrics.davis import DavisScore, score_sequence, write_csv
from ..propagation import propagate_video
from ..show.result import write_overlay
from ..synth.balls import BallsSpec, render, write_davis

__all__ = ["DemoResult", "run_demo"]

_VIDEO = "identical-balls"
_VIDEO_FEATURE = "i2vgen-xl:300:up_blocks[2]"
_IMAGE_FEATURE = "adm:51:output_blocks[7]"
_FRAME_SIZE = 256


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demo found for one alpha.

    Attributes
    ----------
    alpha
        Weight of the video features.
    j_and_f, j, f
        Means over both balls, in [0, 1].
    sheet, movie
        Pictures of the masks over the frames.
    """

    alpha: float
    j_and_f: float
    j: float
    f: float
    sheet: Path
    movie: Path


def run_demo(
    out: Path,
    alphas: tuple[float, ...] = (0.0, 0.4, 1.0),
    *,
    progress: Callable[[str, int], Callable[[int], None]],
    say: Callable[[str], None],
) -> Iterator[DemoResult]:
    """Run the whole path in a folder.

    Parameters
    ----------
    out
        Folder for everything: ``data`` (a DAVIS root), ``weights``, ``cache``, and a folder of results for each alpha.
    alphas
        Weights of the video features to propagate with: one extraction serves them all.
    progress
        Called with a title and a number of frames, returns what is called with frames done.
    say
        Called with a line about each step.

    Yields
    ------
    DemoResult
        One for each alpha.
    """
    device = torch.device("cpu")
    with explain_os_errors(f"write {out}"):
        frames, masks = render(BallsSpec(frames=16, size=(_FRAME_SIZE, 320), radius=30, identical=True, seed=10))
        write_davis(out / "data", _VIDEO, frames, masks)
        weights = {name: str(make_small(name, out / "weights" / name, standins=True)) for name in ("i2vgen-xl", "adm")}
    say(f"made a video of two identical balls, {len(frames)} frames, and two small backbones with random weights")
    videos = open_sources([Source(path=out / "data")])
    cache = open_cache(out / "cache", create=True)
    started = time.monotonic()
    jobs = [parse_job(_VIDEO_FEATURE), parse_job(_IMAGE_FEATURE)]
    request = ExtractionRequest(
        cache=cache.root,
        shares=tuple(Share(job=job, video=video) for job in jobs for video in videos),
        weights=weights,
        settings=ExtractionSettings(frame_size=FrameSize(short_side=_FRAME_SIZE)),
    )
    for result in extract(request, device, progress=progress, say=say):
        if isinstance(result, Failure):
            raise TedError(f"the demo's extraction failed: {result.reason}")
    say(f"stage 1: extracted video and image features in {time.monotonic() - started:.1f} s; cache: {out / 'cache'}")
    for alpha in alphas:
        settings = PropagationSettings(alpha=alpha, temperature=0.1, radius=10)
        folder = out / f"results-alpha-{alpha:g}"
        choices = [parse_choice(_VIDEO_FEATURE), parse_choice(_IMAGE_FEATURE)]
        report = propagate_video(
            cache,
            videos[0],
            list(zip(choices, part_weights(alpha), strict=True)),
            settings,
            folder,
            device=device,
            overwrite=True,
            progress=progress(f"alpha {alpha:g}", len(videos[0].frames)),
        )
        score = DavisScore(sequences=(score_sequence(_VIDEO, videos[0].annotations(), report.folder),))
        write_csv(score, folder, "val")
        sheet, movie = write_overlay(videos[0], report.folder, folder, title=f"two identical balls, alpha {alpha:g}")
        say(f"stage 2: propagated with alpha {alpha:g} in {report.seconds:.1f} s")
        means = score.means
        yield DemoResult(
            alpha=alpha, j_and_f=means["J&F-Mean"], j=means["J-Mean"], f=means["F-Mean"], sheet=sheet, movie=movie
        )
