"""``ted propagate``."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ..choices.hints import plural
from .base import Options, Tally, answer, command, next_command, next_steps, opt, titled
from .options import CACHE, DEVICES, ClusterChoice, TextChoice, TrackedVideos
from .setting_options import FusionChoice, SettingChoice, saved_settings

if TYPE_CHECKING:
    from ..runs.propagating.propagation import Propagated

# Share of the free disk for affinities that are cached without being asked for.
_SPARE = 0.01

_ORIGINS = {
    "kept": "re-tuned from cached affinities",
    "features": "affinities from features",
    "features, kept": "affinities from features, cached for re-tuning",
}


class TaskChoice(Options, title="Task"):
    """What is tracked."""

    target: str | None = opt(
        "What to track, where SOURCE has annotations for several tasks: boxes follows the boxes around the objects of "
        "masks.  [default: the first of masks, parts, joints, points, boxes that it has]",
        metavar="TASK",
    )
    query_mode: Literal["first", "strided"] = opt(
        "Queries of TAP-Vid and of `ted synth`: each point once, in the first frame where it is visible; or in every "
        "fifth frame, tracked forward and backward.",
        "first",
    )


@command(json=True, config=True)
def propagate(
    choice: TrackedVideos,
    words: TextChoice,
    fusion: FusionChoice,
    setting: SettingChoice,
    goal: TaskChoice,
    cluster: ClusterChoice,
    device: str = titled("Computation", DEVICES),
    affinities: Literal["auto", "read", "keep", "keep-per-frame", "approximate", "off"] = opt(
        "Affinities in the cache, from which other temperatures and a smaller top-k take label steps only. "
        "auto: read them where that is exact; of a single video, also write missing ones, up to 1 % of the free disk. "
        "read: the same, without writing. keep: always write missing ones, about 1 MB a frame at 480p. keep-per-frame: "
        "write ten times as much, which also serves every shorter context. approximate: read them even where exactness "
        "is not proven, and report the share of pixels. off: neither read nor write.",
        "auto",
    ),
    cache: Path = titled("Input and output", CACHE),
    out: Path = opt("Folder of the results.", "results"),
    refine: str | None = opt(
        "Refine results: masks by sam, on embeddings in the cache (options as in sam:iou=0.7,feedback=true), or by a "
        "refiner of an installed package (entry points ted.refiners); or none.  [default: the preset's, or none]",
        metavar="NAME[:OPTION=VALUE,...]",
    ),
    save_soft: bool = opt("Write the soft labels of masks, too: a Zarr array soft.zarr."),
    overlay: bool = opt("Draw the results over the frames: a contact sheet PNG and a movie."),
    overlay_format: Literal["mp4", "webp"] = opt("Movie of the overlay: H.264, or an animated picture.", "mp4"),
    overwrite: bool = opt("Replace results of other settings."),
    timings: bool = opt("Also print where the time of each stage went, and the precision of the products."),
) -> None:
    """Propagate annotated masks, boxes, joints or points along cached features.

    SOURCE is the root of a dataset (DAVIS, YouTube-VOS, MOSE, VIP, Kubric; JHMDB), a pickle of TAP-Vid, the
    Tracks of `ted synth`, a folder of frames or a video file; the last two need --mask, --annotations or --text, whose
    masks are saved in the folder masks beside the cache, and used again if they were corrected there. The features
    must be in the cache (`ted extract`). Results are palette PNGs of masks, or tables of boxes, joints or points
    (boxes.csv, joints.csv, tracks.csv). Results that were made with the same settings are not made again.

    For example:
        ted propagate walk.mp4 --mask first.png --overlay
        ted propagate DAVIS --preset davis-best --out results/best
        ted propagate walk.mp4 --mask first.png --temperature 0.1 --top-k 15 --out results/sharper
    """
    if words.texts and (choice.mask or choice.annotations):
        raise click.UsageError("--text, --mask and --annotations exclude each other: leave out all but one of them.")
    videos = choice.open(cache)  # wrong paths are answered before torch is loaded
    from ...store import open_cache
    from ...store.errors import ConfigError, TedError
    from ..choices.config_file import save_config
    from ..choices.presets import get_preset
    from ..pictures.result import write_overlay
    from ..runs.devices import choose_devices, fastest_products
    from ..runs.progress import FrameBars
    from ..runs.propagating.propagation import Start, propagate_video, propagate_videos
    from ..tasks.registry import task_of

    parts, prefer, settings = fusion.parts(), fusion.preferred(), setting.settings(fusion)
    where = choose_devices(device, elsewhere=cluster.scheduler is not None)
    targets = words.targets(str(where[0]))
    if targets is not None:
        from ..annotating.words import as_text_video

        videos = [as_text_video(video) for video in videos]
    task_options = {"query_mode": goal.query_mode, "save_soft": save_soft}
    tasks = {video.name: task_of(video, goal.target, task_options) for video in videos}
    if save_soft and not all(getattr(task, "save_soft", False) for task in tasks.values()):
        raise ConfigError("--save-soft is for masks: leave it out for boxes, joints and points")
    source = open_cache(cache.absolute())  # workers have working folders of their own
    refine = refine or get_preset(fusion.preset).refiner or "none"
    network = None if refine == "none" else refine
    start = Start(device=where[0], texts=targets, masks=cache.parent / "masks", refine=network)
    apart = len(videos) > 1 and len(where) > 1  # one video per device
    if cluster.scheduler is not None and where[0].type == "cuda":  # workers of a cluster may lack other networks
        apart = len(videos) > 1 and targets is None and network is None
    if not apart:
        start.make_refiner  # noqa: B018 - errors that meet every video
    used = [(feature, weight) for feature, weight in parts if weight]
    common: dict[str, Any] = {
        "cache": source,
        "parts": parts,
        "settings": settings,
        "out": out.absolute() if apart else out,
        "prefer": prefer,
        "overwrite": overwrite,
        "affinities": "auto" if affinities == "read" else affinities,
        "spare": _SPARE if affinities == "auto" and len(videos) == 1 else 0.0,
    }
    with cluster.connect(where) as workers, FrameBars() as bars:
        tally = Tally(bars.note)
        results: Iterator[Propagated | TedError] = iter(())
        if apart:
            jobs = [common | {"video": video, "task": tasks[video.name]} for video in videos]
            results = propagate_videos(workers, jobs, start)
            advance = bars.start("videos", len(videos), unit="video")
        for video in videos:
            with tally.item("video", video.name) as row:
                if apart:
                    found = next(results, TedError("it was not begun, since the workers ended: see the error above"))
                    advance(1)
                    if isinstance(found, TedError):
                        raise found
                    report, started, note = found
                    if note:
                        bars.note(note)
                else:
                    started, note, refiner = start.open(source, video)
                    if note:
                        bars.note(note)
                    report = propagate_video(
                        **common,
                        video=started,
                        task=tasks[video.name],
                        refiner=refiner,
                        device=where[0],
                        workers=workers if len(where) == 1 else None,
                        progress=bars.start(video.name, len(video.frames)),
                    )
                row |= {"folder": str(report.folder), "frames": report.frames}
                row |= {"skipped": report.skipped, "seconds": round(report.seconds, 2)}
                row |= {"affinities": report.affinities, "unproven_pixels": report.unproven}
                if timings:
                    row["timings"] = {stage: round(spent, 2) for stage, spent in report.timings.items()}
                if overlay:
                    title = f"{video.name}: " + " + ".join(f"{weight:g} {feature}" for feature, weight in used)
                    pictures = write_overlay(
                        started, report.folder, out / "overlays", title=title, suffix=f".{overlay_format}"
                    )
                    row["overlay"] = [str(path) for path in pictures]
                state = f"{report.seconds:.1f} s, {_ORIGINS.get(report.affinities, report.affinities)}"
                bars.note(
                    f"{video.name}: {plural(report.frames, 'frame')}, {'there before' if report.skipped else state}"
                )
                if overlay:
                    bars.note(f"{video.name}: {' '.join(row['overlay'])}")
                if started.own_truth and len(started.frames) == len(started.annotated_masks) > 1:
                    bars.note(
                        f"{video.name}: all frames are annotated, so nothing was tracked; "
                        "--first-frame-only starts from the first alone"
                    )
                if report.refined:
                    row["refined"] = dict(report.refined)
                    counts = ", ".join(f"{count} {name}" for name, count in report.refined.items())
                    bars.note(f"{video.name}: objects in frames, by {refine.partition(':')[0]}: {counts}")
                if report.unproven:
                    bars.note(
                        f"{video.name}: approximate: for {100 * report.unproven:.3g} % of the pixels, the cached "
                        "affinities may lack some of the best sources"
                    )
    done = [video for video in videos if video.name in {row["video"] for row in tally.done}]
    options = {
        "cache": cache.absolute(),
        **saved_settings(settings),
        "feature": [f"{feature}={weight!r}" for feature, weight in used],
        "prefer": [f"{field}={value}" for field, value in prefer],
        "refine": None if refine == "none" else refine,
    }
    known = {parameter.name for parameter in click.get_current_context().command.params}
    for video in done:
        options |= {name: value for name, value in tasks[video.name].used_options(video).items() if name in known}
    steps = []
    if done:
        save_config(out / "propagate.toml", "propagate", options)
        noun = tasks[done[0].name].noun
        steps = [next_steps(next_command(f"show {noun}", results=[out]))]
        if fusion.preset == "colours" and any("features" in str(row["affinities"]) for row in tally.done):
            steps += _better_features()
    and_failed = f", {tally.failures} failed" if tally.failures else ""
    extra: dict[str, Any] = {}
    lines: list[str] = []
    if timings:
        stages: Counter[str] = Counter()
        for row in tally.done:
            stages.update(row["timings"])
        lines = [f"{spent:>10.2f} s  {stage}" for stage, spent in stages.items()]
        if (
            not cluster.scheduler
            and settings.kernel.name == "cosine"
            and any("features" in str(row["affinities"]) for row in tally.done)
        ):
            extra = {"products": fastest_products(where[0])}
            lines.append(f"products in {extra['products']}")
    answer(
        {"out": str(out), "videos": tally.rows, **extra},
        *lines,
        f"{plural(len(done), 'video')} propagated{and_failed}{f'; results in {out}' if done else ''}",
        *steps,
    )
    tally.finish()


def _better_features() -> list[str]:
    """Return downloads and commands that track the running command's videos with better features."""
    from ...extract.backbones import backbone_info
    from ..choices.presets import get_preset

    lines = ["colours confuse objects that look alike; better features, after a download:"]
    for preset, title in (("dinov2", "DINOv2"), ("davis-efficient", "the paper's diffusion models, on a GPU")):
        backbones = [feature.partition(":")[0] for feature in get_preset(preset).features]
        weights = [published for name in backbones if (published := backbone_info(name).published) is not None]
        lines += [
            f"  {title} ({' + '.join(one.size for one in weights)}):",
            *(f"    {one.download}" for one in weights),
            f"    {next_command('extract', preset=preset)}",
            f"    {next_command('propagate', preset=preset, out=f'results-{preset}')}",
        ]
    return lines
