"""Options that several commands share: videos and frames, cache, device, preset, workers and clusters."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from ..choices.presets import ALIASES, DEFAULT, PRESETS, get_preset
from .base import LocalFolder, Options, arg, opt

if TYPE_CHECKING:
    import torch

    from ...propagate import Workers
    from ..annotating.words import TextTargets
    from ..datasets.video import Video


def at_least(least: int, most: int | None = None) -> click.IntRange:
    """Return the type of whole numbers in a range."""
    return click.IntRange(min=least, max=most)


def _complete_preset(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in (*PRESETS, *ALIASES) if name.startswith(begun)]


def _complete_video(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    from ..datasets.sources import Source, open_sources

    given = context.params
    paths = given["sources"] or [Path(word) for word in context.args]  # the latter behind an option without its value
    try:
        source = {"set_name": given["set_name"], "resolution": given["resolution"]}
        found = open_sources([Source(path=path, **source) for path in paths])
    except Exception:  # a shell cannot show it
        return []
    return [CompletionItem(video.name) for video in found if video.name.startswith(begun)]


def _known_preset(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    get_preset(name)
    return name


CACHE = opt("Folder of the feature cache.", "cache", type=LocalFolder(), envvar="TED_CACHE", show_envvar=True)
DEVICE = opt("Compute on this device: auto, cpu, cuda or cuda:N.", "auto")
DEVICES = opt(
    "Compute on auto, cpu, or cuda: all GPUs of this machine, a process and one video each; or on cuda:0,cuda:1. On a "
    "cluster, cuda takes workers that offer GPU=1.",
    "auto",
)
PRESET = opt(
    "Published setting that provides the defaults: davis-best, dift-adm, jhmdb and others.",
    DEFAULT,
    callback=_known_preset,
    shell_complete=_complete_preset,
)
PREFER = opt(
    "Choose between several units of a feature: ensemble=4, seed=1, frame_size=480x832, form=int8, ... Repeat.  "
    "[default: the preset's ensemble and overlap]",
    metavar="FIELD=VALUE",
)


class VideoChoice(Options, title="Videos and frames"):
    """Videos of one or several sources, and their frames."""

    sources: tuple[Path, ...] = arg("SOURCE...")
    mask: Path | None = opt("Mask of the first frame; for one SOURCE, a folder of frames or a video file.")
    annotations: Path | None = opt(
        "Instead, a folder of masks of any frames, named like the frames, or a CSV of boxes (MOTChallenge) or points; "
        "objects join in the frames where they are annotated."
    )
    videos: tuple[str, ...] = opt(
        "Only these videos, separated by commas or repeated; or a file with one name per line.",
        metavar="NAME|FILE.txt",
        shell_complete=_complete_video,
    )
    every: int = opt("Use every N-th frame.", 1, type=at_least(1))
    limit: int | None = opt("Use at most N frames of each video.", type=at_least(1))
    dataset: str | None = opt("Name of the dataset in the cache.  [default: depends on SOURCE]")
    set_name: str | None = opt(
        "List in ImageSets/2017 of a DAVIS root, or lists/ of VIP; split of JHMDB.  [default: val, split1]",
        flag="--set",
    )
    resolution: str = opt("Folder below JPEGImages of a DAVIS root.", "480p")

    def open(self, cache: Path | None = None) -> list["Video"]:
        """Open the videos; raises ConfigError for options that contradict each other and for wrong sources.

        If a cache is given, raises CacheError if it does not exist, before libraries are loaded that read it.
        """
        from dataclasses import replace

        from ...store.errors import CacheError, ConfigError, Hint
        from ..datasets.listing import read_names
        from ..datasets.sources import Selection, Source, open_sources

        truth = getattr(self, "truth", None)
        if any((self.mask, self.annotations, truth)) and len(self.sources) > 1:
            raise ConfigError("--mask, --annotations and --truth belong to one SOURCE: run the command for each source")
        names: list[str] = []
        for item in (name.strip() for text in self.videos for name in text.split(",")):
            listed = item.endswith(".txt") and Path(item).expanduser().is_file()
            names += read_names(Path(item).expanduser()) if listed else [item] if item else []
        if self.videos and not names:
            raise ConfigError("--videos names no video: leave it out to use all videos")
        sources = [
            Source(
                path=path,
                first_mask=self.mask,
                annotations=self.annotations,
                truth=truth,
                tasks=_tasks_reading(truth or self.annotations),
                set_name=self.set_name,
                resolution=self.resolution,
            )
            for path in self.sources
        ]
        first_only = getattr(self, "first_frame_only", False)
        selection = Selection(videos=tuple(names), every=self.every, limit=self.limit, first_frame_only=first_only)
        found = open_sources(sources, selection)
        if cache is not None and not cache.exists():
            raise CacheError(f"there is no cache at {cache}", hint=Hint("make-cache"))
        return [replace(video, dataset=self.dataset) if self.dataset else video for video in found]


class TrackedVideos(VideoChoice):
    """Videos whose objects are tracked, scored or drawn."""

    first_frame_only: bool = opt(
        "Track and score only the objects of the first annotated frame, as the paper does on YouTube-Similar."
    )


class ScoredVideos(TrackedVideos):
    """Videos whose results are scored."""

    truth: Path | None = opt(
        "True masks of your own video: a folder of masks of any frames, named like the frames. Those that propagation "
        "starts from are not scored, and all others are."
    )


def _tasks_reading(annotations: Path | None) -> tuple[str, ...]:
    """Return the names of tasks of installed packages that can read the annotations."""
    if annotations is None or not entry_points(group="ted.tasks"):
        return ()
    from ..tasks.registry import tasks_reading

    return tasks_reading(annotations)


class TextChoice(Options, title=VideoChoice.title):
    """Objects that are named by texts, instead of other annotations."""

    texts: tuple[str, ...] = opt(
        "Object in words, such as 'the left deer', or @dataset for the video's text in LaSOT. Repeat for more objects.",
        flag="--text",
        metavar="TEXT",
    )
    by: str = opt(
        "What finds it: the cross-attention of a backbone with text, or of Stable Diffusion in a folder; or a detector "
        "in a folder, in the layout of transformers (SAM 3, Grounding DINO, OWLv2, CLIPSeg).",
        "sd21",
        metavar="BACKBONE[:TIMESTEP]|FOLDER",
    )
    prompt: str | None = opt("Prompt of the backbone, which contains the texts.  [default: the texts]", metavar="TEXT")
    min_score: float | None = opt(
        "Least score of a match, 0 to 1.  [default: depends on what finds it]", type=click.FloatRange(0, 1)
    )

    def targets(self, device: str, **settings: Any) -> "TextTargets | None":
        """Return the texts' targets, or None without texts; raises ConfigError for an option without a text."""
        from ...store.errors import ConfigError
        from ..runs.devices import choose_device

        if not self.texts:
            if self.prompt is not None or self.min_score is not None:
                raise ConfigError("--prompt and --min-score are for --text")
            return None
        from ..annotating.words import TextTargets

        return TextTargets(
            texts=self.texts,
            by=self.by,
            prompt=self.prompt,
            least=self.min_score,
            device=choose_device(device),
            **settings,
        )


class SchedulerChoice(Options, title="Workers and clusters"):
    """A Dask cluster."""

    scheduler: str | None = opt(
        "Run on a Dask cluster: the address of its scheduler (tcp://HOST:PORT), or its scheduler file.",
        metavar="ADDRESS|FILE",
    )
    worker_resources: tuple[str, ...] = opt(
        "Resource that each task occupies on a cluster, such as GPU=1; only workers that offer it get tasks.",
        flag="--worker-resource",
        metavar="NAME=AMOUNT",
    )
    scheduler_timeout: float = opt(
        "How long to wait for answers of the scheduler, and for a worker when there is none.",
        30.0,
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
    )

    def connect(self, devices: "Sequence[torch.device]" = ()) -> AbstractContextManager["Workers"]:
        """Return the executor of tasks, as a context manager that raises ConfigError for an unusable cluster.

        Several devices of this machine have a process each.
        """
        from ...propagate import connect
        from ...store.errors import ConfigError

        if len(devices) > 1:
            from ..runs.processes import Devices

            if self.scheduler or getattr(self, "workers", None):
                raise ConfigError("several devices are for this process: leave out --workers and --scheduler")
            return Devices(devices)
        if self.scheduler and any(device.type == "cuda" for device in devices):
            self.worker_resources = self.worker_resources or ("GPU=1",)
        return connect(
            workers=getattr(self, "workers", None),
            scheduler=self.scheduler,
            threads=getattr(self, "worker_threads", None),
            resources=dict(map(_resource, self.worker_resources)),
            timeout=self.scheduler_timeout,
        )


class ClusterChoice(SchedulerChoice):
    """Worker processes on this machine, or a Dask cluster."""

    workers: int | None = opt(
        "Number of worker processes on this machine.  [default: this process alone]", type=at_least(1)
    )
    worker_threads: int | None = opt(
        "Number of threads of each worker.  [default: processors / workers; on a cluster, its own setting]",
        type=at_least(1),
    )


def _resource(text: str) -> tuple[str, float]:
    from ...store.errors import ConfigError

    name, _, amount = text.partition("=")
    try:
        number = float(amount)
    except ValueError:
        number = math.nan
    if not name.strip() or not math.isfinite(number):
        raise ConfigError(f"--worker-resource {text!r} is not NAME=AMOUNT, such as GPU=1")
    return name.strip(), number
