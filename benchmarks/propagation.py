"""Label propagation at the paper's scale: against the dense way, against the floor, sweeps, re-tuning, workers.

Run from the project's root, on a machine that does nothing else:

    python benchmarks/propagation.py [PART ...]

PARTs: dense, floor, sweep, retune, session, shape, length, workers, precision; all by default. Each measures what it
compares side by side, in processes of its own. Where there is a GPU, `--device cuda` measures the engine on it.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from peers import fused, propagate_dense, window_mask

from ted.propagate import (
    AffinitySource,
    AnnotatedLabel,
    CosineKernel,
    Fusion,
    PropagationSettings,
    SearchSpec,
    TrackingSession,
    WeightedSettings,
    cache_affinities,
    connect,
    part_weights,
    plan_passes,
    propagate,
    search,
)
from ted.propagate.kernels.cosine.index import CosineIndex
from ted.propagate.kernels.cosine.pairs import unit_vectors
from ted.propagate.kernels.cosine.precision import BFLOAT16, FLOAT32, Precision, best_precision
from ted.propagate.labels import ContextLabels
from ted.store import Cache, FeatureRequest, Unit, UnitSpec, open_cache

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


def apart(part: str, **options: Any) -> Any:
    """Measure something in a process of its own, whose peak memory is then its own."""
    command = [sys.executable, __file__, "--apart", json.dumps({"part": part, **options})]
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(out.stdout.splitlines()[-1])


def held(spec: SearchSpec, context: list[torch.Tensor], precision: Precision) -> CosineIndex:
    """Return an index that holds a context, (frame, y, x, channel) for each part."""
    index = CosineIndex(spec, len(context[0]), precision=precision)
    for frame in range(len(context[0])):
        index.add(frame, [part[frame] for part in context])
    return index


def one(device: str, kind: str, way: str) -> dict[str, float]:
    """Measure one frame of a full context: the dense way, or ours."""
    units = [unit_vectors(features(CONTEXT + 2, GRID, c, kind, c)) for c in CHANNELS]
    labels = torch.rand(CONTEXT + 1, OBJECTS, *GRID, generator=torch.Generator().manual_seed(0))
    weights = (ALPHA, 1 - ALPHA)
    if way == "dense":
        both = fused(units, weights).flatten(1, 2)
        del units
        mask = window_mask(GRID, RADIUS)
        query, context = both[-1].clone(), both[:-1].clone()
        del both
        before = forget_peak()
        soft: list[torch.Tensor] = []

        def run() -> None:
            soft[:] = [propagate_dense(query, context, labels, mask=mask, temperature=TEMPERATURE, top_k=TOP_K)]

        seconds = timed(run, 1)
        # What the scripts hold beside a frame's temporaries: the context's features and the mask.
        own = peak() - before + (context.nbytes + mask.nbytes) / 1e9
    else:
        precision = best_precision(torch.device(device), torch.get_num_threads()) if way == "ours" else FLOAT32
        fusion = Fusion(weights=weights, context=CONTEXT)
        wanted = SearchSpec(radius=RADIUS, top_k=TOP_K, fusions=(fusion,))
        index = held(wanted, [unit[:-1].to(device) for unit in units], precision)
        query_parts = [unit[-1].clone().to(device) for unit in units]
        del units
        held_labels = ContextLabels({0: AnnotatedLabel(label=labels[0].to(device))})
        for frame in range(1, CONTEXT + 1):
            held_labels.hold(frame, range(frame), [labels[frame].to(device)])
        before = forget_peak()
        soft = []

        def run() -> None:
            found = index.search(query_parts, range(CONTEXT + 1), 1)
            affinity = wanted.kernel.rank(found, fusion, TOP_K, cells=GRID[0] * GRID[1], frames=CONTEXT + 1)
            weights = wanted.kernel.weights(affinity.similarity, TEMPERATURE)
            soft[:] = held_labels.advance(CONTEXT + 1, range(CONTEXT + 1), [(affinity, weights)])
            if device != "cpu":
                torch.cuda.synchronize()

        seconds = timed(run)
        kept = sum(part.nbytes for part in index.keys) / 1e9
        own = peak() - before + kept if device == "cpu" else torch.cuda.max_memory_allocated() / 1e9
    Path(tempfile.gettempdir(), f"ted-benchmark-{way}.npy").write_bytes(soft[0].cpu().numpy().tobytes())
    return {"seconds": seconds, "gigabytes": own}


def exact(kind: str) -> dict[str, int]:
    """Compare the sources of some pixels with those of all similarities of their windows in float64."""
    units = [unit_vectors(features(CONTEXT + 2, GRID, c, kind, c)) for c in CHANNELS]
    fusion = Fusion(weights=(ALPHA, 1 - ALPHA), context=CONTEXT)
    wanted = SearchSpec(radius=RADIUS, top_k=TOP_K, fusions=(fusion,))
    index = held(wanted, [unit[:-1] for unit in units], FLOAT32)
    found = index.search([unit[-1] for unit in units], range(CONTEXT + 1), 1)
    kernel = CosineKernel()
    sources = kernel.rank(found, fusion, TOP_K, cells=GRID[0] * GRID[1], frames=CONTEXT + 1).sources
    compared = equal = 0
    for pixel in range(0, GRID[0] * GRID[1], 17):
        y, x = divmod(pixel, GRID[1])
        rows, columns = (slice(max(0, at - RADIUS), at + RADIUS + 1) for at in (y, x))
        sims = sum(
            scale * (unit[:-1, rows, columns].double() @ unit[-1, y, x].double())
            for unit, scale in zip(units, kernel.scales(fusion), strict=True)
        )
        values, order = sims.flatten().topk(TOP_K + 1)
        frame, down, right = np.unravel_index(order[:TOP_K].numpy(), sims.shape)
        expected = (frame * GRID[0] + down + rows.start) * GRID[1] + right + columns.start
        if values[TOP_K - 1] - values[TOP_K] > 1e-5:
            compared += 1
            equal += sorted(expected.tolist()) == sorted(sources[pixel].tolist())
    return {"compared": compared, "equal": equal}


def dense(device: str) -> None:
    """Our engine against the dense computation."""
    print(f"one frame, {GRID[0]}x{GRID[1]} cells, {'+'.join(map(str, CHANNELS))} channels, radius {RADIUS}, "
          f"{CONTEXT} + 1 context frames, top-{TOP_K}")  # fmt: skip
    print("features  way        s/frame  faster  peak GB  memory  soft labels within 1e-5  same argmax")
    for kind in ("noise", "smooth"):
        base = apart("one", device="cpu", kind=kind, way="dense")
        print(f"{kind:8}  dense      {base['seconds']:7.2f}          {base['gigabytes']:7.2f}")
        expected = result("dense")
        for way, place in [("ours", "cpu"), ("float32", "cpu")] + ([("ours", device)] if device != "cpu" else []):
            found = apart("one", device=place, kind=kind, way=way)
            soft = result(way)
            close = (np.abs(soft - expected).max(0) < 1e-5).mean()
            same = (soft.argmax(0) == expected.argmax(0)).mean()
            print(
                f"{kind:8}  {way if place == 'cpu' else device:9}  {found['seconds']:7.2f}  "
                f"{base['seconds'] / found['seconds']:5.1f}x  {found['gigabytes']:7.2f}  "
                f"{found['gigabytes'] / base['gigabytes']:5.1%}  {close:23.2%}  {same:11.3%}"
            )
        checked = apart("exact", kind=kind)
        print(
            f"{kind:8}  of {checked['compared']} sampled pixels whose 10th and 11th source differ by more than 1e-5, "
            f"{checked['equal']} have the sources of a float64 search of their whole window"
        )


def result(way: str) -> np.ndarray[Any, Any]:
    values = np.frombuffer(Path(tempfile.gettempdir(), f"ted-benchmark-{way}.npy").read_bytes(), np.float32)
    return values.reshape(OBJECTS, -1)


def window_pairs(grid: tuple[int, int], radius: int) -> int:
    """Return the pairs of a query and a key in its window, of one frame against one."""
    sides = [sum(min(size, i + radius + 1) - max(0, i - radius) for i in range(size)) for size in grid]
    return sides[0] * sides[1]


def floor(device: str) -> None:
    """The engine's time against the windows' operations at the processor's rate of matrix products."""
    operations = 2 * window_pairs(GRID, RADIUS) * sum(CHANNELS) * (CONTEXT + 1)
    rates, size = {}, 2048 if device == "cpu" else 8192
    for dtype in (torch.float32, torch.bfloat16 if device == "cpu" else torch.float16):
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

        def multiply(left: torch.Tensor = left, right: torch.Tensor = right) -> None:
            left @ right.mT
            if device != "cpu":
                torch.cuda.synchronize()

        rates[dtype] = 2 * size**3 / timed(multiply, 4)
    best = max(rates, key=rates.__getitem__)
    print(f"the windows need {operations / 1e12:.3f} TFLOP a frame; this processor does " + ", ".join(
        f"{rate / 1e9:.0f} GFLOP/s in {str(dtype).removeprefix('torch.')}" for dtype, rate in rates.items()
    ))  # fmt: skip
    print("features  s/frame  floor s  times the floor")
    for kind in ("noise", "smooth"):
        found = apart("one", device=device, kind=kind, way="ours")
        least = operations / rates[best]
        print(f"{kind:8}  {found['seconds']:7.2f}  {least:7.2f}  {found['seconds'] / least:5.2f}x")


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


@dataclass(frozen=True)
class Part:
    """Features in memory."""

    features: Any
    frame_size: tuple[int, int]


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

                def run(source: AffinitySource = source, item: WeightedSettings = item) -> None:
                    for _ in TrackingSession(source, item, first, memory=0).labels():
                        pass

                seconds = timed(run, 2)
                print(f"  {change:28}  {1000 * seconds / (frames - 1):8.1f}  {share:9.2%}")
            cache.remove(kept.unit.folder)


def shape(device: str) -> None:
    """Cost against grid, channels, radius and context, one at a time, beside the pairs in the windows."""
    print("time of one frame of a full context, and per multiply-add that its windows need")
    print("grid      channels  radius  context  s/frame  ns per 1000 multiply-adds")
    base: dict[str, Any] = {"grid": (60, 104), "channels": 1152, "radius": 15, "context": 28}
    changes: list[dict[str, Any]] = [
        {"grid": (30, 52)}, {"grid": (45, 78)}, {"grid": (60, 104)}, {"grid": (90, 156)},
        {"channels": 288}, {"channels": 576}, {"channels": 2304},
        {"radius": 5}, {"radius": 10}, {"radius": 20},
        {"context": 1}, {"context": 7}, {"context": 14},
    ]  # fmt: skip
    for change in changes:
        own = {**base, **change}
        found = apart("shaped", **own)
        pairs = window_pairs(tuple(own["grid"]), own["radius"]) * (own["context"] + 1) * own["channels"]
        grid = "x".join(map(str, own["grid"]))
        print(
            f"{grid:8}  {own['channels']:8}  {own['radius']:6}  {own['context']:7}  {found:7.2f}  "
            f"{found / pairs * 1e12:8.1f}"
        )


def shaped(grid: list[int], channels: int, radius: int, context: int) -> float:
    """Measure one frame of our engine at a scale."""
    size = (grid[0], grid[1])
    query = [unit_vectors(features(1, size, channels, "noise", 99)[0])]
    wanted = SearchSpec(radius=radius, top_k=TOP_K, fusions=(Fusion(weights=(1.0,), context=context),))
    frames = [unit_vectors(features(1, size, channels, "noise", frame)) for frame in range(context + 1)]
    index = held(wanted, [torch.cat(frames)], best_precision(torch.device("cpu"), torch.get_num_threads()))
    del frames
    return timed(lambda: index.search(query, range(context + 1), 1), 3)


def length(device: str) -> None:
    """Time a frame and peak memory against the length of the video, at a small grid."""
    print("14x24 cells, 64 + 32 channels, radius 5, 28 + 1 context frames")
    print("frames  ms/frame  peak MB")
    for frames in (50, 500, 5000):
        found = apart("long", frames=frames)
        print(f"{frames:6}  {1000 * found['seconds'] / frames:8.2f}  {1000 * found['gigabytes']:7.0f}")


def long(frames: int) -> dict[str, float]:
    """Propagate through a long video from the cache."""
    settings = weighted(radius=5)
    with tempfile.TemporaryDirectory() as name:
        # Written elsewhere: what this process holds is propagation's own.
        code = "import sys; sys.path.insert(0, 'benchmarks'); from pathlib import Path; from propagation import *; "
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


def precision(device: str) -> None:
    """What products of low precision admit, and what they cost, wherever they would be chosen."""
    print("candidates by products of either precision, two tables of 11 alphas at once and one alpha alone")
    print("features  alphas  products  s/frame")
    low = BFLOAT16
    for kind, count, chosen in product(("noise", "smooth"), (1, 11), (FLOAT32, low)):
        found = apart("admitted", kind=kind, count=count, low=chosen is low)
        print(f"{kind:8}  {count:6}  {'bfloat16' if chosen is low else 'float32':8}  {found:7.2f}")


def admitted(kind: str, count: int, low: bool) -> float:
    """Measure one frame with products of a precision."""
    chosen: Precision = BFLOAT16 if low else FLOAT32
    units = [unit_vectors(features(CONTEXT + 2, GRID, c, kind, c)) for c in CHANNELS]
    query = [unit[-1].clone() for unit in units]
    alphas = [ALPHA] if count == 1 else [i / 10 for i in range(11)]
    wanted = SearchSpec(
        radius=RADIUS, top_k=TOP_K, fusions=tuple(Fusion(weights=(a, 1 - a), context=CONTEXT) for a in alphas)
    )  # fmt: skip
    index = held(wanted, [unit[:-1] for unit in units], chosen)
    del units
    return timed(lambda: index.search(query, range(CONTEXT + 1), 1), 2)


PARTS: dict[str, Callable[[str], None]] = {
    "dense": dense, "floor": floor, "sweep": sweep, "retune": retune, "session": session, "shape": shape,
    "length": length, "workers": workers, "precision": precision,
}  # fmt: skip


def parse() -> Iterator[tuple[str, str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--apart", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.apart:
        call = json.loads(options.apart)
        name = call.pop("part")
        functions: dict[str, Callable[..., Any]] = {
            "one": one,
            "shaped": shaped,
            "long": long,
            "admitted": admitted,
            "exact": exact,
        }
        print(json.dumps(functions[name](**call)))
        return
    for part in options.parts or PARTS:
        if part not in PARTS:
            parser.error(f"unknown part {part}; there are {', '.join(PARTS)}")
        yield part, options.device


def main() -> None:
    for number, (part, device) in enumerate(parse()):
        print(("\n" if number else "") + f"# {part}: {(PARTS[part].__doc__ or '').splitlines()[0]}", flush=True)
        PARTS[part](device)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
