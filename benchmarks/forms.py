"""Storage codecs of features: size, speed and error, on several kinds of features.

Run from the project's root, on an idle machine:

    python benchmarks/forms.py [--parts PART ...] [--kinds KIND ...] [--fixture FOLDER] [--cache CACHE --davis ROOT]

Synthetic features have the size of TED's at 480p: 60x104 cells, 640 channels. FOLDER is the fixture of label
propagation (`features.npz`); CACHE has units of the videos of a DAVIS root.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numcodecs import Blosc, Zstd
from numpy.typing import NDArray
from PIL import Image

from ted.pipeline.runs.converting.codec_error import (
    block_mask,
    compare_sources,
    measure_error,
    open_session,
    propagate_mask,
)
from ted.propagate import PropagationSettings, TrackingSession
from ted.store import Cache, FeatureCodec, FeatureRequest, Unit, UnitSpec, open_cache, parse_codec
from ted.store.codecs import BitRound

GRID, CHANNELS, FRAMES, MOST_FRAMES = (60, 104), 640, 8, 24
FORMS = ("bitround:7", "bitround:5", "int8", "pca:{half}", "pca:{fifth}", "pca:{tenth}")
KINDS = {
    "noise": "independent noise",
    "smooth": "a scene of smooth textures",
    "smooth, 4 channels 12 +- 4": "as in benchmarks/scale.py",
    "smooth, 4 channels 100 +- 4": "nearly constant outliers",
    "smooth, 4 channels x20": "varying outliers",
    "smooth, 4 channels x100": "varying outliers",
    "decay 0.5": "the k-th component has the size k^-0.5",
    "decay 1": "k^-1",
    "decay 1, 4 channels 100 +- 1": "k^-1, nearly constant outliers",
}


def scene(kind: str, seed: int = 0) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    """Return features and the first mask of a disc and a background that move in opposite directions."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(FRAMES, *GRID, CHANNELS, generator=generator)
    y, x = np.indices(GRID)
    inside = [(y - 30) ** 2 + (x - 40 - frame) ** 2 < 12**2 for frame in range(FRAMES)]
    mask = np.kron(inside[0], np.ones((8, 8))).astype(np.uint8)
    if kind == "noise":
        return noise.numpy().astype(np.float16), mask
    textures = [texture(generator) for _ in range(2)]
    values = torch.empty(FRAMES, *GRID, CHANNELS)
    for frame in range(FRAMES):
        background, moved = textures[0][:, frame : frame + GRID[1]], textures[1][:, FRAMES - frame :][:, : GRID[1]]
        values[frame] = torch.where(torch.from_numpy(inside[frame])[..., None], moved, background)
    values += 0.1 * noise
    if kind.startswith("decay"):
        power = float(kind.split(",")[0].split()[1])
        sizes = torch.arange(1, CHANNELS + 1).float() ** -power
        rotation = torch.linalg.qr(torch.randn(CHANNELS, CHANNELS, generator=generator))[0]
        values = (values * sizes / sizes.square().mean().sqrt()) @ rotation
    few = values[..., :4]
    if "x" in kind.rsplit(" ", 1)[-1]:
        few *= float(kind.rsplit("x", 1)[1])
    elif "+-" in kind:
        mean, spread = (float(kind.split()[index]) for index in (-3, -1))
        few *= spread
        few += mean
    return values.numpy().astype(np.float16), mask


def texture(generator: torch.Generator) -> torch.Tensor:
    """Return a smooth texture wider than a frame: (y, x, channel)."""
    wide = (GRID[0], GRID[1] + FRAMES)
    coarse = torch.randn(1, CHANNELS, *[side // 4 for side in wide], generator=generator)
    return torch.nn.functional.interpolate(coarse, size=wide, mode="bicubic")[0].movedim(0, -1)


def write(cache: Cache, source: Unit, form: FeatureCodec) -> Unit:
    """Write a unit with another codec."""
    spec = replace(source.spec, form=form.name)
    parameters = form.fit(source.features[frame].compute() for frame in range(spec.frame_count))
    with cache.writer(spec) as writer:
        if parameters:
            writer.set_parameters(parameters)
        for frame in range(spec.frame_count):
            writer.write(frame, source.features[frame].compute())
        writer.finish({})
    return Unit(spec.folder(cache.root))


def write_float16(
    cache: Cache, name: str, values: NDArray[Any], frame_size: tuple[int, int], size: tuple[int, int]
) -> Unit:
    request = FeatureRequest(video=name, frames="0", backbone="b", weights="w", frame_size=frame_size)
    names = tuple(map(str, range(len(values))))
    spec = UnitSpec(dataset="d", request=request, timestep=0, tap="t", frame_names=names, source_size=size)
    with cache.writer(spec) as writer:
        for frame, features in enumerate(values):
            writer.write(frame, features)
        writer.finish({})
    return Unit(spec.folder(cache.root))


def synthetic(cache: Cache, kinds: list[str]) -> Iterator[tuple[str, Unit, NDArray[np.uint8]]]:
    for kind in kinds:
        values, mask = scene(kind)
        yield kind, write_float16(cache, kind, values, mask.shape, mask.shape), mask


def fixture(cache: Cache, folder: Path) -> Iterator[tuple[str, Unit, NDArray[np.uint8]]]:
    features, masks = np.load(folder / "features.npz"), np.load(folder / "case_0.npz")["masks"]
    for part in ("video", "image"):
        values = np.moveaxis(features[part], 1, -1)
        yield f"fixture, {part}", write_float16(cache, f"f{part}", values, (480, 864), masks[0].shape), masks[0]


def real(cache: Path, root: Path) -> Iterator[tuple[str, Unit, NDArray[np.uint8]]]:
    for unit in open_cache(cache).units():
        annotations = root / "Annotations" / "480p" / unit.spec.video
        mask = np.asarray(Image.open(min(annotations.glob("*.png"))))
        if unit.spec.form == "float16":
            yield f"{unit.spec.video}, random {unit.request.backbone}", unit, mask


def sizes(channels: int) -> dict[str, int]:
    return {name: max(1, channels // part) for name, part in (("half", 2), ("fifth", 5), ("tenth", 10))}


def errors(target: Cache, items: Iterator[tuple[str, Unit, NDArray[np.uint8]]]) -> None:
    """Print size and error of each codec on each kind of features."""
    settings = PropagationSettings()
    print("features                        form        bytes  cosines: mean      max   top-10  masks: object   blocks")
    for name, unit, mask in items:
        original = unit.features[:MOST_FRAMES].compute()
        annotated = (mask, block_mask(mask.shape))

        def carried(session: TrackingSession, unit: Unit = unit, annotated: Any = annotated) -> list[NDArray[np.uint8]]:
            return [propagate_mask(session, mask, unit.frame_size) for mask in annotated]

        before = open_session(original, unit.frame_size, settings)
        masks = carried(before)
        for notation in FORMS:
            form = parse_codec(notation.format(**sizes(unit.shape[-1])))
            stored = write(target, unit, form)
            values = stored.features[:MOST_FRAMES].compute()
            after = open_session(values, unit.frame_size, settings)
            found = compare_sources(original, values, before, after)
            same = [np.mean(one == other) for one, other in zip(masks, carried(after), strict=True)]
            print(
                f"{name:30}  {form.name:10} {chunk_bytes(stored) / chunk_bytes(unit):6.1%}  "
                f"{found['cosine_mean']:13.1e} {found['cosine_max']:8.1e} {found['top_k_overlap']:8.2%}  "
                f"{same[0]:13.3%} {same[1]:8.3%}",
                flush=True,
            )
            target.remove(stored.folder)


def chunk_bytes(unit: Unit) -> int:
    """Return the size of a unit's frames in bytes, without parts that do not grow with the video."""
    keys = (key for frame in range(unit.spec.frame_count) for key in unit.spec.layout.chunk_keys(frame))
    return sum(unit.marker.files[key].bytes for key in keys)


def int8_choices(kinds: list[str]) -> None:
    """Print the error of int8 when channels are first centred, and divided by a power of their size."""
    settings, int8 = PropagationSettings(), parse_codec("int8")
    print("features                        mean  size^  cosines: mean      max   top-10   blocks")
    for kind in kinds:
        values, mask = scene(kind)
        values = values[: FRAMES // 2]
        before = open_session(values, mask.shape, settings)
        blocks = propagate_mask(before, block_mask(mask.shape), mask.shape)
        fitted = int8.fit(values)
        mean, deviation = fitted["channel_mean"], fitted["channel_scale"] ** 2
        for centred, power in ((False, 0.0), (False, 0.5), (False, 1.0), (True, 0.0), (True, 0.5), (True, 1.0)):
            size = deviation if centred else np.sqrt(mean**2 + deviation**2)
            parameters = {"channel_mean": mean * centred, "channel_scale": size**power}
            stored = int8.decode(int8.encode(values, parameters), parameters)
            after = open_session(stored, mask.shape, settings)
            found = compare_sources(values, stored, before, after)
            same = propagate_mask(after, block_mask(mask.shape), mask.shape) == blocks
            print(
                f"{kind:30}  {'out' if centred else 'in':4} {power:6.1f}  {found['cosine_mean']:13.1e} "
                f"{found['cosine_max']:8.1e} {found['top_k_overlap']:8.2%} {same.mean():8.3%}",
                flush=True,
            )


def compressors() -> None:
    """Print size and speed of lossless compressors on one frame of rounded features."""
    choices: dict[str, Any] = {"zstd 1": Zstd(1)}
    for shuffle, name in ((Blosc.SHUFFLE, "byte"), (Blosc.BITSHUFFLE, "bit")):
        choices |= {f"blosc zstd 1, {name} shuffle": Blosc("zstd", 1, shuffle)}
        choices |= {f"blosc lz4 5, {name} shuffle": Blosc("lz4", 5, shuffle)}
    values = np.ascontiguousarray(scene("smooth, 4 channels 12 +- 4")[0][0])
    print("form        compressor                  bytes  packed MB/s  unpacked MB/s")
    for bits in (10, 7, 5):
        rounded = BitRound(bits=bits).encode(values, {})["features"]
        for name, codec in choices.items():
            packed = codec.encode(rounded)
            pack, unpack = (
                min(seconds(task) for _ in range(5))
                for task in (partial(codec.encode, rounded), partial(codec.decode, packed))
            )
            size, speed = len(packed) / rounded.nbytes, [rounded.nbytes / 1e6 / taken for taken in (pack, unpack)]
            print(f"bitround{bits:<2}  {name:26} {size:7.1%} {speed[0]:12.0f} {speed[1]:14.0f}")


def speeds(root: Path) -> None:
    """Print the time to write and read a frame, alternating with float16."""
    values, _ = scene("smooth, 4 channels 12 +- 4")
    source = write_float16(open_cache(root / "source", create=True), "v", values, (480, 832), (480, 832))
    times: dict[str, list[list[float]]] = {}
    for number in range(5):
        for notation in ("float16", *FORMS):
            form = parse_codec(notation.format(**sizes(CHANNELS)))
            cache = open_cache(root / f"{form}{number}", create=True)
            spec = replace(source.spec, form=form.name)
            parameters: dict[str, Any] = {}

            def fitted(form: FeatureCodec = form, parameters: dict[str, Any] = parameters) -> None:
                parameters.update(form.fit(values))

            def written(cache: Cache = cache, spec: UnitSpec = spec, parameters: dict[str, Any] = parameters) -> None:
                with cache.writer(spec) as writer:
                    if parameters:
                        writer.set_parameters(parameters)
                    for frame, features in enumerate(values):
                        writer.write(frame, features)
                    writer.finish({})

            def read(cache: Cache = cache, spec: UnitSpec = spec) -> None:
                features = Unit(spec.folder(cache.root)).features
                for frame in range(FRAMES):
                    features[frame].compute(scheduler="synchronous")

            times.setdefault(form.name, []).append([seconds(task) for task in (fitted, written, read)])
            shutil.rmtree(cache.root)
    took = seconds(lambda: measure_error(values, values, frame_size=(480, 832), source_size=(480, 832)))
    print(f"measuring an error: {took:.1f} s, {torch.get_num_threads()} threads")
    print("form         fit ms/frame  write ms/frame  read ms/frame   x float16: write   read")
    base = [statistics.median(column) for column in zip(*times["float16"], strict=True)]
    for name, rows in times.items():
        fitting, writing, reading = (statistics.median(column) for column in zip(*rows, strict=True))
        print(
            f"{name:12} {1000 * fitting / FRAMES:12.1f} {1000 * writing / FRAMES:15.1f} "
            f"{1000 * reading / FRAMES:14.1f} {writing / base[1]:18.2f} {reading / base[2]:6.2f}"
        )


def seconds(task: Callable[[], Any]) -> float:
    began = time.perf_counter()
    task()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fixture", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--davis", type=Path)
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parts = ["speed", "compressors", "int8", "kinds"]
    parser.add_argument("--parts", nargs="*", choices=parts, default=parts)
    chosen = parser.parse_args()
    root = Path(tempfile.mkdtemp())
    try:
        cache = open_cache(root / "cache", create=True)
        if "speed" in chosen.parts:
            speeds(root)
        if "compressors" in chosen.parts:
            compressors()
        if "int8" in chosen.parts:
            int8_choices(chosen.kinds)
        if "kinds" in chosen.parts:
            errors(cache, synthetic(cache, chosen.kinds))
        if chosen.fixture:
            errors(cache, fixture(cache, chosen.fixture))
        if chosen.cache:
            errors(open_cache(root / "real", create=True), real(chosen.cache, chosen.davis))
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
