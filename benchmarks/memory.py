"""Peak memory of both stages over the length of the video, at a small size, with a small random ADM.

Run from the project's root:

    python benchmarks/memory.py [FRAMES ...]
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np


def make_video(folder: Path, frames: int) -> Path:
    """Write frames of a moving texture, and the mask of its first frame beside them."""
    texture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    (folder / "clip").mkdir(parents=True)
    for index in range(frames):
        cv2.imwrite(str(folder / "clip" / f"{index:05d}.jpg"), np.roll(texture, index, axis=1))
    mask = np.zeros((64, 96), np.uint8)
    mask[20:40, 20:50] = 1
    cv2.imwrite(str(folder / "mask.png"), mask)
    return folder / "clip"


def peak_megabytes(*command: object) -> int:
    """Run a command of ``ted`` and return its peak resident memory in MB."""
    process = subprocess.Popen(["ted", *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: ted {' '.join(map(str, command))}")
    return usage.ru_maxrss // 1024


def main() -> None:
    lengths = [int(text) for text in sys.argv[1:]] or [50, 500, 2000]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        subprocess.run(["ted", "small-weights", "adm", root / "adm"], check=True, stdout=subprocess.DEVNULL)
        print("frames  extract  propagate  (peak MB)")
        for frames in lengths:
            source = make_video(root / str(frames), frames)
            cache = ("--cache", source.parent / "cache")
            feature = ("--feature", "adm:51:output_blocks[7]", "--weights", f"adm={root / 'adm'}")
            extract = peak_megabytes("extract", source, *cache, *feature, "--frame-size", 64)
            output = ("--mask", source.parent / "mask.png", "--out", source.parent / "results", "--overlay")
            propagate = peak_megabytes("propagate", source, *cache, *output, "--preset", "dift-adm")
            print(f"{frames:6}  {extract:7}  {propagate:9}")


if __name__ == "__main__":
    main()
