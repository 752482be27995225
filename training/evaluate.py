"""Evaluation of the small models beside their controls.

``python -m training.evaluate choose OUT``: J, F and identity by timestep and tap, on videos to choose with (seed 1).
``python -m training.evaluate report OUT``: the chosen settings on other videos (seed 0), with standard errors.
``python -m training.evaluate probe OUT``: linear probes of the video model's features for position and motion.

All commands write JSON into OUT, and reuse the videos and features there.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np

from ted.extract.frame_size import FrameSize
from ted.extract.settings import DEFAULT_OPTIONS, BackboneOptions, ConditionOn, ExtractionSettings
from ted.pipeline.choices.features import parse_choice
from ted.pipeline.datasets.davis import davis_sequences, davis_video
from ted.pipeline.datasets.masks_io import read_mask
from ted.pipeline.datasets.video import Video
from ted.pipeline.demo.setup import METHODS, SETTINGS
from ted.pipeline.runs.extracting.running import extract_features
from ted.pipeline.synthetic.scene import SceneSpec
from ted.pipeline.synthetic.writing import make_sets
from ted.propagate import PropagationSettings
from ted.store import Unit, open_cache

from .probe import Cells, object_cells, remembered
from .probe import probe as read_linearly
from .tracking import TRACKING, Score, mean_and_error, through_grid, track

_ALPHAS = (0.1, 0.15, 0.4, 0.6)
_TAUS = (500, 600, 800, 900)

#: Weight of the video features when they are fused with colours.
_BESIDE_COLOURS = 0.15
_POSITION = (0.0, 0.2, 0.35, 0.5, 0.65, 0.8)
_COLOURS, _POSITIONS = "rgb:0:stride4", "position:0:stride4"

#: Short side of the small models' frames in pixels.
_FRAME_SIZE = 256

#: Grid of the finest features.
_GRID = (64, 64)

#: Sets by name: arrangement and appearance of the objects.
_SETS = {
    "near": ("near", {"identical": True}),
    "crossing": ("crossing", {"identical": True}),
    "distinct": ("random", {"identical": False, "shape": "mixed"}),
    "similar": ("crossing", {"identical": False, "hue_step": 20.0}),
    "camouflage": ("random", {"identical": False, "shape": "mixed", "texture": "patched", "ground": "camouflage"}),
}

#: Sets with controls of the video model.
_CONTROLLED = ("near", "crossing")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Network:
    """A network whose features are compared.

    Attributes
    ----------
    name
        Name of its cache: ``trained``, ``untrained``, ``no-temporal``, or ``still`` for all image backbones.
    weights
        Weights by backbone, as in ``--weights``.
    options
        Options of the video model.
    """

    name: str
    weights: Mapping[str, str]
    options: BackboneOptions = DEFAULT_OPTIONS

    def open(self, caches: Path, video: Video, feature: str) -> Unit:
        """Open the features ``BACKBONE:TIMESTEP:TAP`` of a video."""
        return open_cache(caches / self.name).find(video.dataset, video.name, parse_choice(feature))


def _videos(out: Path, seed: int, count: int) -> dict[str, list[Video]]:
    found = {}
    for name, (arrangement, looks) in _SETS.items():
        root = out / f"videos-{seed}-{name}"
        listing = root / "ImageSets" / "2017" / f"{arrangement}.txt"
        if not listing.exists() or len(davis_sequences(root, arrangement)) < count:
            list(make_sets(root, [arrangement], count, SceneSpec(seed=seed, **looks), window=64.0))  # type: ignore[arg-type]
        names = davis_sequences(root, arrangement)[:count]
        found[name] = [_named(davis_video(root, video), name) for video in names]
    return found


def _named(video: Video, set_name: str) -> Video:
    """Return a video whose dataset is its set, because sets share the names of videos."""
    return dataclasses.replace(video, dataset=set_name)


def _summary(scores: Sequence[Score]) -> dict[str, list[float]]:
    return {
        measure: [round(value, 2) for value in mean_and_error([getattr(score, measure) for score in scores])]
        for measure in ("j", "f", "identity")
    }


def _grid_row(videos: Sequence[Video]) -> dict[str, list[float]]:
    return _summary([through_grid(one, _GRID, (_FRAME_SIZE, _FRAME_SIZE)) for one in videos])


def _compare(
    caches: Path,
    videos: Sequence[Video],
    parts: Sequence[tuple[_Network, str]],
    fusions: Sequence[tuple[float, ...]],
    settings: PropagationSettings,
) -> dict[tuple[float, ...], dict[str, list[float]]]:
    """Score fusions of features: mean over videos and standard error of each measure."""
    scores: dict[tuple[float, ...], list[Score]] = {fusion: [] for fusion in fusions}
    for done, video in enumerate(videos, start=1):
        units = [network.open(caches, video, feature) for network, feature in parts]
        for fusion, score in track(units, fusions, video, settings).items():
            scores[fusion].append(score)
        if done % 10 == 0:
            print(f"  tracked: {done} of {len(videos)}", flush=True)
    return {fusion: _summary(found) for fusion, found in scores.items()}


def _show(title: str, rows: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    print(f"\n{title}")
    print(f"{'':<58}{'J':>12}{'F':>14}{'identity':>15}")
    for name, row in rows.items():
        cells = "".join(f"{mean:>9.1f} ±{error:>4.1f}" for mean, error in row.values())
        print(f"{name:<58}{cells}", flush=True)


def _networks(video: str | None, image: str | None, condition_on: ConditionOn | None) -> dict[str, _Network]:
    own = {} if video is None else {"demo-video": video}
    random = "random:1" if video is None else f"random:1:{video}"
    options = BackboneOptions(condition_on=condition_on)
    alone = BackboneOptions(condition_on=condition_on, temporal=False)
    return {
        "trained": _Network(name="trained", weights=own, options=options),
        "untrained": _Network(name="untrained", weights={"demo-video": random}, options=options),
        "no-temporal": _Network(name="no-temporal", weights=own, options=alone),
        "still": _Network(name="still", weights={} if image is None else {"demo-image": image}),
    }


def _weight(value: float) -> tuple[float, float]:
    return (round(value, 2), round(1 - value, 2))


@click.group()
def main() -> None:
    """Evaluate the small models."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
    """Arguments of all commands."""

    out: Path
    networks: Mapping[str, _Network]
    ensemble: int
    device: str

    def extract(self, caches: Path, network: str, videos: Sequence[Video], jobs: Sequence[str]) -> None:
        chosen = self.networks[network]
        settings = ExtractionSettings(frame_size=FrameSize(short_side=_FRAME_SIZE), ensemble=self.ensemble)
        done = extract_features(
            caches / network,
            videos,
            jobs,
            settings,
            device=self.device,
            weights=chosen.weights,
            options=chosen.options,
            say=print,
        )
        print(f"  {network}: {len(done)} features and videos are extracted", flush=True)


_OPTIONS = (
    click.argument("out", type=click.Path(path_type=Path)),
    click.option("--video", help="Weights of the video model.  [default: those of the package]"),
    click.option("--image", help="Weights of the image model.  [default: those of the package]"),
    click.option(
        "--condition-on",
        type=click.Choice(get_args(ConditionOn)),
        help="Condition of the video model, as in `ted extract`.",
    ),
    click.option("--ensemble", default=4, show_default=True, help="Number of noise draws to average."),
    click.option("--device", default="cpu", show_default=True),
)


def _with_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of all commands, which a command receives as a `_Run`."""

    @functools.wraps(function)
    def wrapped(
        out: Path,
        video: str | None,
        image: str | None,
        condition_on: ConditionOn | None,
        ensemble: int,
        device: str,
        **rest: Any,
    ) -> None:
        networks = _networks(video, image, condition_on)
        function(_Run(out=out, networks=networks, ensemble=ensemble, device=device), **rest)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


@main.command()
@_with_options
@click.option("--videos", "count", default=12, show_default=True, help="Number of videos in each set.")
@click.option("--taus", default="100,300,500,700,900", show_default=True, help="Timesteps of the video model.")
@click.option("--image-taus", default="20,100,250", show_default=True)
def choose(run: _Run, count: int, taus: str, image_taus: str) -> None:
    """Score every timestep and tap on videos to choose settings."""
    networks, sets, settings = run.networks, _videos(run.out, 1, count), TRACKING
    every = [one for some in sets.values() for one in some]
    taps = {
        "demo-video": ("up_blocks[0]", "up_blocks[1]", "up_blocks[2]"),
        "demo-image": ("up_blocks[0]", "up_blocks[1]", "up_blocks[2]"),
    }
    caches = run.out / "choose"
    jobs = [f"demo-image:{image_taus}:{','.join(taps['demo-image'])}", _COLOURS, _POSITIONS]
    run.extract(caches, "still", every, jobs)
    run.extract(caches, "trained", every, [f"demo-video:{taus}:{','.join(taps['demo-video'])}"])
    found: dict[str, Any] = {}
    for name, some in sets.items():
        parts = [(networks["still"], _POSITIONS), (networks["still"], _COLOURS)]
        colours = _compare(caches, some, parts, [_weight(value) for value in _POSITION], settings)
        rows = {"truth through a grid of 64x64": _grid_row(some)}
        rows |= {f"rgb, position {weights[0]:.2f}": row for weights, row in colours.items()}
        for tau in image_taus.split(","):
            for tap in taps["demo-image"]:
                feature = f"demo-image:{tau}:{tap}"
                rows[feature] = _compare(caches, some, [(networks["still"], feature)], [(1.0,)], settings)[(1.0,)]
        for tau in taus.split(","):
            for tap in taps["demo-video"]:
                feature = f"demo-video:{tau}:{tap}"
                rows[feature] = _compare(caches, some, [(networks["trained"], feature)], [(1.0,)], settings)[(1.0,)]
        _show(f"{name}, {count} videos, {run.ensemble} draws", rows)
        found[name] = rows
        (run.out / "choose.json").write_text(json.dumps(found, indent=1) + "\n")


@main.command()
@_with_options
@click.option("--videos", "count", default=50, show_default=True, help="Number of videos in each set.")
@click.option(
    "--set",
    "names",
    multiple=True,
    type=click.Choice([*_SETS]),
    default=[*_SETS],
    help="Set to score. Repeat.  [default: all]",
)
@click.option(
    "--curves", is_flag=True, help="Also score other weights and timesteps of the video features, in 8 times the time."
)
@click.option(
    "--seed", default=0, show_default=True, help="Seed of the videos: 0 to report results, 1 to choose settings."
)
def report(run: _Run, count: int, names: Sequence[str], curves: bool, seed: int) -> None:
    """Score the methods of `ted demo` and their controls on videos that were not used to choose settings."""
    networks, sets = run.networks, _videos(run.out, seed, count)
    settings = replace(TRACKING, temperature=SETTINGS.temperature, top_k=SETTINGS.top_k)
    caches = run.out / f"report-{seed}"
    features = {feature for method in METHODS.values() for feature in method.features}
    (moving,) = METHODS["video"].features
    backbone, tau, tap = moving.split(":")
    for name in names:
        some, controls = sets[name], ("untrained", "no-temporal") if name in _CONTROLLED else ()
        run.extract(caches, "still", some, sorted(features - {moving}))
        taus = [tau, *map(str, _TAUS)] if curves else [tau]
        for network in ("trained", *controls):
            run.extract(caches, network, some, [f"{backbone}:{','.join(taus)}:{tap}"])

        def parts(method: str, network: str = "trained", at: str = moving) -> dict[tuple[str, str], float]:
            used = METHODS[method].features
            return {(network, at) if feature == moving else ("still", feature): w for feature, w in used.items()}

        alone = parts("video")
        wanted = {METHODS[method].title: parts(method) for method in METHODS if method != "video"}
        wanted["control: colours"] = {("still", _COLOURS): 1.0}
        wanted[f"video + colours, alpha {_BESIDE_COLOURS}"] = {
            ("trained", moving): _BESIDE_COLOURS,
            ("still", _COLOURS): 1 - _BESIDE_COLOURS,
        }
        wanted |= {f"control: fused, {network}": parts("fused", network) for network in controls}
        for network in ("trained", *controls) if curves else ():
            fused = list(parts("fused", network))
            wanted |= {f"alpha {a:.2f}, {network}": dict(zip(fused, _weight(a), strict=True)) for a in _ALPHAS}
            wanted |= {f"tau {t}, {network}": parts("fused", network, f"{backbone}:{t}:{tap}") for t in _TAUS}
        # Fusions on the same grid share one search; video features alone have a coarser grid.
        rows = {"truth through a grid of 64x64": _grid_row(some)}
        for group in (wanted, {METHODS["video"].title: alone}):
            used = list(dict.fromkeys(part for fusion in group.values() for part in fusion))
            fusions = {title: tuple(fusion.get(part, 0.0) for part in used) for title, fusion in group.items()}
            read = [(networks[network], feature) for network, feature in used]
            found = _compare(caches, some, read, list(dict.fromkeys(fusions.values())), settings)
            rows |= {title: found[weights] for title, weights in fusions.items()}
        _show(f"{name}, {count} videos, {run.ensemble} draws", rows)
        (run.out / f"report-{seed}-{name}.json").write_text(json.dumps(rows, indent=1) + "\n")


@main.command()
@_with_options
@click.option(
    "--videos", "count", default=24, show_default=True, help="Number of videos of `crossing`, half of them to fit on."
)
@click.option("--taus", default="600,700,800,900,950", show_default=True)
@click.option("--taps", default="up_blocks[0],up_blocks[1],up_blocks[2]", show_default=True)
def probe(run: _Run, count: int, taus: str, taps: str) -> None:
    """Probe the video model's features for position, velocity and identity, on videos to choose settings."""
    some = _videos(run.out, 1, count)["crossing"]
    features = [f"demo-video:{tau}:{tap}" for tau in taus.split(",") for tap in taps.split(",")]
    rows: dict[str, dict[str, float]] = {}
    print(f"{'':<44}{'position':>10}{'velocity':>10}{'heading':>10}{'remembered':>14}")
    for name in ("trained", "untrained", "no-temporal"):
        run.extract(run.out / "probe", name, some, [f"demo-video:{taus}:{taps}"])
        for feature in features:
            cells = [_cells(run.out, run.networks[name], one, feature) for one in some]
            kept = mean_and_error([100 * remembered(one, ends=4) for one in cells])
            row = {**dataclasses.asdict(read_linearly(cells, fitted=count // 2)), "remembered": kept[0]}
            rows[f"{feature}, {name}"] = {key: round(value, 3) for key, value in row.items()}
            shown = "".join(f"{row[key]:>10.2f}" for key in ("position", "velocity", "heading"))
            print(f"{feature + ', ' + name:<44}{shown}{kept[0]:>8.1f} ±{kept[1]:>4.1f}", flush=True)
    (run.out / "probe.json").write_text(json.dumps(rows, indent=1) + "\n")


def _cells(out: Path, network: _Network, video: Video, feature: str) -> Cells:
    """Gather the object cells of a synthetic video."""
    features = network.open(out / "probe", video, feature).features.compute()
    masks = np.stack([read_mask(path, video.frames.size) for path in video.frame_masks.values()])
    tracks = out / f"videos-1-{video.dataset}" / "Tracks" / f"{video.name}.json"
    centres = np.array(json.loads(tracks.read_text(encoding="utf-8"))["centres"])
    return object_cells(features.astype(np.float32), masks, centres)


if __name__ == "__main__":
    main()
