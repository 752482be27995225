"""Label propagation through a video at the paper's scale: sweeps, re-tuning, sessions, long videos, workers.

Run from the project's root, on a machine that does nothing else:

    python benchmarks/propagation.py [PART ...]

PARTs: sweep, retune, session, length, workers; all by default. `benchmarks/search.py` measures the search alone.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import dask.array as da
import torch

sys.path.insert(0, str(Path(__file__).parent))
from scale import (
    ALPHA,
    CHANNELS,
    CONTEXT,
    GRID,
    OBJECTS,
    RADIUS,
    TEMPERATURE,
    TOP_K,
    apart,
    features,
    peak,
    run,
    timed,
    weighted,
    write_units,
)

from ted.propagate import (
    AffinitySource,
    Fusion,
    PropagationSettings,
    SearchSpec,
    TrackingSession,
    WeightedSettings,
    cache_affinities,
    connect,
    plan_passes,
    propagate,
    search,
)
from ted.store import Cache, Unit, open_cache


def settings_of(alphas: list[float], temperatures: list[float], top_ks: list[int]) -> list[WeightedSettings]:
    return [
        weighted(a, temperature=t, top_k=k, radius=RADIUS, context=CONTEXT)
        for a, t, k in product(alphas, temperatures, top_ks)
    ]


def run_settings(cache: Cache, units: list[Unit], settings: list[WeightedSettings], keep: bool) -> tuple[float, float]:
    """Search for settings and label with them; return the seconds of both."""
    (shared,) = plan_passes(settings, [GRID, GRID])
    first = torch.rand(OBJECTS, *GRID, generator=torch.Generator().manual_seed(0))
    parts = [units[part] for part in shared.parts]
    chosen = [item.of_parts(shared.parts) for item in shared.settings]
    start = time.perf_counter()
    if not keep:
        for _ in TrackingSession([(part, 1.0) for part in parts], chosen[0], first, memory=0).sweep(chosen):
            pass
        return time.perf_counter() - start, 0.0
    kept = cache_affinities(cache, parts, shared.search)
    middle = time.perf_counter()
    groups: dict[tuple[float, ...], list[WeightedSettings]] = {}
    for item in shared.settings:
        groups.setdefault(item.weights, []).append(item)
    for some in groups.values():
        of_parts = [item.of_parts(shared.parts) for item in some]
        for _ in TrackingSession(kept, of_parts[0], first, memory=0).sweep(of_parts):
            pass
    return middle - start, time.perf_counter() - middle


def sweep(device: str) -> None:
    """220 settings against one: reading, affinities and labels."""
    frames = 26
    many = settings_of([i / 10 for i in range(11)], [0.05, 0.1, 0.2, 0.3, 0.5], [5, 10, 15, 20])
    print(
        f"{frames} frames of the cache, reading + affinities + labels; sweeps keep their affinities and read them anew"
    )
    print("features  settings  affinities s  labels s  together s  times one setting  affinities MB a frame")
    for kind in ("noise", "smooth"):
        with tempfile.TemporaryDirectory() as name:
            units = write_units(Path(name), frames, GRID, CHANNELS, kind)
            cache = open_cache(name)
            base, _ = run_settings(cache, units, settings_of([ALPHA], [TEMPERATURE], [TOP_K]), keep=False)
            print(f"{kind:8}  {1:8}  {base:12.1f}  {'':8}  {base:10.1f}")
            for some in (many,):
                found, labels = run_settings(cache, units, some, keep=True)
                (size,) = {e.bytes for e in cache.affinities()}
                for entry in cache.affinities():
                    cache.remove(entry.folder)
                print(
                    f"{kind:8}  {len(some):8}  {found:12.1f}  {labels:8.1f}  {found + labels:10.1f}  "
                    f"{(found + labels) / base:16.2f}x  {size / 1e6 / (frames - 1):10.2f}"
                )


@dataclass(frozen=True)
class Part:
    """Features in memory."""

    features: Any
    frame_size: tuple[int, int]


def session(device: str) -> None:
    """Labels of a video after a change, from a session's memory: milliseconds a frame."""
    frames = 50
    print(
        f"{frames} frames, {GRID[0]}x{GRID[1]} cells, {OBJECTS} channels, {CONTEXT} + 1 context frames, one part of 32"
    )
    print("change                      ms/frame  searched  reused  unchanged")
    values = features(frames, GRID, 32, "smooth", 1).half().numpy()
    part = Part(features=da.from_array(values, chunks=(1, *values.shape[1:])), frame_size=(480, 832))
    first = torch.rand(OBJECTS, *GRID, generator=torch.Generator().manual_seed(0))
    tracking = TrackingSession([(part, 1.0)], PropagationSettings(), first, device=device)
    changes: list[tuple[str, Callable[[], None]]] = [
        ("nothing yet", lambda: None),
        ("temperature 0.1", lambda: setattr(tracking, "settings", PropagationSettings(temperature=0.1))),
        ("top-k 5", lambda: setattr(tracking, "settings", PropagationSettings(temperature=0.1, top_k=5))),
        ("frame 40 annotated", lambda: tracking.annotate(40, first)),
        ("frame 40 corrected", lambda: tracking.annotate(40, first.flip(2))),
    ]
    for name, change in changes:
        change()
        start = time.perf_counter()
        for _ in tracking.labels():
            pass
        seconds, run = time.perf_counter() - start, tracking.last_run
        print(f"{name:26}  {1000 * seconds / frames:8.1f}  {run.searched:8}  {run.reused:6}  {run.unchanged:9}")


def retune(device: str) -> None:
    """From kept affinities: milliseconds a frame, of a whole video, with reading."""
    frames = 31
    print("from kept affinities (one alpha, 16 sources a pixel), milliseconds a frame with reading and ranking")
    print("change                          ms/frame  not proven")
    with tempfile.TemporaryDirectory() as name:
        units = write_units(Path(name), frames, GRID, CHANNELS, "smooth")
        cache = open_cache(name)
        fusion = Fusion(weights=(ALPHA, 1 - ALPHA), context=CONTEXT)
        first = torch.rand(OBJECTS, *GRID, generator=torch.Generator().manual_seed(0))
        for each in (False, True):
            wanted = SearchSpec(radius=RADIUS, top_k=10 if each else 16, fusions=(fusion,), per_frame=each)
            kept = cache_affinities(cache, units, wanted)
            size = kept.unit.marker.total_bytes / 1e6 / (frames - 1)
            title = "best of every context frame" if each else "best of all context frames"
            print(f"{title}: {size:.2f} MB a frame")
            for change, item in [
                ("temperature 0.1", weighted(temperature=0.1)),
                ("top-k 5", weighted(top_k=5)),
                ("context 14", weighted(context=14)),
                ("alpha 0.45", weighted(0.45)),
                ("alpha 0.8", weighted(0.8)),
            ]:
                source = AffinitySource(cache, units, use="approximate")
                share = source.find([item], (0,)).unproven

                def label(source: AffinitySource = source, item: WeightedSettings = item) -> None:
                    for _ in TrackingSession(source, item, first, memory=0).labels():
                        pass

                seconds = timed(label, 2)
                print(f"  {change:28}  {1000 * seconds / (frames - 1):8.1f}  {share:9.2%}")
            cache.remove(kept.unit.folder)


def length(device: str) -> None:
    """Time a frame and peak memory against the length of the video, at a small grid."""
    print("14x24 cells, 64 + 32 channels, radius 5, 28 + 1 context frames")
    print("frames  ms/frame  peak MB")
    for frames in (50, 500, 5000):
        found = apart(long, frames=frames)
        print(f"{frames:6}  {1000 * found['seconds'] / frames:8.2f}  {1000 * found['gigabytes']:7.0f}")


def long(frames: int) -> dict[str, float]:
    """Propagate through a long video from the cache."""
    settings = weighted(radius=5)
    with tempfile.TemporaryDirectory() as name:
        # Written elsewhere: what this process holds is propagation's own.
        code = "import sys; sys.path.insert(0, 'benchmarks'); from pathlib import Path; from scale import *; "
        code += f"write_units(Path({name!r}), {frames}, (14, 24), (64, 32), 'smooth')"
        subprocess.run([sys.executable, "-c", code], check=True)
        units = open_cache(name).units()
        first = torch.rand(OBJECTS, 14, 24, generator=torch.Generator().manual_seed(0))
        start = time.perf_counter()
        for _ in propagate(list(zip(units, settings.weights, strict=True)), first, settings.settings):
            pass
        return {"seconds": time.perf_counter() - start, "gigabytes": peak()}


def workers(device: str) -> None:
    """A video's affinities in this process and on worker processes, one thread each."""
    frames, threads = 16, torch.get_num_threads()
    print(f"{frames} frames of the cache, affinities of one setting")
    print("where                       s  times this process with as many threads")
    with tempfile.TemporaryDirectory() as name:
        units = write_units(Path(name), frames, GRID, CHANNELS, "smooth")
        wanted = SearchSpec(radius=RADIUS, top_k=TOP_K, fusions=(Fusion(weights=(ALPHA, 1 - ALPHA), context=CONTEXT),))
        here = {}
        for count in sorted({1, threads}):
            torch.set_num_threads(count)
            here[count] = timed(lambda: list(search(units, wanted)), 1)
            print(f"this process, {count} thread{'s' * (count > 1):1}  {here[count]:6.1f}")
        torch.set_num_threads(threads)
        for count in (1, 2):
            with connect(workers=count, threads=1) as crew:
                list(search(units, wanted, frames=range(1, 3), workers=crew))  # starts them
                seconds = timed(lambda crew=crew: list(search(units, wanted, workers=crew)), 1)  # type: ignore[misc]
            ratio = seconds / here.get(count, here[1])
            print(f"{count} worker{'s' * (count > 1):1}, 1 thread each  {seconds:6.1f}  {ratio:5.2f}x")


if __name__ == "__main__":
    run(
        __doc__,
        {"sweep": sweep, "retune": retune, "session": session, "length": length, "workers": workers},
        {"long": long},
    )
