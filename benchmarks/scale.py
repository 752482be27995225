"""Features, timing and memory for the benchmarks of propagation at the paper's scale."""

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ted.propagate import PropagationSettings, WeightedSettings, part_weights
from ted.store import FeatureRequest, Unit, UnitSpec, open_cache

GRID, CHANNELS, RADIUS, CONTEXT, TOP_K, TEMPERATURE, ALPHA = (60, 104), (640, 512), 15, 28, 10, 0.2, 0.4
OBJECTS = 4


def features(frames: int, grid: tuple[int, int], channels: int, kind: str, seed: int) -> torch.Tensor:
    """Return features (frame, y, x, channel): noise, or smooth with outlier channels, as those of real UNets are."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(frames, *grid, channels, generator=generator)
    if kind == "noise":
        return noise
    knots = (max(2, frames // 8), *[max(2, side // 6) for side in grid])
    coarse = torch.randn(1, channels, *knots, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(frames, *grid), mode="trilinear")[0].movedim(0, -1)
    smooth = smooth + 0.1 * noise
    smooth[..., :4] = smooth[..., :4] * 4 + 12
    return smooth


def timed(run: Callable[[], Any], times: int = 3) -> float:
    """Return the shortest of some runs, in seconds."""
    best = math.inf
    for _ in range(times):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def status(name: str) -> float:
    """Return a figure of this process's memory from the kernel, in GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / 1e9


def peak() -> float:
    """Return this process's peak resident memory since the start, or since `forget_peak`, in GB."""
    return status("VmHWM")


def forget_peak() -> float:
    """Begin to measure the peak anew; return the resident memory, in GB."""
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def write_units(root: Path, frames: int, grid: tuple[int, int], channels: tuple[int, ...], kind: str) -> list[Unit]:
    """Write features as units of a cache; long videos repeat their frames, moved."""
    cache, units = open_cache(root, create=True), []
    for count in channels:
        some = features(min(frames, 40), grid, count, kind, count).half().numpy()
        request = FeatureRequest(video="clip", frames="0" * 64, backbone=f"b{count}", weights="none", frame_size=grid)
        names = tuple(f"{i:05d}" for i in range(frames))
        spec = UnitSpec(
            dataset="benchmark", request=request, timestep=1, tap="t", frame_names=names, source_size=grid
        )  # fmt: skip
        with cache.writer(spec) as writer:
            for frame in range(frames):
                writer.write(frame, np.roll(some[frame % len(some)], frame // len(some), axis=1))
                if frame % 50 == 0:
                    writer.commit()
            writer.finish({})
        units.append(Unit(spec.folder(root)))
    return units


def weighted(alpha: float = ALPHA, **values: Any) -> WeightedSettings:
    return WeightedSettings(weights=part_weights(alpha), settings=PropagationSettings(**values))


def apart(function: Callable[..., Any], **options: Any) -> Any:
    """Measure something in a process of its own, whose peak memory is then its own."""
    command = [sys.executable, sys.argv[0], "--apart", json.dumps([function.__name__, options])]
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(out.stdout.splitlines()[-1])


def run(about: str, parts: Mapping[str, Callable[[str], None]], measured: Mapping[str, Callable[..., Any]]) -> None:
    """Run the parts that the command line names, or all of them; `measured` are the functions that run `apart`."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts), choices=[[], *parts])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--apart", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.apart:
        name, values = json.loads(options.apart)
        print(json.dumps(measured[name](**values)))
        return
    for number, part in enumerate(options.parts or parts):
        print(("\n" if number else "") + f"# {part}: {(parts[part].__doc__ or '').splitlines()[0]}", flush=True)
        parts[part](options.device)
