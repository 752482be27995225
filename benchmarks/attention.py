"""The attention kernel against a dense script, side by side on two cores.

Run from the project's root, on a machine that does nothing else:

    python benchmarks/attention.py [--grid 60x104] [--heads 5] [--context 7] [--radius 15] [--top-k 10]

Both label one frame with a full context from the same queries and keys. The script scores every pair of pixels, masks
those outside the window, takes a softmax for each head, and sums the labels of the top-k sources. A second part
measures the peak memory for videos of two lengths, each in a process of its own.
"""

import argparse
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.array as da
import torch

from ted.propagate import AttentionKernel, PropagationSettings, propagate, window_mask

WIDTH, OBJECTS = 64, 4


@dataclass(frozen=True)
class Layer:
    """Queries and keys in memory, made frame by frame when they are read."""

    frames: int
    grid: tuple[int, int]
    heads: int
    frame_size: tuple[int, int] = (480, 832)

    @property
    def spec(self) -> Any:
        return SimpleNamespace(feature="sd21@00000000:101:layer:qk", heads=self.heads)

    @property
    def features(self) -> da.Array:
        def read(block_info: Any = None) -> Any:
            return self.frame(block_info[None]["array-location"][0][0])[None].numpy()

        shape = (self.frames, *self.grid, self.heads * 2 * WIDTH)
        return da.map_blocks(read, chunks=((1,) * shape[0], *((size,) for size in shape[1:])), dtype="f4", meta=None)

    def frame(self, index: int) -> torch.Tensor:
        """Return a frame's features, (y, x, channel): smooth in space, with some noise."""
        generator = torch.Generator().manual_seed(index % 16)
        coarse = torch.randn(1, self.heads * 2 * WIDTH, 8, 13, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, size=self.grid, mode="bilinear")[0].movedim(0, -1)
        return smooth + 0.1 * torch.randn(smooth.shape, generator=generator)


def dense(layer: Layer, labels: Sequence[torch.Tensor], settings: PropagationSettings) -> torch.Tensor:
    """Return the label of the last frame, (object, y, x), by all pairs of pixels."""
    cells = math.prod(layer.grid)
    near = torch.stack(
        [window_mask(layer.grid, divmod(cell, layer.grid[1]), settings.radius).flatten() for cell in range(cells)]
    )
    heads = [layer.frame(index).flatten(0, 1).unflatten(1, (layer.heads, 2, WIDTH)) for index in range(layer.frames)]
    inside = near.repeat(1, layer.frames - 1)
    total = torch.zeros(cells, (layer.frames - 1) * cells)
    for head in range(layer.heads):
        keys = torch.cat([frame[:, head, 1] for frame in heads[:-1]])
        logits = heads[-1][:, head, 0] @ keys.T / math.sqrt(WIDTH)
        total += logits.masked_fill_(~inside, -math.inf).softmax(-1) / layer.heads
    weights, sources = total.topk(settings.top_k)
    by_source = torch.cat([label.flatten(1).T for label in labels])
    weights = weights / weights.sum(1, keepdim=True)
    return (weights[..., None] * by_source[sources]).sum(1).T.reshape(-1, *layer.grid)


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result, and the seconds that it took."""
    start = time.perf_counter()
    return run(), time.perf_counter() - start


def compare(layer: Layer, settings: PropagationSettings) -> None:
    """Label the last frame by both, and print seconds, their ratio and the largest difference."""
    label = torch.rand(OBJECTS, *layer.grid, generator=torch.Generator().manual_seed(0)).softmax(0)
    ours: dict[int, torch.Tensor] = {}
    seconds, last = [], time.perf_counter()
    for frame, found in propagate([(layer, 1.0)], label, settings):
        now = time.perf_counter()
        ours[frame] = found
        seconds.append(now - last)
        last = now
    theirs, slow = timed(lambda: dense(layer, [ours[frame] for frame in range(layer.frames - 1)], settings))
    apart = (ours[layer.frames - 1] - theirs).abs().amax(0)
    print(f"dense script {slow:.2f} s, kernel {seconds[-1]:.2f} s a frame: ratio {slow / seconds[-1]:.1f}")
    # Where the k-th and the next source are equal to rounding, both choices are right.
    print(f"labels equal within 1e-5 for {100 * float((apart < 1e-5).float().mean()):.2f} % of the pixels")


def memory(layer: Layer, settings: PropagationSettings) -> None:
    """Propagate through a video and print this process's peak memory."""
    label = torch.rand(OBJECTS, *layer.grid).softmax(0)
    for _ in propagate([(layer, 1.0)], label, settings):
        pass
    # Not ru_maxrss, which a process inherits from the one that started it.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    print(f"{layer.frames} frames: peak {int(peak[1]) * 1024 / 1e9:.2f} GB", flush=True)


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", default="60x104")
    for name, default in (("heads", 5), ("context", 7), ("radius", 15), ("top-k", 10), ("memory", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    rows, columns = map(int, given.grid.split("x"))
    settings = PropagationSettings(
        kernel=AttentionKernel(), radius=given.radius, context=given.context, top_k=given.top_k
    )
    if given.memory:
        memory(Layer(given.memory, (rows, columns), given.heads), settings)
        return
    torch.set_num_threads(2)
    compare(Layer(given.context + 2, (rows, columns), given.heads), settings)
    for frames in (given.context + 2, 4 * (given.context + 2)):
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--memory", str(frames)], check=True)


if __name__ == "__main__":
    main()
