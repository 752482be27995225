"""Precision of matrix products: error bounds, the fastest precision of a device, and exact float32 products."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch

# Error bound in standard deviations. The error of a sum of hundreds of products is nearly normal, and a normal variable
# exceeds 8 standard deviations once in 10^15.
_SIGMAS = 8
# Required speed-up of low precision, which selects more candidates to compare exactly.
_WORTH = 2.0
# Size of table entries that may cancel in a sum.
_CANCELLING = 0.25


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Number format of the matrix products of unit vectors that select candidates.

    Attributes
    ----------
    dtype
        float32, bfloat16 or float16.
    rounding
        Relative error from rounding the result.
    error
        Additional absolute error.
    """

    dtype: torch.dtype
    rounding: float
    error: float

    def bound(self, similarity: torch.Tensor) -> torch.Tensor:
        """Return the error bounds of computed similarities, of the same shape."""
        if not self.rounding:
            return torch.full_like(similarity, self.error)
        return (similarity.abs() + _CANCELLING).mul_(self.rounding).add_(self.error)

    @property
    def is_low(self) -> bool:
        """Whether it is lower than float32."""
        return self.dtype != torch.float32

    def wider(self) -> "Precision":
        """Return the next precision to try if an error exceeded its bound: float32, then larger error bounds."""
        return replace(FLOAT32, error=self.error * 4) if not self.is_low else FLOAT32

    def sampled_error(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Return the root mean square of the errors of some pairs of unit vectors, (..., channel): float64.

        Rounding errors of many channels average out, and those of few dominant channels do not: hence the sample.
        """
        rounded = queries.to(self.dtype).double() * keys.to(self.dtype).double()
        errors = (rounded - queries.double() * keys.double()).sum(-1)
        return errors.square().mean().sqrt()

    def estimated(self, errors: Sequence[torch.Tensor]) -> "Precision":
        """Return this precision with an error bound from the sampled errors of several features."""
        return replace(self, error=_SIGMAS * float(torch.stack([*errors]).max()) + FLOAT32.error)


#: Sums of a thousand products have errors of at most a few times 1e-7; the search checks this for every candidate.
FLOAT32 = Precision(dtype=torch.float32, rounding=0.0, error=2e-6)

#: Half a unit in the last place is 2^-9; the largest error comes from rounding both vectors.
BFLOAT16 = Precision(dtype=torch.bfloat16, rounding=2**-9, error=2**-8)

#: Half a unit in the last place is 2^-12.
FLOAT16 = Precision(dtype=torch.float16, rounding=2**-11, error=2**-10)


@lru_cache
def best_precision(device: torch.device, threads: int) -> Precision:
    """Return the fastest precision of the engine's products on a device, measured once for each number of threads."""
    # (frame, queries, channels, keys) of a block of the row engine, or of a tile of the cell engine, whose frames are
    # multiplied as one.
    low, shape = (BFLOAT16, (1, 29 * 38, 640, 248)) if device.type == "cpu" else (FLOAT16, (29, 1040, 640, 4160))
    return low if _seconds(low.dtype, device, shape) * _WORTH < _seconds(torch.float32, device, shape) else FLOAT32


def _seconds(dtype: torch.dtype, device: torch.device, shape: tuple[int, int, int, int]) -> float:
    """Return the shortest time of five products, after one that starts the library."""
    frames, queries, channels, keys = shape
    left = torch.ones(frames, queries, channels, dtype=dtype, device=device)
    right = torch.ones(frames, channels, keys, dtype=dtype, device=device)
    out = torch.empty(frames, queries, keys, dtype=dtype, device=device)
    times = []
    with exact_products():
        for _ in range(6):
            start = time.perf_counter()
            torch.bmm(left, right, out=out)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - start)
    return min(times[1:])


@contextmanager
def exact_products() -> Iterator[None]:
    """Compute products of float32 matrices in float32, even if the process allows TF32 (errors of 1e-3)."""
    with _summed_in_float32(), _multiplied_in_float32():
        yield


@contextmanager
def _summed_in_float32() -> Iterator[None]:
    """Make a GPU sum half-precision products in float32."""
    matmul: Any = torch.backends.cuda.matmul
    names = ("allow_fp16_reduced_precision_reduction", "allow_bf16_reduced_precision_reduction")
    before = {name: getattr(matmul, name) for name in names}
    try:
        for name in names:
            setattr(matmul, name, False)
        yield
    finally:
        for name, value in before.items():
            setattr(matmul, name, value)


@contextmanager
def _multiplied_in_float32() -> Iterator[None]:
    if not hasattr(torch.backends.cuda.matmul, "fp32_precision"):  # torch before 2.9
        legacy = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(legacy)
        return
    known: Any = torch.backends
    backends = (known.cuda.matmul, known.mkldnn.matmul)
    exact = ("ieee", "none")  # "none" means not set, which is exact
    changed = [(backend, backend.fp32_precision) for backend in backends if backend.fp32_precision not in exact]
    try:
        for backend, _ in changed:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, before in changed:
            backend.fp32_precision = before
