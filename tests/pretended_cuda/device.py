"""Tensors of the pretended device, what it counts, and the functions of `torch.cuda` that it replaces."""

import contextlib
import threading
import traceback
import weakref
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
import torch.profiler
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

__all__ = ["Device", "DeviceTensor", "device", "install"]

aten = torch.ops.aten

#: Operations whose output's shape, or result, the host has to wait for.
_WAITING = {
    aten._local_scalar_dense, aten.equal, aten.is_nonzero, aten.nonzero, aten.masked_select, aten.unique_dim,
    aten._unique2, aten.unique_consecutive, aten.bincount,
}  # fmt: skip
#: Operations that take the position on another device than the values.
_ACROSS = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten.copy_, aten._to_copy}


class DeviceTensor(torch.Tensor):
    """A tensor on the pretended device; `held` has its values on the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor, number: int = 0, requires_grad: bool = False) -> "DeviceTensor":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device("cuda", number),
            requires_grad=requires_grad,
        )
        made.held = held
        device.hold(held.untyped_storage())
        return made

    def __repr__(self, **_: Any) -> str:
        return f"DeviceTensor({self.held!r}, device={self.device})"

    def untyped_storage(self) -> torch.UntypedStorage:
        """Return the storage of the values."""
        return self.held.untyped_storage()

    def __format__(self, spec: str) -> str:
        return format(self.item() if not self.dim() else repr(self), spec)

    def __deepcopy__(self, memo: dict[int, Any]) -> "DeviceTensor":
        with torch.no_grad():
            copied = self.clone()
        copied.requires_grad_(self.requires_grad)
        memo[id(self)] = copied
        return copied

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return device.run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Passes on operations without a tensor of the device, since they may create one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return device.run(func, args, kwargs or {})


class Device:
    """What is known of the pretended devices.

    Attributes
    ----------
    count
        Number of devices.
    capacity
        Bytes that can be allocated, of all devices together.
    held, peak
        Bytes allocated now, and at most since `reset_peak`.
    waits
        Number of waits of the host for the device, by operation.
    operations
        Number of operations on tensors of the device, views included.
    trace, lines
        If `trace` is set, `lines` has the number of waits by operation and innermost line of the project.
    """

    def __init__(self, count: int = 1, capacity: int = 140_000_000_000) -> None:
        self.count, self.capacity = count, capacity
        self.held = self.peak = self.operations = 0
        self.waits: Counter[str] = Counter()
        self.lines: Counter[str] = Counter()
        self.trace = False
        self._known: set[int] = set()
        self._lock = threading.RLock()
        self._to_host: list[tuple[torch.Tensor, torch.Tensor]] = []  # destination, values
        self._from_host: list[tuple[torch.Tensor, torch.Tensor]] = []  # source, its values when it was copied

    def hold(self, storage: torch.UntypedStorage) -> None:
        """Count a storage once, until it is freed."""
        address, size = storage.data_ptr(), storage.nbytes()
        with self._lock:
            if not size or address in self._known:
                return
            if self.held + size > self.capacity:
                raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} bytes (pretended)")
            self._known.add(address)
            self.held += size
            self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._release, address, size)

    def _release(self, address: int, size: int) -> None:
        with self._lock:
            self._known.discard(address)
            self.held -= size

    def wait(self, cause: str) -> None:
        """Let the host wait for the device: finish the copies."""
        with self._lock:
            self.waits[cause] += 1
            if self.trace:
                others = "site-packages", "pretended_cuda", "lib/python"
                stack = [at for at in traceback.extract_stack() if not any(name in at.filename for name in others)]
                self.lines[f"{cause} {stack[-1].filename}:{stack[-1].lineno}" if stack else cause] += 1
            for destination, values in self._to_host:
                destination.copy_(values)
            changed = any(not torch.equal(source.nan_to_num(), values) for source, values in self._from_host)
            self._to_host, self._from_host = [], []
        if changed:
            raise AssertionError("a tensor was changed while it was being copied to the device")

    @contextlib.contextmanager
    def counted(self) -> Iterator[SimpleNamespace]:
        """Count the operations, waits and peak memory of a block."""
        operations, waits = self.operations, Counter(self.waits)
        found = SimpleNamespace()
        self.peak = self.held
        yield found
        found.operations = self.operations - operations
        found.waits = Counter(self.waits)
        found.waits.subtract(waits)
        found.waits = +found.waits
        found.peak = self.peak

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run an operation on the values; its result is on the device if an input or `device` is."""
        packet = func.overloadpacket
        leaves, spec = tree_flatten((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        ours = [tensor for tensor in tensors if isinstance(tensor, DeviceTensor)]
        asked = kwargs.get("device")
        asked = None if asked is None else torch.device(asked)
        if asked is None:
            asked = next((leaf for leaf in leaves if isinstance(leaf, torch.device)), None)
        if not ours and (asked is None or asked.type != "cuda"):
            return _with_pretended_pins(func, args, kwargs)
        numbers = {tensor.device.index for tensor in ours}
        others = [tensor for tensor in tensors if not isinstance(tensor, DeviceTensor)]
        if (len(numbers) > 1 or (ours and any(tensor.dim() for tensor in others))) and packet not in _ACROSS:
            found = sorted({str(tensor.device) for tensor in tensors})
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found {' and '.join(found)}! ({func})"
            )
        if packet in (aten._to_copy, aten.copy_):
            return self._copy(func, packet, args, kwargs, asked)
        self.operations += 1
        self._count_waits(packet, args, ours)
        number = ours[0].device.index if asked is None else asked.index or 0
        plain = [leaf.held if isinstance(leaf, DeviceTensor) else leaf for leaf in leaves]
        plain_args, plain_kwargs = tree_unflatten(plain, spec)
        if asked is not None and asked.type == "cuda":
            plain_kwargs["device"] = "cpu"
        plain_kwargs.pop("pin_memory", None)
        result = func(*plain_args, **plain_kwargs)
        if asked is not None and asked.type != "cuda":
            return result
        if packet in (aten._local_scalar_dense, aten.equal, aten.is_nonzero):
            return result
        wrapped = tree_map_only(torch.Tensor, lambda tensor: DeviceTensor(tensor, number), result)
        return return_and_correct_aliasing(func, args, kwargs, wrapped)

    def _count_waits(self, packet: Any, args: Any, ours: list[DeviceTensor]) -> None:
        if packet in _WAITING:
            self.wait(packet.__name__)
        elif packet in _ACROSS:  # positions from the host are copied; those in masks are counted
            for leaf in tree_leaves(args[1]):
                if isinstance(leaf, torch.Tensor) and leaf.dtype in (torch.bool, torch.uint8):
                    self.wait(f"{packet.__name__} by a mask")
                elif isinstance(leaf, torch.Tensor) and not isinstance(leaf, DeviceTensor) and leaf.dim():
                    self.wait(f"{packet.__name__} with positions of the host")
        elif packet is aten.repeat_interleave and ours and len(args) < 2:
            self.wait("repeat_interleave")

    def _copy(self, func: Any, packet: Any, args: Any, kwargs: dict[str, Any], asked: torch.device | None) -> Any:
        """Copy between or within devices."""
        self.operations += 1
        in_place = packet is aten.copy_
        source = args[1] if in_place else args[0]
        later = bool(kwargs.get("non_blocking")) or (in_place and len(args) > 2 and args[2])
        values = source.held if isinstance(source, DeviceTensor) else source
        target = args[0].device if in_place else asked or source.device
        crossing = (target.type == "cuda") != isinstance(source, DeviceTensor)
        if in_place:
            destination = args[0].held if isinstance(args[0], DeviceTensor) else args[0]
            made = destination
        else:
            options = {
                key: value for key, value in kwargs.items() if key not in ("device", "non_blocking", "pin_memory")
            }
            made = func(values, **options, device="cpu")
            if made is values or made.untyped_storage().data_ptr() == values.untyped_storage().data_ptr():
                made = made.clone()
        if crossing and target.type == "cpu":
            if later:
                snapshot = values.to(made.dtype, copy=True).expand_as(made)
                made.fill_(_garbage(made.dtype))
                with self._lock:
                    self._to_host.append((made, snapshot))
            else:
                if in_place:
                    destination.copy_(values)
                self.wait("copy to the host")
        else:
            if in_place:
                destination.copy_(values)
            if crossing and later:
                with self._lock:
                    self._from_host.append((values, values.nan_to_num()))
            elif crossing and values.dim():
                self.wait("copy to the device")
        if in_place:
            return args[0]
        return DeviceTensor(made, target.index or 0) if target.type == "cuda" else made


def _garbage(dtype: torch.dtype) -> Any:
    if dtype == torch.bool:
        return True
    return float("nan") if dtype.is_floating_point else torch.iinfo(dtype).max


def _with_pretended_pins(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if kwargs.get("pin_memory"):
        kwargs = kwargs | {"pin_memory": False}
    return func(*args, **kwargs)


class _Stream:
    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def synchronize(self) -> None:
        device.wait("stream")

    def wait_stream(self, _: Any) -> None:
        pass

    wait_event = wait_stream

    def query(self) -> bool:
        return True


class _Event:
    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def record(self, *_: Any) -> None:
        pass

    def synchronize(self) -> None:
        device.wait("event")

    def wait(self, *_: Any) -> None:
        pass

    def query(self) -> bool:
        return True

    def elapsed_time(self, _: Any) -> float:
        return 1.0


device = Device()
_installed = threading.local()


def _no_grad(mode: bool = True) -> Any:
    return torch.no_grad() if mode else torch.enable_grad()


def _attention(query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
               is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False) -> Any:  # fmt: skip
    """Compute attention from products: the fused kernels are chosen by device."""
    scores = (query * (scale or query.shape[-1] ** -0.5)) @ key.transpose(-1, -2)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return scores.softmax(-1) @ value


def _enter() -> None:
    """Let this thread create tensors on the device."""
    if not getattr(_installed, "mode", None):
        torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor(values, device=...)` copies through `run`
        _installed.mode = _Mode()
        _installed.mode.__enter__()


def install(count: int = 1) -> Device:
    """Replace PyTorch's functions of CUDA, in this process and for good."""
    device.count = count
    cuda: Any = torch.cuda
    for name in ("_lazy_init", "empty_cache", "init", "manual_seed_all", "set_device"):
        setattr(cuda, name, lambda *_, **__: None)  # one object each, which torch.compile demands
    cuda.is_available = lambda: True
    cuda.is_initialized = lambda: True
    cuda.is_bf16_supported = lambda *_: True
    cuda.device_count = lambda: device.count
    cuda.current_device = lambda: 0
    cuda.synchronize = lambda *_: device.wait("synchronize")
    cuda.get_device_name = lambda *_: "pretended"
    cuda.get_device_capability = lambda *_: (9, 0)
    cuda.get_device_properties = lambda *_: SimpleNamespace(
        name="pretended", total_memory=device.capacity, multi_processor_count=132, major=9, minor=0
    )
    cuda.mem_get_info = lambda *_: (device.capacity - device.held, device.capacity)
    cuda.memory_allocated = lambda *_: device.held
    cuda.max_memory_allocated = lambda *_: device.peak

    def reset(*_: Any) -> None:
        device.peak = device.held

    cuda.reset_peak_memory_stats = reset
    cuda.Stream, cuda.Event = _Stream, _Event
    cuda.current_stream = lambda *_: _Stream()
    cuda.stream = lambda *_: contextlib.nullcontext()
    torch.profiler.profile = lambda **_: contextlib.nullcontext(SimpleNamespace(events=list))  # type: ignore
    torch.Tensor.pin_memory = lambda self, *_: self.clone()  # type: ignore[method-assign, assignment]
    empty = torch.empty
    torch.empty = lambda *args, pin_memory=False, **kwargs: empty(*args, **kwargs)  # type: ignore[assignment]
    torch.inference_mode = _no_grad  # type: ignore[assignment, misc]  # in inference mode operations come whole
    torch.__future__.set_overwrite_module_params_on_conversion(
        True
    )  # `Module.to` replaces tensors by those of the device
    original = torch.nn.functional.scaled_dot_product_attention

    def attention(query: Any, *args: Any, **kwargs: Any) -> Any:
        return (_attention if query.is_cuda else original)(query, *args, **kwargs)

    torch.nn.functional.scaled_dot_product_attention = attention
    bootstrap = threading.Thread._bootstrap_inner  # type: ignore[attr-defined]

    def begin(self: threading.Thread) -> None:
        _enter()
        try:
            bootstrap(self)
        finally:  # a thread that ends after the interpreter could not free the mode
            _installed.mode.__exit__(None, None, None)

    threading.Thread._bootstrap_inner = begin  # type: ignore[attr-defined]
    _enter()
    from ted.propagate.kernels.cosine import precision

    # A CPU takes minutes for the products that are timed to choose a precision.
    precision._seconds = lambda dtype, *_: float(dtype == torch.float32)
    return device
