"""The search for one frame's sources at the paper's scale: against the dense way, against the floor, and its shape.

Run from the project's root, on a machine that does nothing else:

    python benchmarks/search.py [PART ...]

PARTs: dense, floor, shape, precision; all by default. Each measures what it compares side by side, in processes of its
own. Where there is a GPU, `--device cuda` measures the engine on it.
"""

import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from peers import fused, propagate_dense, window_mask
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
    forget_peak,
    peak,
    run,
    timed,
    weighted,
)

from ted.propagate import AnnotatedLabel, CosineKernel, FrameCandidates, Fusion, SearchSpec
from ted.propagate.kernels.cosine.index import CosineIndex
from ted.propagate.kernels.cosine.pairs import unit_vectors
from ted.propagate.kernels.cosine.precision import BFLOAT16, FLOAT32, Precision, best_precision
from ted.propagate.labels import ContextLabels, weigh_sources


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

        def step() -> None:
            soft[:] = [propagate_dense(query, context, labels, mask=mask, temperature=TEMPERATURE, top_k=TOP_K)]

        seconds = timed(step, 1)
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

        def step() -> None:
            found = index.search(query_parts, range(CONTEXT + 1), 1)
            context = tuple(range(CONTEXT + 1))
            step = FrameCandidates(
                frame=CONTEXT + 1, context=context, annotated=1, grid=GRID, spec=wanted, candidates=found
            )
            soft[:] = held_labels.advance(CONTEXT + 1, context, weigh_sources(step, [weighted()]))
            if device != "cpu":
                torch.cuda.synchronize()

        seconds = timed(step)
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
        base = apart(one, device="cpu", kind=kind, way="dense")
        print(f"{kind:8}  dense      {base['seconds']:7.2f}          {base['gigabytes']:7.2f}")
        expected = result("dense")
        for way, place in [("ours", "cpu"), ("float32", "cpu")] + ([("ours", device)] if device != "cpu" else []):
            found = apart(one, device=place, kind=kind, way=way)
            soft = result(way)
            close = (np.abs(soft - expected).max(0) < 1e-5).mean()
            same = (soft.argmax(0) == expected.argmax(0)).mean()
            print(
                f"{kind:8}  {way if place == 'cpu' else device:9}  {found['seconds']:7.2f}  "
                f"{base['seconds'] / found['seconds']:5.1f}x  {found['gigabytes']:7.2f}  "
                f"{found['gigabytes'] / base['gigabytes']:5.1%}  {close:23.2%}  {same:11.3%}"
            )
        checked = apart(exact, kind=kind)
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
        found = apart(one, device=device, kind=kind, way="ours")
        least = operations / rates[best]
        print(f"{kind:8}  {found['seconds']:7.2f}  {least:7.2f}  {found['seconds'] / least:5.2f}x")


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
        found = apart(shaped, **own)
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


def precision(device: str) -> None:
    """What products of low precision admit, and what they cost, wherever they would be chosen."""
    print("candidates by products of either precision, two tables of 11 alphas at once and one alpha alone")
    print("features  alphas  products  s/frame")
    low = BFLOAT16
    for kind, count, chosen in product(("noise", "smooth"), (1, 11), (FLOAT32, low)):
        found = apart(admitted, kind=kind, count=count, low=chosen is low)
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


if __name__ == "__main__":
    run(
        __doc__,
        {"dense": dense, "floor": floor, "shape": shape, "precision": precision},
        {"one": one, "exact": exact, "shaped": shaped, "admitted": admitted},
    )
