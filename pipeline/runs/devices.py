"""Choosing where to compute."""

import torch

from ...store.errors import ConfigError

__all__ = ["choose_device"]


def choose_device(name: str, *, elsewhere: bool = False) -> torch.device:
    """Return the device of a name: ``"auto"`` is CUDA where there is one, else the processor.

    Parameters
    ----------
    name
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    elsewhere
        Whether it is a device of other machines: then ``auto`` is the processor, and nothing is known to be absent.

    Raises
    ------
    ConfigError
        For a device that this machine lacks.
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
        raise ConfigError(f"device {name!r} is not there: this machine has {torch.cuda.device_count()} CUDA devices")
    return device
