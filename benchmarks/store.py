"""Speed of writing and reading features, relative to the same bytes in plain, synced files.

Run from the project's root on an idle machine:

    python benchmarks/store.py [FOLDER]

All ways alternate in one run; compare their ratios. Features have the size of TED's at 480p: 60x104 cells, 640
channels, float16, 8 MB per frame.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr

from ted.store import FeatureRequest, Unit, UnitSpec, open_cache

FRAMES = 24
ROUNDS = 5
VALUES = np.random.default_rng(0).standard_normal((FRAMES, 60, 104, 640)).astype(np.float16)


def spec() -> UnitSpec:
    request = FeatureRequest(video="v", frames="0", backbone="b", weights="w", frame_size=(480, 832))
    names = tuple(f"{i:05d}" for i in range(FRAMES))
    return UnitSpec(dataset="d", request=request, timestep=0, tap="t", frame_names=names, source_size=(480, 854))


def write_plain(folder: Path) -> None:
    folder.mkdir()
    for index, frame in enumerate(VALUES):
        with (folder / str(index)).open("wb") as file:
            file.write(frame.tobytes())
            file.flush()
            os.fsync(file.fileno())


def write_unit(folder: Path) -> None:
    with open_cache(folder, create=True).writer(spec()) as writer:
        for index, frame in enumerate(VALUES):
            writer.write(index, frame)
            if index % 8 == 7:
                writer.commit()
        writer.finish({})


def read_plain(folder: Path) -> None:
    for index in range(FRAMES):
        np.fromfile(folder / str(index), np.float16).reshape(VALUES.shape[1:])


def read_zarr(folder: Path) -> None:
    array = zarr.open_array(spec().folder(folder) / "features", mode="r")
    for index in range(FRAMES):
        array[index]


def read_unit(folder: Path) -> None:
    features = Unit(spec().folder(folder)).features
    for index in range(FRAMES):
        features[index].compute(scheduler="synchronous")


def read_unit_blocks(folder: Path) -> None:
    features = Unit(spec().folder(folder)).features
    for index in range(0, FRAMES, 8):
        features[index : index + 8].compute()


def seconds(task: Callable[[Path], None], folder: Path) -> float:
    began = time.perf_counter()
    task(folder)
    return time.perf_counter() - began


def main() -> None:
    root = Path(tempfile.mkdtemp(dir=sys.argv[1] if len(sys.argv) > 1 else None))
    times: dict[str, list[float]] = {}
    try:
        for number in range(ROUNDS):
            plain, unit = root / f"plain{number}", root / f"unit{number}"
            for name, task, folder in (
                ("write plain files, synced", write_plain, plain),
                ("write a unit", write_unit, unit),
                ("read plain files", read_plain, plain),
                ("read with zarr alone", read_zarr, unit),
                ("read a unit, frame by frame", read_unit, unit),
                ("read a unit, 8 frames at a time, 2 threads", read_unit_blocks, unit),
            ):
                times.setdefault(name, []).append(seconds(task, folder))
            shutil.rmtree(plain)
            shutil.rmtree(unit)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    size = VALUES.nbytes / 1e6
    for name, values in times.items():
        floor = statistics.median(
            times["write plain files, synced" if name.startswith("write") else "read plain files"]
        )
        middle = statistics.median(values)
        print(f"{name:<44} {size / middle:7.0f} MB/s  {middle / floor:5.2f} x the floor's time")


if __name__ == "__main__":
    main()
