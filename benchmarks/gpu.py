"""Everything that is worth measuring on a GPU, in one run of a few minutes; the table is also written to a file.

Run from the project's root, on a machine that does nothing else:

    python benchmarks/gpu.py [PART ...] [--out FILE]

PARTs: propagation, video, sweep, extraction, variants; all by default. Features are synthetic, networks have random
weights. Without a GPU it ends with status 2; `--small --device cpu` runs the script itself on a processor, whose
figures mean nothing.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from counting import Operations
from peers import fused, propagate_dense, window_mask
from scale import features

from ted.pipeline.datasets.sources import open_source
from ted.pipeline.datasets.video import Source, Video
from ted.pipeline.runs.propagating.propagation import propagate_video
from ted.propagate import (
    AnnotatedLabel,
    FrameCandidates,
    Fusion,
    PropagationSettings,
    SearchSpec,
    WeightedSettings,
    part_weights,
)
from ted.propagate.kernels.cosine.index import CosineIndex
from ted.propagate.kernels.cosine.pairs import unit_vectors
from ted.propagate.labels import ContextLabels, weigh_sources
from ted.store import Cache, FeatureChoice, FeatureRequest, UnitSpec, open_cache

#: Seconds after which no further part begins.
LIMIT = 400
ALPHA, TEMPERATURE, TOP_K = 0.4, 0.2, 10
#: Backbone, timestep and tap of the two parts, as the presets name them.
TAPS = (("i2vgen-xl", 300, "up_blocks[2]"), ("adm", 51, "output_blocks[7]"))


class Report:
    """Lines for the screen and for a file, which is complete after every line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = time.perf_counter()
        path.write_text("")

    def __call__(self, line: str = "") -> None:
        """Add a line."""
        print(line, flush=True)
        with self._path.open("a") as file:
            file.write(line + "\n")

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start


class Scale:
    """Sizes of the measurement: the paper's, or tiny ones."""

    def __init__(self, device: str, small: bool) -> None:
        self.device = torch.device(device)
        self.small = small
        self.grid, self.channels = ((12, 20), (24, 16)) if small else ((60, 104), (640, 512))
        self.radius, self.context = (3, 4) if small else (15, 28)
        self.frames = 6 if small else 50
        self.times = 1 if small else 5

    def timed(self, run: Callable[[], Any]) -> tuple[float, float]:
        """Return the shortest time of a function in seconds, after one call, and its peak memory in GB."""
        cuda = self.device.type == "cuda"
        run()
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        times = []
        for _ in range(self.times):
            start = time.perf_counter()
            run()
            if cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        return min(times), torch.cuda.max_memory_allocated() / 1e9 if cuda else float("nan")


def machine(report: Report, scale: Scale) -> None:
    """Write what was measured on."""
    if scale.device.type == "cuda":
        properties = torch.cuda.get_device_properties(scale.device)
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
        except (OSError, subprocess.CalledProcessError, IndexError):
            driver = "unknown"  # a container may lack the tool
        report(f"{properties.name}, {properties.total_memory / 1e9:.0f} GB, driver {driver}")
    versions = []
    for name in ("torch", "triton", "diffusers", "zarr", "numpy", "ted-tracking"):
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"{name} absent")
    report(f"{', '.join(versions)}, CUDA {torch.version.cuda}, Python {platform.python_version()}")
    report(f"{torch.get_num_threads()} threads; device {scale.device}{'; small' if scale.small else ''}")


def propagation(report: Report, scale: Scale) -> None:
    """One frame of label propagation, beside the dense script on the same device."""
    device, frames = scale.device, scale.context + 1
    report("features  way             ms/frame  peak GB  operations  kernels  labels within 1e-5")
    for kind in ("smooth",) if scale.small else ("smooth", "noise"):
        units = [unit_vectors(features(frames + 1, scale.grid, c, kind, c)).to(device) for c in scale.channels]
        labels = torch.rand(frames, 4, *scale.grid, generator=torch.Generator().manual_seed(0)).to(device)
        both = fused(units, part_weights(ALPHA)).flatten(1, 2)
        mask = window_mask(scale.grid, scale.radius).to(device)
        arguments = {"mask": mask, "temperature": TEMPERATURE, "top_k": TOP_K}
        dense = partial(propagate_dense, both[-1], both[:-1], labels, **arguments)

        before = torch.get_float32_matmul_precision()
        for precision in ("high", "highest"):
            torch.set_float32_matmul_precision(precision)
            seconds, peak = scale.timed(dense)
            name = "dense, TF32" if precision == "high" else "dense, float32"
            report(f"{kind:8}  {name:14}  {1e3 * seconds:8.1f}  {peak:7.2f}")
        expected = dense()
        torch.set_float32_matmul_precision(before)
        del both, mask, arguments, dense
        for alphas in ([ALPHA], [number / 10 for number in range(11)]):
            _one_frame(report, scale, kind, units, labels, alphas, expected)
        del units, labels


def _one_frame(
    report: Report,
    scale: Scale,
    kind: str,
    units: list[torch.Tensor],
    labels: torch.Tensor,
    alphas: list[float],
    expected: torch.Tensor,
) -> None:
    frames = len(labels)
    fusions = tuple(Fusion(weights=part_weights(alpha), context=scale.context) for alpha in alphas)
    spec = SearchSpec(radius=scale.radius, top_k=TOP_K, fusions=fusions)
    values = PropagationSettings(radius=scale.radius, context=scale.context, top_k=TOP_K, temperature=TEMPERATURE)
    settings = [WeightedSettings(weights=fusion.weights, settings=values) for fusion in fusions]
    if scale.device.type == "cpu":  # the engine of GPUs, to see that it runs
        from ted.propagate.kernels.cosine.rows import RowSearch

        index = CosineIndex(spec, frames, engine=RowSearch)
    else:
        index = CosineIndex(spec, frames)
    for frame in range(frames):
        index.add(frame, [unit[frame] for unit in units])
    held = ContextLabels({0: AnnotatedLabel(label=labels[0])}, len(fusions))
    for frame in range(1, frames):
        held.hold(frame, range(frame), [labels[frame]] * len(fusions))
    soft: list[torch.Tensor] = []

    def run() -> None:
        found = index.search([unit[-1] for unit in units], range(frames), 1)
        step = FrameCandidates(
            frame=frames, context=tuple(range(frames)), annotated=1, grid=scale.grid, spec=spec, candidates=found
        )
        soft[:] = held.advance(frames, range(frames), weigh_sources(step, settings))

    seconds, peak = scale.timed(run)
    with Operations() as operations:
        run()
    own = soft[alphas.index(ALPHA)]
    close = ((own - expected.view_as(own)).abs().amax(0) < 1e-5).float().mean()
    name = f"ours, {len(alphas)} alpha{'s' * (len(alphas) > 1)}"
    report(
        f"{kind:8}  {name:14}  {1e3 * seconds:8.1f}  {peak:7.2f}  {sum(operations.calls.values()):10}  "
        f"{operations.launches:7}  {close:18.2%}"
    )


def _davis(root: Path, scale: Scale) -> Video:
    """Write a DAVIS root with one video of 480p frames and their masks, and features of its frames in a cache."""
    height, width = (48, 80) if scale.small else (480, 854)
    coarse = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    texture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for folder in ("JPEGImages/480p/clip", "Annotations/480p/clip", "ImageSets/2017"):
        (root / folder).mkdir(parents=True)
    for number in range(scale.frames):
        cv2.imwrite(str(root / f"JPEGImages/480p/clip/{number:05d}.jpg"), np.roll(texture, number, axis=1))
        mask = np.zeros((height, width), np.uint8)
        for identity in (1, 2, 3):
            top, left = identity * height // 5, identity * width // 5 + number
            mask[top : top + height // 6, left : left + width // 6] = identity
        cv2.imwrite(str(root / f"Annotations/480p/clip/{number:05d}.png"), mask)
    (root / "ImageSets/2017/val.txt").write_text("clip\n")
    (video,) = open_source(Source(path=root))
    cache = open_cache(root / "cache", create=True)
    for (backbone, timestep, tap), channels in zip(TAPS, scale.channels, strict=True):
        values = features(scale.frames, scale.grid, channels, "smooth", channels).half().numpy()
        request = FeatureRequest(
            video=video.name,
            frames=video.frames.digest(),
            backbone=backbone,
            weights="none",
            frame_size=(48, 80) if scale.small else (480, 832),
        )
        spec = UnitSpec(
            dataset=video.dataset,
            request=request,
            timestep=timestep,
            tap=tap,
            frame_names=tuple(video.frames.names),
            source_size=(height, width),
        )
        with cache.writer(spec) as writer:
            for frame, value in enumerate(values):
                writer.write(frame, value)
            writer.finish({})
    return video


def video(report: Report, scale: Scale) -> None:
    """`ted propagate` of a 480p video from the cache: seconds, and the share of them in which the GPU computes."""
    settings = PropagationSettings(radius=scale.radius, context=scale.context, top_k=TOP_K, temperature=TEMPERATURE)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        source, cache = _davis(root, scale), open_cache(root / "cache")
        report("run     frames  s       ms/frame  GPU busy")
        for run in ("first", "second"):
            seconds, busy = _propagate(cache, source, settings, root / run, scale)
            share = f"{busy / seconds:8.1%}" if busy else "       -"
            report(f"{run:6}  {scale.frames:6}  {seconds:6.2f}  {1e3 * seconds / scale.frames:8.1f}  {share}")


def _propagate(
    cache: Cache, source: Video, settings: PropagationSettings, out: Path, scale: Scale
) -> tuple[float, float]:
    """Propagate; return the seconds, and those in which the GPU computed."""
    choices = [FeatureChoice(backbone=backbone, timestep=step, tap=tap) for backbone, step, tap in TAPS]
    parts = list(zip(choices, part_weights(ALPHA), strict=True))

    def run() -> float:
        clock = time.perf_counter()
        propagate_video(cache, source, parts, settings, out, device=scale.device, affinities="off")
        return time.perf_counter() - clock

    if scale.device.type != "cuda":
        return run(), 0.0
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        seconds = run()
    kernels = [event.time_range for event in profiler.events() if event.device_type == DeviceType.CUDA]
    return seconds, sum(kernel.elapsed_us() for kernel in kernels) / 1e6


def sweep(report: Report, scale: Scale) -> None:
    """`ted sweep` of many settings over one video, J&F included, from features in the cache."""
    from ted.pipeline.cli import ted

    grid = {
        "alpha": "0,0.4,1" if scale.small else ",".join(str(number / 10) for number in range(11)),
        "temperature": "0.1,0.2" if scale.small else "0.05,0.1,0.2,0.3,0.5",
        "top-k": "5,10" if scale.small else "5,10,15,20",
        "radius": str(scale.radius),
        "context": str(scale.context),
    }
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        _davis(root, scale)
        lists = [part for key, values in grid.items() for part in (f"--{key}", values)]
        arguments = ["sweep", str(root), "--cache", str(root / "cache"), "--out", str(root / "sweep"), "--no-plots"]
        clock, output = time.perf_counter(), StringIO()
        with redirect_stdout(output), redirect_stderr(StringIO()):
            command = [*arguments, *lists, "--device", str(scale.device), "--json"]
            ted.main(command, prog_name="ted", standalone_mode=False)
        seconds = time.perf_counter() - clock
        count = len((root / "sweep" / "settings.csv").read_text().splitlines()) - 1
    report(f"{count} settings, {scale.frames} frames: {seconds:.1f} s")
    stages = json.loads(output.getvalue())["timing"]
    report("  of all threads together: " + ", ".join(f"{stage} {spent:.1f} s" for stage, spent in stages.items()))


def extraction(report: Report, scale: Scale) -> None:
    """Extraction beside bare device work, for each backbone; see `benchmarks/extraction.py`."""
    report(
        "backbone   frames  TFLOP   whole   bare s/f  ted s/f  plain s/f  of bare  faster  by FLOP  by time  in UNet  "
        "MB/s written  difference"
    )
    command = [sys.executable, str(Path(__file__).parent / "extraction.py"), "--device", str(scale.device)]
    if scale.small:
        command += ["--small", "--frame-size", "64x64", "--videos", "1", "--frames", "2"]
    else:
        command += ["--dtype", "float16", "--frame-size", "480x832", "--videos", "2", "--frames", "32"]
    runs = [["adm"]] if scale.small else [["adm"], ["sd21"], ["i2vgen-xl"], ["svd"], ["adm", "--ensemble", "8"]]
    for backbone, *options in runs:
        left = LIMIT - report.seconds
        if left < 20:
            report(f"{backbone:<10} {' '.join(options)} not measured: no time left")
            continue
        whole = [*command, "--backbone", backbone, *options]
        try:
            out = subprocess.run(whole, capture_output=True, text=True, timeout=left, check=False)
        except subprocess.TimeoutExpired:
            report(f"{backbone:<10} {' '.join(options)} not measured: it took more than {left:.0f} s")
            continue
        lines = [line for line in out.stdout.splitlines() if line.startswith(backbone)]
        failed = (out.stderr.strip().splitlines() or ["no output"])[-1]
        report((lines or [f"{backbone:<10} failed: {failed}"])[-1] + (f"  {' '.join(options)}" if options else ""))


def variants(report: Report, scale: Scale) -> None:
    """A whole pass of the image networks over four frames: attention backends, channels-last memory, torch.compile."""
    from full_size import TIMESTEPS, full_size

    from ted.extract.backbones import load_backbone
    from ted.extract.small_models import make_small

    report("backbone  variant              ms/pass  peak GB  largest difference")
    dtype, size = (torch.float32, (64, 64)) if scale.small else (torch.float16, (480, 832))
    for name in ("sd21",) if scale.small else ("sd21", "adm"):
        with tempfile.TemporaryDirectory() as root:
            if scale.small:
                backbone = load_backbone(name, make_small(name, Path(root) / name), device=scale.device, dtype=dtype)
            else:
                backbone = full_size(name, scale.device, dtype)
        pixels = torch.zeros(1, 3, *size)
        with torch.inference_mode():
            shape = (4, 1, *backbone.encode(pixels.to(scale.device)).shape[1:])
            noisy = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(scale.device)
            condition = backbone.condition(pixels, None, lambda shape: torch.zeros(*shape))
            _variants(
                report, scale, name, backbone.network, backbone.network_arguments(noisy, TIMESTEPS[name], condition)
            )


def _variants(report: Report, scale: Scale, name: str, network: torch.nn.Module, arguments: dict[str, Any]) -> None:
    """Time a network's pass in each way; the last way, channels-last memory, changes the network."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    plain = network(**arguments)[0].float()
    # Tiny networks are only traced: a compiler would take a minute.
    compiled = torch.compile(network, backend="eager" if scale.small else "inductor")
    backends = {
        "flash": SDPBackend.FLASH_ATTENTION,
        "efficient": SDPBackend.EFFICIENT_ATTENTION,
        "math": SDPBackend.MATH,
    }
    for variant in ("plain", *(f"attention {backend}" for backend in backends), "compiled", "channels-last"):
        if variant == "compiled" and report.seconds > LIMIT:
            report(f"{name:8}  {variant:19}  not measured: no time left")
            continue
        if variant == "channels-last":
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        call = compiled if variant == "compiled" else network
        allowed = backends.get(variant.partition(" ")[2])
        try:
            with nullcontext() if allowed is None else sdpa_kernel(allowed):
                seconds, peak = scale.timed(lambda call=call: call(**arguments))  # type: ignore[misc]
                difference = float((call(**arguments)[0].float() - plain).abs().max())
        except RuntimeError as error:  # a backend that the device lacks
            report(f"{name:8}  {variant:19}  not available: {str(error).splitlines()[0]}")
            continue
        report(f"{name:8}  {variant:19}  {1e3 * seconds:7.1f}  {peak:7.2f}  {difference:18.2e}")


PARTS: dict[str, Callable[[Report, Scale], None]] = {
    "propagation": propagation,
    "video": video,
    "sweep": sweep,
    "extraction": extraction,
    "variants": variants,
}


def measured(parts: list[str], report: Report, scale: Scale) -> Iterator[bool]:
    """Run the parts one after the other; yield whether each succeeded."""
    for part in parts:
        report()
        report(f"# {part}: {(PARTS[part].__doc__ or '').splitlines()[0]}")
        if report.seconds > LIMIT:
            report("not measured: no time left")
            continue
        try:
            PARTS[part](report, scale)
        except Exception as error:  # the other parts are worth having
            report(f"failed: {type(error).__name__}: {error}")
            yield False
        else:
            yield True
        if scale.device.type == "cuda":
            torch.cuda.empty_cache()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--out", type=Path, default=Path("gpu.txt"), help="file of the table")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the script")
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"unknown part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("gpu.py: this machine has no CUDA device that PyTorch can use", file=sys.stderr)
        return 2
    report, scale = Report(options.out), Scale(options.device, options.small)
    machine(report, scale)
    succeeded = list(measured(options.parts or list(PARTS), report, scale))
    report()
    report(f"{report.seconds:.0f} s; written to {options.out}")
    return 0 if all(succeeded) else 1


if __name__ == "__main__":
    sys.exit(main())
