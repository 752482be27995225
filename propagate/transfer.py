"""Copies from the host to a device that the host does not wait for."""

from typing import Any

import torch


def on_device(values: Any, device: torch.device, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return numbers, or a tensor of the host, as a tensor on a device.

    A GPU copies from page-locked memory in the order of its other work. From other memory, the host would wait until
    the GPU has finished all of its work.
    """
    tensor = torch.as_tensor(values, dtype=dtype)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
