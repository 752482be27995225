"""Count what a device has to do: operations to start, floating-point operations, bytes, and memory."""

import weakref
from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

__all__ = ["Operations"]


#: Operations that read only a part of their input, as large as their output.
_GATHERS = ("embedding", "gather", "index", "index_select", "take")


class Operations(TorchDispatchMode):
    """Count tensor operations while the mode is active.

    Attributes
    ----------
    calls
        Number of calls of each operation, views and allocations included.
    launches
        Number of calls that compute or copy.
    flops
        Floating-point operations of products.
    bytes
        Bytes of the inputs and outputs of all calls that compute or copy.
    peak
        Largest size in bytes of the tensors that were allocated and not yet freed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.launches = self.flops = self.bytes = self.peak = 0
        self._held = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count it."""
        result = func(*args, **(kwargs or {}))
        name = str(func.overloadpacket).removeprefix("aten.")
        self.calls[name] += 1
        outputs = [value for value in tree_leaves(result) if isinstance(value, torch.Tensor)]
        inputs = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        for tensor in outputs:
            self._hold(tensor.untyped_storage())
        if not func.is_view and not name.startswith(("empty", "_unsafe_view")):
            self.launches += 1
            if name in _GATHERS:
                inputs = [tensor for tensor in inputs if not tensor.is_floating_point()] + outputs
            self.bytes += sum(_size(tensor) for tensor in [*inputs, *outputs])
        product = getattr(torch.ops.aten, name.rstrip("_"), None)  # also if it works in place
        if product in flop_registry:
            self.flops += flop_registry[product](*args, **(kwargs or {}), out_val=result)
        return result

    def _hold(self, storage: torch.UntypedStorage) -> None:
        if storage.data_ptr() in self._known or not storage.nbytes():
            return
        address, size = storage.data_ptr(), storage.nbytes()
        self._known.add(address)
        self._held += size
        self.peak = max(self.peak, self._held)
        weakref.finalize(storage, self._release, address, size)

    def _release(self, address: int, size: int) -> None:
        self._known.discard(address)
        self._held -= size


def _size(tensor: torch.Tensor) -> int:
    """Return the bytes of the different elements of a tensor; an expanded axis counts once."""
    count = 1
    for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= length if stride else 1
    return count * tensor.element_size()
