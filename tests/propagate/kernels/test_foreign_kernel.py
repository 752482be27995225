"""A plug-in's kernel: separate queries and keys, two weighted heads, finished weights."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ted.propagate import (
    AffinitySource,
    DenseKernel,
    Fusion,
    PropagationSettings,
    SearchSpec,
    TrackingSession,
    WeightedSettings,
    cache_affinities,
    find_cached,
    get_kernel,
    kernel_class,
    kernel_names,
    kernels,
    parse_kernel,
    propagate,
    search,
    sweep,
    trace_origins,
)
from ted.store import open_cache
from ted.store.errors import ConfigError, SchemaError
from tests.propagate.test_candidate_search import Apart
from tests.propagate.test_engine import first_label, smooth
from tests.propagate.units import write_unit
from tests.propagate.volumes import Counting, volume

GRID, FRAMES, HEADS = (5, 7), 8, 2


@dataclass(frozen=True, kw_only=True)
class TwoHeads(DenseKernel):
    """Attention of a frame to its context: one softmax over all sources in the window, for each head.

    Channels of a part are (query or key, head, channel).
    """

    name: ClassVar[str] = "two-heads"
    finished_weights: ClassVar[bool] = True

    head_weights: tuple[float, ...] = field(default=(0.5, 0.5), metadata={"help": "Weight of each head."})
    scale: float = 1.0

    def component_count(self, parts: int) -> int:
        return HEADS

    def prepare(self, parts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        (part,) = parts
        queries, keys = part.unflatten(-1, (2, HEADS, -1)).permute(2, 3, 0, 1, 4)
        return queries, keys

    def score(self, queries: torch.Tensor, keys: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        return (queries @ keys.mT * self.scale).masked_fill(~inside, -torch.inf).softmax(-1)

    def similarity(self, scores: torch.Tensor, fusion: Fusion) -> torch.Tensor:
        return sum(weight * head for weight, head in zip(self.head_weights, scores, strict=True))  # type: ignore[return-value]


KERNEL = TwoHeads(head_weights=(0.3, 0.7), scale=0.5)
SETTINGS = PropagationSettings(kernel=KERNEL, top_k=6, radius=2, context=3)


def values() -> npt.NDArray[np.float16]:
    return smooth(FRAMES, GRID, 2 * HEADS * 4, seed=1)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="two-heads", value=f"{__name__}:TwoHeads", group="ted.kernels")

    def entry_points(*, group: str, name: str | None = None) -> list[EntryPoint]:
        return [point] if group == "ted.kernels" and name in (None, point.name) else []

    monkeypatch.setattr(kernels, "entry_points", entry_points)


def dense_attention(frame: int, context: Sequence[int], settings: PropagationSettings) -> npt.NDArray[np.float64]:
    """Attention summed over the heads, (pixel, source), in float64, 0 outside the window."""
    heads = values().astype(np.float64).reshape(FRAMES, GRID[0] * GRID[1], 2, HEADS, 4)
    y, x = np.divmod(np.arange(GRID[0] * GRID[1]), GRID[1])
    near = np.maximum(np.abs(y[:, None] - y), np.abs(x[:, None] - x)) <= settings.radius
    inside = np.tile(near, len(context))
    total = np.zeros(inside.shape)
    for head, weight in enumerate(KERNEL.head_weights):
        keys = heads[list(context), :, 1, head].reshape(-1, 4)
        attention = np.where(inside, np.exp(heads[frame, :, 0, head] @ keys.T * KERNEL.scale), 0)
        total += weight * attention / attention.sum(1, keepdims=True)
    return total


def dense_propagation(
    label: npt.NDArray[np.float64], settings: PropagationSettings
) -> dict[int, npt.NDArray[np.float64]]:
    labels = {0: label}
    for frame in range(1, FRAMES):
        context = [0, *range(max(1, frame - settings.context), frame)]
        attention = dense_attention(frame, context, settings)
        kth = np.sort(attention, axis=1)[:, -settings.top_k, None]
        kept = np.where(attention >= kth, attention, 0)
        kept /= kept.sum(1, keepdims=True)
        sources = np.concatenate([labels[other].reshape(len(label), -1).T for other in context])
        labels[frame] = (kept @ sources).T.reshape(label.shape)
    return labels


def test_it_is_registered_with_its_parameters() -> None:
    assert kernel_names() == ["cosine", "attention", "two-heads"]
    assert get_kernel("two-heads", scale=0.5, head_weights=(0.3, 0.7)) == KERNEL
    assert parse_kernel("two-heads", {"scale": "0.5", "head_weights": "0.3,0.7"}) == KERNEL
    weights, scale = kernel_class("two-heads").parameters()
    assert (weights.name, weights.default, weights.help) == ("head_weights", (0.5, 0.5), "Weight of each head.")
    assert (scale.name, scale.default) == ("scale", 1.0)
    for name, given, message in (
        ("three-heads", {}, "no kernel 'three-heads'; there are: cosine, attention, two-heads"),
        ("two-heads", {"scales": "1"}, "no parameter 'scales'; it has: head_weights, scale"),
        ("two-heads", {"scale": "one"}, "scale must be a number, not 'one'"),
        ("cosine", {"scale": "1"}, "no parameter 'scale'; it has: none"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_kernel(name, given)


@pytest.mark.parametrize("block", [2**25, 3000, 200])
def test_labels_equal_a_dense_reference(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks contain all rows, some rows, or some columns."""
    monkeypatch.setattr(TwoHeads, "block_scores", block)
    label = first_label(GRID)
    expected = dense_propagation(label.double().numpy(), SETTINGS)
    for frame, found in propagate([(volume(values()), 1.0)], label, SETTINGS):
        np.testing.assert_allclose(found.numpy(), expected[frame], atol=1e-5)


def test_bounds_and_candidates_equal_a_dense_reference() -> None:
    spec = SearchSpec.of(SETTINGS, [Fusion(weights=(1.0,), context=3)])
    for step in search([volume(values())], spec):
        attention = dense_attention(step.frame, step.context, SETTINGS)
        best = np.argsort(-attention, axis=1)[:, : SETTINGS.top_k]
        np.testing.assert_array_equal(step.candidates.sources.numpy(), np.sort(best, axis=1))
        np.testing.assert_allclose(
            step.candidates.bounds[0].numpy(), np.sort(attention, axis=1)[:, -SETTINGS.top_k], atol=1e-6
        )
        assert step.candidates.scores.shape[0] == HEADS


def test_every_setting_of_a_sweep_equals_a_run_of_its_own() -> None:
    """Settings vary the kernel's parameters, too; a search covers one context and one set of parameters."""
    settings = [
        WeightedSettings(weights=(1.0,), settings=replace(SETTINGS, **change))
        for change in (
            {}, {"top_k": 3}, {"context": 1}, {"kernel": replace(KERNEL, scale=2.0)}, {"radius": 1},
            {"kernel": PropagationSettings().kernel},
        )
    ]  # fmt: skip
    found = {(item, frame): label for item, frame, label in sweep([volume(values())], first_label(GRID), settings)}
    assert len(found) == len(settings) * (FRAMES - 1)
    for item in settings:
        for frame, label in propagate([(volume(values()), 1.0)], first_label(GRID), item.settings):
            if frame:
                assert torch.equal(found[item, frame], label)
    with pytest.raises(ConfigError, match="one length of context"):
        SearchSpec.of(SETTINGS, [Fusion(weights=(1.0,), context=c) for c in (1, 3)])


def test_a_session_reads_what_was_searched_from_memory() -> None:
    part = Counting(values(), chunk=1)
    session = TrackingSession([(part, 1.0)], SETTINGS, first_label(GRID))
    list(session.labels())
    part.reads.clear()
    for change, reads in (
        ({"top_k": 2}, False),
        ({"context": 1}, True),
        ({"kernel": replace(KERNEL, scale=3.0)}, True),
    ):
        session.settings = replace(session.settings, **change)  # type: ignore[arg-type]
        expected = dict(propagate([(volume(values()), 1.0)], first_label(GRID), session.settings))
        assert all(torch.equal(label, expected[frame]) for frame, label in session.labels())
        assert bool(part.reads) == reads
        part.reads.clear()


def test_affinities_are_cached_under_its_identity(tmp_path: Path) -> None:
    cache = open_cache(tmp_path / "cache", create=True)
    unit = write_unit(cache, "attention", values())
    own = WeightedSettings(weights=(1.0,), settings=SETTINGS)
    spec = SearchSpec.of(SETTINGS, [own.fusion()])
    cached = cache_affinities(cache, [unit], spec)
    recorded = cached.unit.spec.search
    assert recorded["kernel"] == {
        "name": "two-heads", "revision": 1, "parameters": {"head_weights": [0.3, 0.7], "scale": 0.5},
    }  # fmt: skip
    assert SETTINGS.to_json()["kernel"] == recorded["kernel"]
    assert cached.search == spec
    expected = list(search([unit], spec))
    for steps in (cached.steps(), search([unit], spec, workers=Apart(2))):
        for ours, theirs in zip(steps, expected, strict=True):
            for name in ("sources", "scores", "bounds"):
                assert torch.equal(getattr(ours.candidates, name), getattr(theirs.candidates, name))
    assert [item.unit.folder for item, _ in find_cached(cache, [unit], own)] == [cached.unit.folder]
    for kernel in (PropagationSettings().kernel, replace(KERNEL, scale=1.0)):
        other = replace(own, settings=replace(SETTINGS, kernel=kernel))
        assert find_cached(cache, [unit], other) == []
    source = AffinitySource(cache, [unit])
    found = source.find([own], (0,))
    assert (found.origin, found.unproven) == ("kept", 0.0)
    labels = dict(propagate([(unit, 1.0)], first_label(GRID), SETTINGS))
    for frame, label in TrackingSession(source, own, first_label(GRID)).labels():
        assert torch.equal(label, labels[frame])


def test_affinities_of_an_unknown_kernel_or_revision_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    record = SearchSpec.of(SETTINGS, [Fusion(weights=(1.0,), context=3)]).to_json()
    monkeypatch.setattr(TwoHeads, "revision", 2)
    with pytest.raises(SchemaError, match="another kernel or revision"):
        SearchSpec.from_json(record)
    monkeypatch.setattr(kernels, "entry_points", lambda **_: [])
    with pytest.raises(SchemaError, match="not known here"):
        SearchSpec.from_json(record)


def test_origins_have_its_finished_weights() -> None:
    cells = np.array([(2, 3), (0, 0)])
    (origins,) = trace_origins([(volume(values()), 1.0)], SETTINGS, lambda _: cells, frames=range(4, 5))
    attention = dense_attention(4, origins.context, SETTINGS)[[2 * GRID[1] + 3, 0]]
    best = -np.sort(-attention, axis=1)[:, : SETTINGS.top_k]
    np.testing.assert_allclose(origins.weights, best / best.sum(1, keepdims=True), atol=1e-6)


def test_a_similarity_map_is_one_softmax_over_the_frame() -> None:
    queries, keys = (torch.from_numpy(values()[frame]).float() for frame in (1, 4))
    found = KERNEL.similarity_map(
        KERNEL.prepare([queries]), (2, 3), KERNEL.prepare([keys]), Fusion(weights=(1.0,), context=0)
    )
    everywhere = replace(SETTINGS, radius=99)
    expected = dense_attention(1, [4], everywhere)[2 * GRID[1] + 3].reshape(GRID)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
