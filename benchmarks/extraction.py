"""Speed of extraction, beside a bare loop of the same device work and a plain sequential loop.

Run from the project's root, on an idle machine:

    python benchmarks/extraction.py [--backbone NAME ...] [--frame-size 128x224] [--device cpu] [--dtype float32]

Full-size architectures with random weights (`--small`: small ones). Three ways, in one process, on the same frames:

bare    VAE, conditioning, UNet to the tap; frames and noise are already in memory, nothing is written
ted     `extract_videos`: image files in, a complete cache out
plain   one frame or clip at a time: read, VAE, the whole UNet, write

The time of the plain way without reading and writing shows what can be gained by stopping at the tap. All ways must
give the same features.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from full_size import TAPS, TIMESTEPS, full_size
from torch.utils.flop_counter import FlopCounterMode

from ted.extract.backbones import load_backbone
from ted.extract.backbones.base import Backbone
from ted.extract.clip_reader import ClipReader, HostClip
from ted.extract.features import ClipEncoder, latent_shape, run_pass
from ted.extract.frames import FrameSize, ImageFrames
from ted.extract.plan import VideoPlan, plan_video
from ted.extract.runtime import DTYPES, keep_freed_memory, use_reproducible_kernels
from ted.extract.settings import ExtractionSettings
from ted.extract.small_models import make_small
from ted.extract.worker import VideoTask, extract_videos
from ted.store import Unit, open_cache


class Work:
    """A backbone, videos, and the ways to extract their features."""

    def __init__(self, backbone: Backbone, root: Path, size: tuple[int, int], options: argparse.Namespace) -> None:
        self.backbone = backbone
        self.tap, self.timestep = TAPS[backbone.name], TIMESTEPS[backbone.name]
        self.root = root
        self.size = size
        self.settings = ExtractionSettings(
            frame_size=FrameSize(exact=size), ensemble=options.ensemble, batch_size=options.batch_size
        )
        frames = options.frames if backbone.clip_length == 1 else backbone.clip_length
        self.sources = {f"v{i}": write_frames(root / f"v{i}", frames, i) for i in range(options.videos)}
        self.frames = sum(map(len, self.sources.values()))
        self.shape = latent_shape(backbone, size)
        self.unet_seconds = 0.0

    def plan(self, name: str) -> VideoPlan:
        return plan_video(
            self.backbone,
            self.sources[name],
            dataset="d",
            video=name,
            timesteps=[self.timestep],
            taps=[self.tap],
            settings=self.settings,
        )

    def read(self, name: str, wanted: list[int] | None = None) -> list[HostClip]:
        plan = self.plan(name)
        reader = ClipReader(self.backbone, self.sources[name], plan, self.shape)
        return list(reader.read(range(len(plan.clips)) if wanted is None else wanted))

    def bare(self) -> Callable[[], None]:
        """Return a function that does the device work alone."""
        loaded = {name: self.read(name) for name in self.sources}
        plans = {name: self.plan(name) for name in self.sources}

        def run() -> None:
            for name, hosts in loaded.items():
                encoder, passes = ClipEncoder(self.backbone, plans[name]), plans[name].passes
                clips: dict[int, Any] = {}
                waiting = iter(hosts)
                for number in range(len(passes)):
                    items = passes.items(number)
                    while items[-1].clip not in clips:
                        host = next(waiting)
                        clips[host.index] = encoder.encode(host)
                    clips = {index: clip for index, clip in clips.items() if index >= items[0].clip}
                    run_pass(self.backbone, items, clips, [self.tap])
            synchronize(self.backbone)

        return run

    def ted(self, videos: int | None = None) -> None:
        """Extract all videos, or the first few, as the command does."""
        tasks = [
            VideoTask(name=name, source=source, plan=lambda name=name: self.plan(name))
            for name, source in list(self.sources.items())[:videos]
        ]
        for _, result in extract_videos(open_cache(self.root / "cache", create=True), self.backbone, tasks):
            if isinstance(result, Exception):
                raise result

    def forget(self) -> int:
        """Remove the extracted features; return their size in bytes."""
        cache = open_cache(self.root / "cache")
        entries = cache.entries()
        for entry in entries:
            cache.remove(entry.folder)
        return sum(entry.bytes for entry in entries)

    def plain(self, loaded: dict[str, list[HostClip]] | None = None) -> None:
        """Extract clip by clip with the whole UNet; with clips in memory, nothing is read or written."""
        for name in self.sources:
            for index, clip in enumerate(self.plan(name).clips):
                (host,) = self.read(name, [index]) if loaded is None else [loaded[name][index]]
                device_clip = ClipEncoder(self.backbone, self.plan(name)).encode(host)
                total: Any = 0
                for draw in range(self.settings.ensemble):
                    noisy = device_clip.noisy(self.timestep, draw)[None]
                    total = (
                        total
                        + self.backbone.features(
                            noisy, self.timestep, device_clip.condition, [self.tap], stop_early=False
                        )[self.tap]
                    )
                features = (total[0] / self.settings.ensemble).half().cpu().numpy()
                if loaded is None:
                    for position, frame in enumerate(clip.frames):
                        np.save(self.root / f"{name}-{frame}.npy", features[position])

    def check(self) -> float:
        """Return the largest relative difference between the features of the last two ways."""
        worst = 0.0
        for unit in open_cache(self.root / "cache").units():
            assert isinstance(unit, Unit)
            for frame in range(unit.shape[0]):
                ours = unit.features[frame].compute().astype(np.float32)
                theirs = np.load(self.root / f"{unit.spec.video}-{frame}.npy").astype(np.float32).transpose(1, 2, 0)
                worst = max(worst, float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)))
        return worst

    def rounding(self) -> float:
        """Return the relative error of a pass in half precision against float32, with the same weights and inputs."""
        name = next(iter(self.sources))
        (host,) = self.read(name, [0])
        clip = ClipEncoder(self.backbone, self.plan(name)).encode(host)

        def features() -> torch.Tensor:
            noisy = clip.noisy(self.timestep, 0)[None]
            return self.backbone.features(noisy, self.timestep, clip.condition, [self.tap])[self.tap]

        def widen(_network: Any, args: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            halves = (torch.float16, torch.bfloat16)
            return args, {
                key: value.float() if isinstance(value, torch.Tensor) and value.dtype in halves else value
                for key, value in named.items()
            }

        network, half = self.backbone.network, features()
        handle = network.float().register_forward_pre_hook(widen, with_kwargs=True)
        single = features()
        handle.remove()
        network.to(self.backbone.dtype)
        return float((half - single).norm() / single.norm())

    def flops(self) -> tuple[float, float]:
        """Return TFLOP per frame to the tap and in total, with the VAE."""
        name = next(iter(self.sources))
        (host,) = self.read(name, [0])
        counts = []
        for early in (True, False):
            with FlopCounterMode(display=False) as counter:
                clip = ClipEncoder(self.backbone, self.plan(name)).encode(host)
                noisy = clip.noisy(self.timestep, 0)[None]
                self.backbone.features(noisy, self.timestep, clip.condition, [self.tap], stop_early=early)
            counts.append(counter.get_total_flops() / 1e12 / len(host.clip.frames))
        return counts[0], counts[1]

    def timed_unet(self) -> Callable[[], float]:
        """Start counting the seconds spent in the UNet; return a function that stops and returns them."""
        inner, spent = self.backbone.features, [0.0]

        def features(*arguments: Any, **named: Any) -> Any:
            synchronize(self.backbone)
            clock = time.perf_counter()
            result = inner(*arguments, **named)
            synchronize(self.backbone)
            spent[0] += time.perf_counter() - clock
            return result

        self.backbone.features = features  # type: ignore[method-assign]

        def stop() -> float:
            self.backbone.features = inner  # type: ignore[method-assign]
            return spent[0]

        return stop


def write_frames(folder: Path, count: int, seed: int) -> ImageFrames:
    """Write a drifting texture as JPEG files of DAVIS's size."""
    folder.mkdir(parents=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (60, 107, 3), dtype=np.uint8)
    texture = cv2.resize(coarse, (854, 480), interpolation=cv2.INTER_CUBIC)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:05d}.jpg"), np.roll(texture, 3 * index, axis=1))
    return ImageFrames(sorted(folder.glob("*.jpg")))


def synchronize(backbone: Backbone) -> None:
    if backbone.device.type == "cuda":
        torch.cuda.synchronize(backbone.device)


def timed(function: Callable[[], object]) -> float:
    clock = time.perf_counter()
    function()
    return time.perf_counter() - clock


def measure(name: str, options: argparse.Namespace, root: Path) -> None:
    device, dtype = torch.device(options.device), DTYPES[options.dtype]
    if options.small:
        backbone = load_backbone(name, make_small(name, root / "weights"), device=device, dtype=dtype)
    else:
        backbone = full_size(name, device, dtype)
    work = Work(backbone, root, options.size, options)
    bare = work.bare()
    bare()  # warm-up of kernels and memory
    work.ted(1)  # warm-up of imports and library threads
    work.forget()
    bare_seconds = timed(bare)
    ted_seconds = timed(work.ted)
    bare_seconds = (bare_seconds + timed(bare)) / 2  # before and after, to average out other load
    loaded = {name: work.read(name) for name in work.sources}
    whole_seconds = timed(lambda: work.plain(loaded))
    plain_seconds = timed(work.plain)
    difference = work.check()
    # In half precision, two ways differ by at most the sum of their errors (docs/evidence/performance.md).
    if not difference < (1e-3 if dtype == torch.float32 else 2 * work.rounding()):
        raise SystemExit(f"{name}: the ways give different features ({difference:.1e})")
    early, whole = work.flops()
    stop = work.timed_unet()
    written = work.forget()
    other = timed(work.ted)
    share = stop() / other
    allowed = whole_seconds / bare_seconds
    print(
        f"{name:<10} {work.frames:>6} {early:>7.3f} {whole:>7.3f} {bare_seconds / work.frames:>8.3f} "
        f"{ted_seconds / work.frames:>8.3f} {plain_seconds / work.frames:>8.3f} {bare_seconds / ted_seconds:>9.1%} "
        f"{plain_seconds / ted_seconds:>8.2f}x {whole / early:>8.2f}x {allowed:>8.2f}x {share:>7.1%} "
        f"{written / ted_seconds / 1e6:>8.1f} {difference:>9.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", action="append", choices=list(TAPS))
    parser.add_argument("--frame-size", default="128x224")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=list(DTYPES), default="float32")
    parser.add_argument("--ensemble", type=int, default=1)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--videos", type=int, default=2)
    parser.add_argument("--frames", type=int, default=16, help="frames per video, for image backbones")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    options.size = FrameSize.parse(options.frame_size).exact
    use_reproducible_kernels()
    keep_freed_memory()
    print(f"{options.device}, {options.dtype}, {options.frame_size}, {torch.get_num_threads()} threads")
    print(
        "backbone   frames  TFLOP   whole   bare s/f  ted s/f  plain s/f  of bare  faster  by FLOP  by time  in UNet  "
        "MB/s written  difference"
    )
    for name in options.backbone or TAPS:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            measure(name, options, Path(folder))


if __name__ == "__main__":
    main()
