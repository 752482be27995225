"""Choice of the devices that compute."""

import torch

from ...propagate.kernels.cosine.precision import best_precision
from ...store.errors import ConfigError
from ..choices.hints import plural


def choose_device(name: str, *, elsewhere: bool = False) -> torch.device:
    """Return the device named ``auto`` (CUDA if there is a CUDA device, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.

    If the device belongs to other machines (`elsewhere`), ``auto`` is the CPU, and the device is not checked. Otherwise
    a device that this machine does not have raises ConfigError.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() and not elsewhere else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"there is no device {name!r}; use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {name!r} is not supported; use auto, cpu, cuda or cuda:N")
    if not elsewhere and device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {name!r} does not exist: this machine has {plural(torch.cuda.device_count(), 'CUDA device')}"
        )
    return device


def choose_devices(names: str, *, elsewhere: bool = False) -> list[torch.device]:
    """Return the devices of a list such as ``cuda:0,cuda:1``; ``cuda`` are all CUDA devices of this machine.

    Raises ConfigError as `choose_device` does, and for a CUDA device that is named twice.
    """
    devices = [choose_device(name.strip(), elsewhere=elsewhere) for name in names.split(",")]
    if names.strip() == "cuda" and not elsewhere and torch.cuda.device_count() > 1:
        return [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    twice = [str(device) for device in devices if device.type != "cpu" and devices.count(device) > 1]
    if twice or (elsewhere and len(devices) > 1):
        raise ConfigError(f"devices {names!r}: name each CUDA device of this machine once, such as cuda:0,cuda:1")
    return devices


def fastest_products(device: torch.device) -> str:
    """Return the precision of matrix products that the cosine kernel has chosen for a device, such as ``float32``."""
    return str(best_precision(device, torch.get_num_threads()).dtype).removeprefix("torch.")
