from collections.abc import Iterator
from typing import Any

import pytest
import torch

from ted.extract.runtime import use_reproducible_kernels

BACKENDS: Any = torch.backends


def operations() -> list[Any]:
    return [BACKENDS.cudnn.conv, BACKENDS.cuda.matmul, BACKENDS.mkldnn.conv, BACKENDS.mkldnn.matmul]


@pytest.fixture
def precision() -> Iterator[None]:
    """Restore the process's settings."""
    if not hasattr(BACKENDS.cuda.matmul, "fp32_precision"):
        pytest.skip("torch has one precision for all backends before 2.9")
    yield
    BACKENDS.fp32_precision = "none"
    use_reproducible_kernels()


@pytest.mark.parametrize("chosen_for", ["all", "products", "each"])
def test_float32_means_float32_whatever_the_process_allows(chosen_for: str, precision: None) -> None:
    if chosen_for == "all":
        for operation in (*operations(), BACKENDS.cudnn.rnn):
            operation.fp32_precision = "none"
        BACKENDS.fp32_precision = "tf32"
    elif chosen_for == "products":
        torch.set_float32_matmul_precision("medium")
    else:
        for operation in operations():
            operation.fp32_precision = "tf32"
    assert {operation.fp32_precision for operation in operations()} != {"ieee"}
    use_reproducible_kernels()
    assert {operation.fp32_precision for operation in operations()} == {"ieee"}
    # The older switches still answer, which they refuse where the two disagree.
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
