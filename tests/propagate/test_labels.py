import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ted.propagate import Affinity
from tests.propagate.helpers import label_of
from tests.references import dense_propagation as dense


def test_two_pixels_by_hand() -> None:
    # Context: two frames of a 1 x 2 grid; sources are (frame 0: 0, 1), (frame 1: 2, 3).
    labels = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]], [[[0.25, 0.5]], [[0.75, 0.5]]]])
    similarity = torch.tensor([[0.9, 0.7], [0.4, -torch.inf]])
    affinity = Affinity(sources=torch.tensor([[0, 2], [3, 0]]), similarity=similarity)
    label = label_of(affinity, labels, 0.1)
    best = 1 / (1 + math.exp(-2))
    torch.testing.assert_close(
        label, torch.tensor([[[best + (1 - best) * 0.25, 0.5]], [[(1 - best) * 0.75, 0.5]]])
    )  # fmt: skip


def test_equals_the_plain_reference() -> None:
    generator = np.random.default_rng(0)
    sims = -np.sort(-generator.uniform(-1, 1, (30, 7)), axis=1)
    sources = generator.integers(0, 4 * 30, (30, 7))
    labels = generator.uniform(size=(4, 3, 5, 6))
    ours = label_of(
        Affinity(sources=torch.from_numpy(sources), similarity=torch.from_numpy(sims).float()),
        torch.from_numpy(labels).float(),
        0.07,
    )
    np.testing.assert_allclose(ours.numpy(), dense.propagate_frame(sources, sims, labels, 0.07), atol=1e-5)


@pytest.mark.parametrize("temperature", [1e-30, 1e-60])  # the second is zero in float32
def test_a_tiny_temperature_takes_the_best_source_alone(temperature: float) -> None:
    affinity = Affinity(sources=torch.tensor([[1, 0]]), similarity=torch.tensor([[1.0, 0.999]]))
    labels = torch.tensor([[[[0.0]]], [[[1.0]]]])
    assert label_of(affinity, labels, temperature).item() == 1.0


def test_no_matrix_product_takes_part() -> None:
    """Matrix products could run in TF32, if the process allows it; a CPU would not show the error."""

    class NoProducts(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            assert "mm" not in str(func), f"{func} in the propagation of labels"
            return func(*args, **(kwargs or {}))

    affinity = Affinity(sources=torch.tensor([[1, 0]]), similarity=torch.tensor([[1.0, 0.9]]))
    with NoProducts():
        label = label_of(affinity, torch.tensor([[[[0.0]]], [[[1.0]]]]), 0.1)
    assert label.item() == pytest.approx(1 / (1 + math.exp(-1)))
