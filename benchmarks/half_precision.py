"""Error of features in float16 and bfloat16 relative to float32, with the same weights, frames and noise.

Run from the project's root:

    python benchmarks/half_precision.py [--full-size] [--backbone NAME ...] [--frame-size 96x160] [--device cpu]

Models are small, or the published architectures, with random weights. Columns: relative norm of the difference; mean
difference of the cosines between a cell of the second frame and its 10 nearest cells of the first; share of these 10
that stay the nearest; seconds of the pass.
"""

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from full_size import TAPS, TIMESTEPS, full_size

from ted.extract.backbones import load_backbone
from ted.extract.backbones.base import Backbone
from ted.extract.frame_size import FrameSize, to_pixels
from ted.extract.runtime import DTYPES, use_reproducible_kernels
from ted.extract.small_models import make_small


def frames(count: int, size: tuple[int, int]) -> torch.Tensor:
    """Return frames (frame, 3, height, width) in [-1, 1] of a drifting texture."""
    coarse = np.random.default_rng(0).integers(0, 256, (60, 107, 3), dtype=np.uint8)
    texture = cv2.resize(coarse, (854, 480), interpolation=cv2.INTER_CUBIC)
    return torch.from_numpy(np.stack([to_pixels(np.roll(texture, 3 * i, axis=1), size) for i in range(count)]))


def features(backbone: Backbone, size: tuple[int, int]) -> tuple[torch.Tensor, float]:
    """Return features (frame, channel, y, x) of at least two frames, and the seconds of the pass."""
    pixels = frames(max(2, backbone.clip_length), size)

    def draw(shape: tuple[int, ...]) -> torch.Tensor:
        return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(1))

    with torch.inference_mode():
        latents = backbone.encode(pixels.to(backbone.device))
        clips = latents[None] if backbone.clip_length > 1 else latents[:, None]
        condition = {
            name: torch.cat([value] * len(clips))
            for name, value in backbone.condition(pixels[: backbone.clip_length], pixels[:1], draw).items()
        }
        name = backbone.name
        noisy = backbone.schedule.perturb(clips, draw(tuple(clips.shape)).to(backbone.device), TIMESTEPS[name])
        clock = time.perf_counter()
        found = backbone.features(noisy, TIMESTEPS[name], condition, [TAPS[name]])[TAPS[name]]
    return found.flatten(0, 1).cpu(), time.perf_counter() - clock


def compare(reference: torch.Tensor, other: torch.Tensor) -> tuple[float, float, float]:
    """Return relative norm of the difference, mean difference of cosines, and share of the 10 nearest that stay."""
    error = float((other - reference).norm() / reference.norm())
    cosines = []
    for values in (reference, other):
        unit = torch.nn.functional.normalize(values.flatten(2), dim=1)  # (frame, channel, cell)
        cosines.append(unit[1].T @ unit[0])
    best, again = (found.topk(10, dim=1).indices for found in cosines)
    difference = float((cosines[0].gather(1, best) - cosines[1].gather(1, best)).abs().mean())
    stay = (best[:, :, None] == again[:, None, :]).any(2).float().mean()
    return error, difference, float(stay)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", action="append", choices=list(TAPS))
    parser.add_argument("--frame-size", default="96x160")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--full-size", action="store_true")
    options = parser.parse_args()
    size = FrameSize.parse(options.frame_size).exact
    assert size is not None
    device = torch.device(options.device)
    use_reproducible_kernels()
    print("backbone   precision  difference  cosines  top-10 same  seconds")
    for name in options.backbone or TAPS:
        with tempfile.TemporaryDirectory() as folder:
            weights = None if options.full_size else make_small(name, Path(folder))
            reference: torch.Tensor | None = None
            for precision in ("float32", "float16", "bfloat16"):
                dtype = DTYPES[precision]
                if weights is None:
                    backbone = full_size(name, device, dtype)
                else:
                    backbone = load_backbone(name, weights, device=device, dtype=dtype)
                found, seconds = features(backbone, size)
                reference = found if reference is None else reference
                error, cosines, stay = compare(reference, found)
                print(f"{name:<10} {precision:<9}  {error:>10.1e}  {cosines:>7.1e}  {stay:>11.2%}  {seconds:>7.2f}")
                del backbone


if __name__ == "__main__":
    main()
