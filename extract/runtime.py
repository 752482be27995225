"""Process-wide settings of torch and the allocator, and the record of a run's environment."""

import contextlib
import ctypes
import platform
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from .backbones.base import Backbone

#: Supported precisions of a network, by name.
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

# glibc's malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4

_PACKAGES = ("ted-tracking", "torch", "diffusers", "transformers", "zarr", "numpy", "opencv-python-headless", "av")


class StageClock:
    """Seconds of work by stage, summed over threads.

    Several threads work at the same time, so the sum can exceed the wall time.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def count(self, stage: str) -> Iterator[None]:
        """Add the duration of a block to a stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begin


class MemoryMeter:
    """Peak memory since the meter was made: of a GPU's allocator, or of this process if the device is a CPU.

    A process keeps freed memory (`keep_freed_memory`), so what it used before the meter was made, and freed, is not
    counted again.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            self.before = torch.cuda.memory_allocated(device)  # bytes in use when the meter was made
        else:
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # resets the peak, see proc(5)
            self.before = _kilobytes("/proc/self/status", "VmRSS") * 1024

    @property
    def peak(self) -> int:
        """Bytes beyond those in use when the meter was made; 0 on a CPU where the system does not tell."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            return torch.cuda.max_memory_allocated(self._device) - self.before
        return max(0, _kilobytes("/proc/self/status", "VmHWM") * 1024 - self.before)


def free_memory(device: torch.device) -> int:
    """Return the bytes that a process can still allocate on a device; 0 on a CPU where the system does not tell."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    from distributed.system import MEMORY_LIMIT  # of the machine, or of the container or job

    used = _kilobytes("/proc/self/status", "VmRSS") * 1024
    return max(0, min(_kilobytes("/proc/meminfo", "MemAvailable") * 1024, int(MEMORY_LIMIT) - used))


def _kilobytes(file: str, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(file).read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return 0


def keep_freed_memory() -> None:
    """Let this process reuse freed memory instead of returning it to the system at once.

    A network allocates and frees tensors of many megabytes in every layer. glibc requests each from the system again,
    page by page, which takes half of the extraction time on a CPU (small ADM, 480x832). Reusing memory raises the peak
    by about a tenth. No effect with other C libraries.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_MAX, 0)
            mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def use_reproducible_kernels() -> None:
    """Make torch's kernels deterministic on one machine, in the chosen precision."""
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        # Since torch 2.9, the settings above only remove a backend's own choice; a global choice would still apply.
        known: Any = torch.backends
        cudnn, mkldnn = known.cudnn, known.mkldnn
        for operations in (cudnn.conv, cudnn.rnn, known.cuda.matmul, mkldnn.conv, mkldnn.matmul):
            operations.fp32_precision = "ieee"


@contextmanager
def deterministic_gradients(device: torch.device) -> Iterator[None]:
    """Let a GPU choose deterministic kernels in this block, where it has them; gradients lack them by default."""
    settings: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    if device.type == "cuda":
        settings.fill_uninitialized_memory = False
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        settings.fill_uninitialized_memory = before[1]
        torch.use_deterministic_algorithms(before[0], warn_only=warn_only)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out, on a GPU or on the host."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def describe_process(packages: Sequence[str]) -> dict[str, Any]:
    """Return host, platform and versions, as run records hold them."""
    return {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def describe_run(
    backbone: Backbone,
    *,
    batch_size: int,
    started: str,  # date and time, UTC
    seconds: float,  # wall time of the video
    frames: int,  # computed in this run; fewer than all after an interruption
    waited: Mapping[str, float],  # idle seconds of the device, by reason
    frame_times: Sequence[float] | None = None,  # of a video file, in seconds; recorded to the microsecond
) -> dict[str, Any]:
    """Return a unit's run record, whose values may differ between runs of one request."""
    device = backbone.device
    record: dict[str, Any] = {
        **describe_process(_PACKAGES),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "batch_size": batch_size,
        "started": started,
        "seconds": round(seconds, 3),
        "frames_computed": frames,
        "waited": {what: round(time, 3) for what, time in waited.items()},
    }
    if frame_times is not None:
        record["frame_times"] = [round(time, 6) for time in frame_times]
    if device.type == "cuda":
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        record["cuda"] = {"runtime": torch.version.cuda, "cudnn": cudnn}
    return record
