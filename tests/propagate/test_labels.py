import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.counting import Operations
from ted.propagate import (
    Affinity,
    AnnotatedLabel,
    Candidates,
    FrameCandidates,
    PropagationSettings,
    SearchSpec,
    WeightedSettings,
)
from ted.propagate import labels as labels_module
from ted.propagate.kernels import candidates as candidates_module
from ted.propagate.labels import ContextLabels, weigh_sources
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


class ManySettings:
    """220 settings with three contexts, and a frame's candidates and context labels for them."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        generator = torch.Generator().manual_seed(0)
        self.settings = [
            WeightedSettings(
                weights=(alpha / 10, 1 - alpha / 10),
                settings=PropagationSettings(top_k=top_k, temperature=temperature, context=(28, 1, 2)[alpha % 3]),
            )
            for alpha in range(11)
            for top_k in (5, 10, 15, 20)
            for temperature in (0.05, 0.1, 0.2, 0.3, 0.5)
        ]
        spec, frames, grid = SearchSpec.shared(self.settings)[1], 4, (5, 6)
        sources = torch.rand(30, frames * 30, generator=generator).topk(25).indices.sort(1).values
        sources[0, 12:] = -1
        scores, bounds = torch.rand(2, 30, 25, generator=generator), torch.zeros(len(spec.fusions), 30)
        found = Candidates(sources=sources, scores=scores, bounds=bounds).to(device)
        self.step = FrameCandidates(
            frame=frames, context=tuple(range(frames)), annotated=1, grid=grid, spec=spec, candidates=found
        )
        self.known = torch.rand(frames, len(self.settings), 3, *grid, generator=generator).to(device)
        self.operations = Operations()

    def labels(self, some: Sequence[int]) -> list[torch.Tensor]:
        """Return the frame's label under some of the settings, labelled together."""
        held = ContextLabels({0: AnnotatedLabel(label=self.known[0, 0])}, len(some))
        for frame in range(1, len(self.known)):
            held.hold(frame, range(frame), [*self.known[frame, list(some)]])
        with self.operations:
            return held.advance(
                len(self.known), self.step.context, weigh_sources(self.step, [self.settings[at] for at in some])
            )


def test_many_settings_are_labelled_together_in_few_operations_with_the_bits_of_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a GPU labels them; and each alone."""
    case = ManySettings()
    for module in (candidates_module, labels_module):
        monkeypatch.setattr(module, "_AT_ONCE", module._AT_ONCE_ON_GPU)  # type: ignore[attr-defined]
    together = case.labels(range(220))
    assert case.operations.launches < 100
    monkeypatch.undo()
    for at in range(0, 220, 7):
        assert torch.equal(case.labels([at])[0], together[at])
