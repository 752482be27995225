"""Float32 matrix products that are computed in float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["exact_products"]


@contextmanager
def exact_products() -> Iterator[None]:
    """Multiply float32 matrices in float32 whatever the process has chosen (TF32 is off by 1e-3), and sum so, too."""
    with _summed_in_float32(), _multiplied_in_float32():
        yield


@contextmanager
def _summed_in_float32() -> Iterator[None]:
    """Keep a GPU from summing products of half precision in half precision, where that is faster."""
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
    exact = ("ieee", "none")  # "none" is nobody's choice, which is exact
    changed = [(backend, backend.fp32_precision) for backend in backends if backend.fp32_precision not in exact]
    try:
        for backend, _ in changed:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, before in changed:
            backend.fp32_precision = before
