"""CRW's protocol, and each of its three rules alone, against a dense float64 reference."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ted.propagate import (
    AnnotatedLabel,
    Fusion,
    PropagationSettings,
    SearchSpec,
    TrackingSession,
    WeightedSettings,
    part_weights,
    propagate,
    search,
    sweep,
)
from tests.propagate.kernels.test_foreign_kernel import TwoHeads
from tests.propagate.test_engine import first_label, smooth, two_parts
from tests.propagate.volumes import volume
from tests.references import dense_propagation as dense

GRID, FRAMES = (9, 12), 9
RULES = [
    {"window": "circle"},
    {"unrestricted_first": True},
    {"context_fill": True},
    {"window": "circle", "unrestricted_first": True, "context_fill": True},
]
SETTINGS = PropagationSettings(top_k=7, radius=3, context=4, temperature=0.05)


def arrays() -> list[npt.NDArray[np.float16]]:
    return [smooth(FRAMES, GRID, 20, seed=1), smooth(FRAMES, GRID, 7, seed=2)]


def crw_context(frame: int, settings: PropagationSettings) -> list[tuple[int, bool]]:
    """Return a frame's context frames, and whether each is searched only in the window.

    CRW puts `context` copies of frame 0 before the video: the last `context` frames of the longer video are restricted
    to the window, frame 0 as long-term memory is not.
    """
    last = range(frame - settings.context, frame)
    short = [max(0, other) for other in last if settings.context_fill or other > 0]
    return [(0, not settings.unrestricted_first), *((other, True) for other in short)]


def expected_labels(
    label: npt.NDArray[np.float64], settings: PropagationSettings
) -> dict[int, npt.NDArray[np.float64]]:
    """Propagate densely: softmax over the k largest masked similarities, as in CRW's evaluation."""
    fused = dense.fuse(arrays(), part_weights(0.4), True).astype(np.float64).reshape(FRAMES, GRID[0] * GRID[1], -1)
    y, x = np.divmod(np.arange(GRID[0] * GRID[1]), GRID[1])
    dy, dx = np.abs(y[:, None] - y), np.abs(x[:, None] - x)
    radius = settings.radius
    near = dy**2 + dx**2 < radius**2 if settings.window == "circle" else np.maximum(dy, dx) <= radius
    labels = {0: label}
    for frame in range(1, FRAMES):
        blocks, sources = [], []
        for other, restricted in crw_context(frame, settings):
            similar = fused[frame] @ fused[other].T
            blocks.append(np.where(near, similar, -np.inf) if restricted else similar)
            sources.append(labels[other].reshape(len(label), -1).T)
        similar = np.concatenate(blocks, axis=1)
        order = np.argsort(-similar, axis=1, kind="stable")[:, : settings.top_k]
        best = np.take_along_axis(similar, order, axis=1)
        weights = np.exp((best - best[:, :1]) / settings.temperature)
        weights /= weights.sum(1, keepdims=True)
        labels[frame] = (weights[..., None] * np.concatenate(sources)[order]).sum(1).T.reshape(label.shape)
    return labels


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("rules", RULES, ids=lambda rules: "+".join(rules))
@pytest.mark.parametrize("context", [0, 4, 20])
def test_labels_equal_the_dense_reference(rules: dict[str, object], context: int) -> None:
    settings = replace(SETTINGS, context=context, **rules)  # type: ignore[arg-type]
    label = first_label(GRID)
    expected = expected_labels(label.double().numpy(), settings)
    plain = dict(propagate(two_parts(arrays(), 0.4), label, replace(SETTINGS, context=context)))
    differ = 0
    for frame, found in propagate(two_parts(arrays(), 0.4), label, settings):
        close = np.abs(found.numpy() - expected[frame]).max(0) < 1e-5
        assert close.mean() > 0.98, frame  # ties within rounding may go either way
        differ += int((plain[frame] != found).any())
    assert differ > 0 or (context == 0 and "context_fill" in rules)  # the rules make a difference


@pytest.mark.parametrize("rules", RULES, ids=lambda rules: "+".join(rules))
@pytest.mark.parametrize("annotated", [(0,), (3, 5)])
def test_sweeps_and_sessions_follow_the_rules_to_the_last_bit(
    rules: dict[str, object], annotated: tuple[int, ...]
) -> None:
    annotations = {frame: AnnotatedLabel(label=first_label(GRID)) for frame in annotated}
    every = [
        WeightedSettings(
            weights=part_weights(alpha),
            settings=replace(SETTINGS, context=context, top_k=top_k, **rules),  # type: ignore[arg-type]
        )
        for alpha, context, top_k in ((0.0, 2, 3), (0.4, 4, 7), (0.4, 2, 7), (0.4, 0, 7))
    ]
    volumes = [volume(array) for array in arrays()]
    found = {(item, frame): label for item, frame, label in sweep(volumes, annotations, every)}
    session = TrackingSession(two_parts(arrays(), 0.4), SETTINGS, annotations)
    for item in every:
        expected = dict(propagate(list(zip(volumes, item.weights, strict=True)), annotations, item.settings))
        session.weights, session.settings = item.weights, item.settings
        for frame, label in session.labels():
            assert torch.equal(label, expected[frame])
            if frame != annotated[0]:
                assert torch.equal(found[item, frame], label)


@pytest.mark.parametrize("rules", RULES, ids=lambda rules: "+".join(rules))
def test_a_dense_kernel_searches_the_same_pixels(rules: dict[str, object]) -> None:
    """With both kernels, all sources inside the window are candidates."""
    values = smooth(4, (4, 5), 16, seed=3)
    settings = replace(SETTINGS, radius=2, top_k=200, **rules)  # type: ignore[arg-type]
    fusion = Fusion(weights=(1.0,), context=4)
    other = SearchSpec.of(replace(settings, kernel=TwoHeads()), [fusion])
    found = search([volume(values)], SearchSpec.of(settings, [fusion]))
    for ours, theirs in zip(found, search([volume(values)], other), strict=True):
        assert ours.context == theirs.context
        assert torch.equal(ours.candidates.sources, theirs.candidates.sources)


def test_a_record_of_a_search_names_its_rules() -> None:
    fusions: Sequence[Fusion] = [Fusion(weights=(1.0,), context=4)]
    plain = SearchSpec.of(SETTINGS, fusions)
    assert not {"window", "unrestricted_first", "context_fill"} & plain.to_json().keys()
    for rules in RULES:
        spec = SearchSpec.of(replace(SETTINGS, **rules), fusions)  # type: ignore[arg-type]
        assert spec.to_json() == plain.to_json() | rules
        assert SearchSpec.from_json(spec.to_json()) == spec
        assert spec.region != plain.region
