"""The attention kernel against a dense reference in float64."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import torch

from benchmarks.counting import Operations
from ted.propagate import (
    AffinitySource,
    AnnotatedLabel,
    AttentionKernel,
    FeatureReader,
    Fusion,
    PropagationSettings,
    SearchSpec,
    TrackingSession,
    WeightedSettings,
    cache_affinities,
    get_kernel,
    parse_kernel,
    propagate,
    search,
    sweep,
)
from ted.propagate.context import frame_context
from ted.propagate.kernels import dense
from ted.propagate.kernels.dense import _DenseIndex
from ted.store import FeatureRequest, Unit, UnitSpec, open_cache
from ted.store.errors import ConfigError
from tests.propagate.test_engine import first_label, smooth
from tests.propagate.volumes import volume

GRID, FRAMES, HEADS = (6, 7), 6, 3
LAYER = "sd21@1a2b3c4d:51:up_blocks[3].attentions[0].attn1"

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """Features in memory, with the description of a unit."""

    values: npt.NDArray[Any]
    feature: str
    heads: int = 1
    frame_size: tuple[int, int] = (64, 96)

    @property
    def features(self) -> Any:
        return da.from_array(self.values, chunks=(2, -1, -1, -1))

    @property
    def spec(self) -> Any:
        return SimpleNamespace(feature=self.feature, heads=self.heads)


def qk(seed: int, *, grid: tuple[int, int] = GRID, heads: int = HEADS, width: int = 4, layer: str = LAYER) -> Part:
    return Part(4 * smooth(FRAMES, grid, heads * 2 * width, seed=seed), f"{layer}:qk", heads)


def split(part: Part) -> list[Part]:
    """The same layer as two parts."""
    values = part.values.reshape(*part.values.shape[:3], part.heads, 2, -1)
    return [
        Part(values[..., at, :].reshape(*values.shape[:3], -1), part.feature.removesuffix("qk") + role, part.heads)
        for at, role in enumerate("qk")
    ]


ONE = [(qk(1), 1.0)]
TWO = [(qk(1), 1.0), (qk(2, heads=2, width=3, layer=f"{LAYER}b"), 0.5)]
FUSED = [(qk(1), 0.3), (Part(smooth(FRAMES, GRID, 5, seed=3), "adm@1:51:output_blocks[7]"), 0.7)]
COARSE = [(qk(1), 1.0), (qk(2, grid=(3, 4), layer=f"{LAYER}b"), 1.0)]


# The reference.


def resized(values: npt.NDArray[Any], grid: tuple[int, int]) -> Array:
    maps = torch.from_numpy(values).double().permute(0, 3, 1, 2)
    if maps.shape[2:] != grid:
        maps = torch.nn.functional.interpolate(maps, size=grid, mode="bilinear", align_corners=False)
    return maps.permute(0, 2, 3, 1).numpy()


def dense_attention(
    parts: Sequence[tuple[Part, float]], frame: int, context: Sequence[int], settings: PropagationSettings, fixed: int
) -> Array:
    """Fused attention of a frame's pixels, (pixel, source), 0 outside the window."""
    kernel = settings.kernel
    assert isinstance(kernel, AttentionKernel)
    (height, width), count = GRID, GRID[0] * GRID[1]
    y, x = np.divmod(np.arange(count), width)
    dy, dx = y[:, None] - y, x[:, None] - x
    near = np.maximum(np.abs(dy), np.abs(dx)) <= settings.radius
    if settings.window == "circle":
        near = dy**2 + dx**2 < settings.radius**2
    inside = np.hstack([near | (settings.unrestricted_first and position < fixed) for position in range(len(context))])

    def softmax(logits: Array) -> Array:
        if kernel.per_frame:
            frames = np.split(np.where(inside, np.exp(logits), 0), len(context), axis=1)
            return np.hstack([one / one.sum(1, keepdims=True) for one in frames]) / len(context)
        weights = np.where(inside, np.exp(logits - logits.max()), 0)
        return weights / weights.sum(1, keepdims=True)

    attention = [part for part, _ in parts if part.heads > 1]
    total_heads = sum(part.heads for part in attention)
    given = list(kernel.head_weights)
    if kernel.head >= 0:
        given = [float(head == kernel.head) for head in range(total_heads)]
    elif len(given) < total_heads:
        given = given * len(attention)
    chosen = iter(np.array(given) / sum(given) * len(attention) if given else ())
    total = np.zeros(inside.shape)
    for part, weight in parts:
        values = resized(part.values, (height, width)).reshape(FRAMES, count, -1)
        if part.heads == 1:
            unit = values / np.linalg.norm(values, axis=-1, keepdims=True)
            cosines = unit[frame] @ unit[list(context)].reshape(-1, unit.shape[-1]).T
            total += weight * softmax(cosines / kernel.cosine_temperature)
            continue
        heads = values.reshape(FRAMES, count, part.heads, 2, -1)
        first, second = ("qk".index(role) for role in kernel.compare)
        for head in range(part.heads):
            keys = heads[list(context), :, head, second].reshape(-1, heads.shape[-1])
            logits = kernel.scale * heads[frame, :, head, first] @ keys.T / heads.shape[-1] ** 0.5
            total += weight * (next(chosen) if given else 1 / part.heads) * softmax(logits)
    return total / sum(weight for _, weight in parts)


def contexts(settings: PropagationSettings, annotated: tuple[int, ...]) -> dict[int, tuple[tuple[int, ...], int]]:
    """Each frame's context and the number of annotated frames in it, in the order of propagation."""
    order = [*range(annotated[0] + 1, FRAMES), *range(annotated[0] - 1, -1, -1)]
    found = {}
    for frame in order:
        context = frame_context(frame, annotated, settings.context, fill=settings.context_fill)
        fixed = sum(other < frame for other in annotated) if frame > annotated[0] else 1
        found[frame] = context, fixed
    return found


def dense_labels(
    parts: Sequence[tuple[Part, float]], settings: PropagationSettings, annotations: Mapping[int, Array]
) -> dict[int, Array]:
    channels = next(iter(annotations.values())).shape[0]
    labels = {min(annotations): annotations[min(annotations)]}
    for frame, (context, fixed) in contexts(settings, tuple(annotations)).items():
        attention = dense_attention(parts, frame, context, settings, fixed)
        if settings.top_k < attention.shape[1]:
            kth = np.sort(attention, axis=1)[:, -settings.top_k, None]
            attention = np.where(attention >= kth, attention, 0)
        attention = attention / attention.sum(1, keepdims=True)
        sources = np.concatenate([labels[other].reshape(channels, -1).T for other in context])
        found = (attention @ sources).T.reshape(channels, *GRID)
        labels[frame] = annotations.get(frame, found)
    return labels


BASE = PropagationSettings(kernel=AttentionKernel(scale=0.7), top_k=6, radius=2, context=2)
EVERY = 10_000  # more than there are sources: no top-k

CRW = {"window": "circle", "context_fill": True, "top_k": EVERY}

CASES: list[tuple[list[tuple[Part, float]], dict[str, Any], dict[str, Any], tuple[int, ...]]] = [
    (ONE, {}, {}, (0,)),
    (ONE, {"top_k": EVERY, "radius": 99}, {"scale": 4.0}, (0,)),
    (ONE, {"top_k": EVERY, "context": 0}, {"per_frame": True}, (0, 3)),
    (ONE, {"radius": 0, "context": 4}, {"head": 1}, (2,)),
    (ONE, {"unrestricted_first": True, "top_k": EVERY}, {"per_frame": True, "compare": "kk"}, (1, 4)),
    (ONE, CRW, {"compare": "qq", "head_weights": (3.0, 0.0, 1.0)}, (0,)),
    (TWO, {"top_k": EVERY}, {}, (0,)),
    (TWO, {"context": 3}, {"head": 4}, (0,)),
    (TWO, {"context": 3}, {"head_weights": (1.0, 0.0, 2.0, 0.5, 0.1)}, (0,)),
    (FUSED, {"top_k": EVERY}, {"cosine_temperature": 0.3}, (0,)),
    (FUSED, {"unrestricted_first": True}, {"per_frame": True, "head": 2}, (0, 2)),
    (COARSE, {"radius": 3}, {"head_weights": (1.0, 2.0, 3.0)}, (0,)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "change", "kernel", "annotated", "block"),
    [*((*case, 2**25) for case in CASES), *((*case, size) for case in CASES[::4] for size in (500, None))],
)
def test_labels_equal_a_dense_reference(
    parts: list[tuple[Part, float]],
    change: dict[str, Any],
    kernel: dict[str, Any],
    annotated: tuple[int, ...],
    block: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every rule of the window, the context and the heads; in large and small blocks, and as on a GPU (None)."""
    if block is None:
        monkeypatch.setattr(dense, "_few_blocks", lambda device: True)
    else:
        monkeypatch.setattr(AttentionKernel, "block_scores", block)
    settings = replace(BASE, **change, kernel=replace(AttentionKernel(scale=0.7), **kernel))
    labels = {frame: first_label(GRID).roll(frame, 2) for frame in annotated}
    expected = dense_labels(parts, settings, {frame: label.double().numpy() for frame, label in labels.items()})
    annotations = {frame: AnnotatedLabel(label=label) for frame, label in labels.items()}
    found = dict(propagate(parts, annotations, settings))
    assert found.keys() == expected.keys()
    for frame, label in found.items():
        np.testing.assert_allclose(label.numpy(), expected[frame], atol=2e-5)


@pytest.mark.parametrize(("frames", "top_k"), [(1, 3), (4, 3), (4, 12), (4, 100)])
@pytest.mark.parametrize("levels", [3, 10**6])
def test_equally_similar_sources_are_chosen_by_their_index(frames: int, top_k: int, levels: int) -> None:
    """Against a stable sort; windows of 0 to 9 keys, few different similarities and many."""
    generator = torch.Generator().manual_seed(frames)
    similarity = torch.randint(levels, (10, frames, 9), generator=generator).float()
    inside = torch.rand(10, 9, generator=generator) < torch.arange(10)[:, None] / 9
    found = dense._best(similarity, inside, top_k)
    for row, some, keys in zip(found, similarity, inside, strict=True):
        order = some.masked_fill(~keys, -torch.inf).flatten().argsort(descending=True, stable=True)
        assert sorted(row[row < frames * 9].tolist()) == sorted(order[: min(top_k, frames * int(keys.sum()))].tolist())


def test_a_gpu_starts_few_operations_and_rarely_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four blocks with five heads, as at 60x104 cells with 8 context frames."""
    monkeypatch.setattr(dense, "_few_blocks", lambda device: True)
    monkeypatch.setattr(AttentionKernel, "block_scores_on_gpu", 5 * (8 * 12) * (16 * 20))
    grid, settings = (16, 24), replace(BASE, radius=4, context=FRAMES)
    reader = FeatureReader([(qk(1, grid=grid, heads=5), 1.0)])
    kernel = settings.kernel.bind(reader.parts)
    *context, frame = (kernel.prepare(parts) for _, parts in reader.frames(torch.device("cpu")))
    index = kernel.index(SearchSpec.of(settings, [Fusion(weights=(1.0,), context=FRAMES)]), FRAMES)
    for number, keys in enumerate(context):
        index.add(number, keys)
    with Operations() as operations:
        index.search(frame, range(len(context)), 1)
    assert operations.calls["addmm"] == 4 * 5
    assert sum(operations.calls.values()) <= 800
    waits = ("_local_scalar_dense", "nonzero", "bincount", "masked_select")
    assert sum(operations.calls[name] for name in waits) <= 2 * 4


def test_no_more_frames_are_held_than_a_context_has(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    search_of = _DenseIndex.search

    def counted(self: _DenseIndex, *arguments: Any) -> Any:
        held.append(len(self._keys))
        return search_of(self, *arguments)

    monkeypatch.setattr(_DenseIndex, "search", counted)
    list(propagate(ONE, first_label(GRID), BASE))
    assert held == [1, 2, 3, 3, 3]  # the annotated frame and the last two


def test_queries_and_keys_may_be_two_parts() -> None:
    queries, keys = split(ONE[0][0])
    expected = dict(propagate(ONE, first_label(GRID), BASE))
    for parts in ([(queries, 0.2), (keys, 0.7)], [(keys, 1.0), (queries, 1.0)]):
        for frame, label in propagate(parts, first_label(GRID), BASE):
            torch.testing.assert_close(label, expected[frame])
    settings = replace(BASE, kernel=replace(BASE.kernel, compare="qq"))
    expected = dict(propagate(ONE, first_label(GRID), settings))
    for parts in ([(queries, 1.0)], [(keys, 1.0), (queries, 1.0)]):
        for frame, label in propagate(parts, first_label(GRID), settings):
            torch.testing.assert_close(label, expected[frame])


def test_scores_and_bounds_equal_a_dense_reference() -> None:
    settings = replace(BASE, context=3)
    fusions = [Fusion(weights=weights, context=3) for weights in ((0.3, 0.7), (1.0, 0.0))]
    for step in search([part for part, _ in FUSED], SearchSpec.of(settings, fusions)):
        for fusion, bound in zip(fusions, step.candidates.bounds, strict=True):
            weighted = list(zip([part for part, _ in FUSED], fusion.weights, strict=True))
            attention = dense_attention(weighted, step.frame, step.context, settings, 1)
            np.testing.assert_allclose(bound.numpy(), np.sort(attention, axis=1)[:, -settings.top_k], atol=1e-6)
            found = step.rank(fusion, settings.top_k)
            np.testing.assert_allclose(
                found.similarity.numpy(), np.take_along_axis(attention, found.sources.numpy(), 1), atol=1e-6
            )


def test_a_similarity_map_is_the_attention_of_a_head_over_the_frame() -> None:
    settings = replace(BASE, radius=99, kernel=AttentionKernel(head=2))
    reader = FeatureReader(ONE)
    kernel = settings.kernel.bind(reader.parts)
    frames = [kernel.prepare(parts) for _, parts in reader.frames(torch.device("cpu"))]
    found = kernel.similarity_map(frames[1], (2, 3), frames[4], Fusion(weights=(1.0,), context=0))
    expected = dense_attention(ONE, 1, [4], settings, 0)[2 * GRID[1] + 3].reshape(GRID)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_every_setting_of_a_sweep_equals_a_run_of_its_own() -> None:
    changes: list[dict[str, Any]] = [
        {}, {"top_k": 3}, {"context": 1}, {"kernel": AttentionKernel(head=2)}, {"kernel": AttentionKernel(scale=2.0)},
    ]  # fmt: skip
    weights = [(0.3, 0.7), (1.0, 0.0)]
    settings = [WeightedSettings(weights=w, settings=replace(BASE, **change)) for w in weights for change in changes]
    labels = sweep([part for part, _ in FUSED], first_label(GRID), settings)
    found = {(item, frame): label for item, frame, label in labels}
    for item in settings:
        weighted = [(part, weight) for (part, _), weight in zip(FUSED, item.weights, strict=True)]
        for frame, label in propagate(weighted, first_label(GRID), item.settings):
            if frame:
                torch.testing.assert_close(found[item, frame], label, rtol=0, atol=1e-6)


def test_proofs_hold_where_the_best_sources_are_among_the_candidates() -> None:
    """Proven pixels have their best sources; weights near those of the search prove many pixels, others few."""
    parts = [part for part, _ in FUSED]
    spec = SearchSpec.of(replace(BASE, top_k=12), [Fusion(weights=(0.5, 0.5), context=2)])
    shares = {}
    for alpha in (0.5, 0.45, 0.3, 0.0):
        fusion = Fusion(weights=(alpha, 1 - alpha), context=2)
        weighted = [(part, weight) for part, weight in zip(parts, fusion.weights, strict=True)]
        proven = []
        for step in search(parts, spec):
            certain = step.proven(fusion, 9)
            proven.append(certain)
            attention = dense_attention(weighted, step.frame, step.context, BASE, 1)
            best = np.sort(attention, axis=1)[:, ::-1][:, :9]
            found = step.rank(fusion, 9).similarity.numpy()
            np.testing.assert_allclose(found[certain], best[certain], atol=1e-6)
            assert not step.proven(Fusion(weights=(0.5, 0.5), context=1), 9).any() or len(step.context) <= 2
        shares[alpha] = float(torch.cat(proven).float().mean())
    assert shares[0.5] == 1
    assert 0.5 < shares[0.45] < 1
    assert shares[0.45] > shares[0.3] >= shares[0.0]


def test_a_session_reuses_candidates_where_that_is_exact() -> None:
    session = TrackingSession(ONE, BASE, first_label(GRID))
    list(session.labels())
    for change, searched in (({"top_k": 2}, 0), ({"kernel": AttentionKernel(scale=3.0)}, FRAMES - 1)):
        session.settings = replace(session.settings, **change)
        expected = dict(propagate(ONE, first_label(GRID), session.settings))
        assert all(torch.equal(label, expected[frame]) for frame, label in session.labels())
        assert session.last_run.searched == searched


def test_units_of_a_cache_keep_their_heads(tmp_path: Path) -> None:
    """Stored in any form; cached affinities are read again only for what they prove."""
    cache = open_cache(tmp_path / "cache", create=True)
    part = ONE[0][0]
    spec = UnitSpec(
        dataset="davis",
        request=FeatureRequest(
            video="swan", frames="f" * 64, backbone="sd21", weights="sha256:00", frame_size=(64, 96)
        ),
        timestep=51,
        tap="up_blocks[3].attentions[0].attn1:qk",
        frame_names=tuple(f"{frame:05d}" for frame in range(FRAMES)),
        source_size=(64, 96),
        heads=HEADS,
    )
    expected = dict(propagate(ONE, first_label(GRID), BASE))
    for form in ("float16", f"pca{part.values.shape[-1]}", "int8"):
        own = replace(spec, form=form)
        with cache.writer(own) as writer:
            if own.layout.shared_arrays:
                writer.set_parameters(own.codec.fit(part.values))
            for frame, values in enumerate(part.values):
                writer.write(frame, values)
            writer.finish({})
        unit = Unit(own.folder(cache.root))
        for frame, label in propagate([(unit, 1.0)], first_label(GRID), BASE):
            torch.testing.assert_close(label, expected[frame], rtol=0, atol=0 if form == "float16" else 0.06)
    unit = Unit(spec.folder(cache.root))
    cache_affinities(cache, [unit], SearchSpec.of(BASE, [Fusion(weights=(1.0,), context=2)]))
    source = AffinitySource(cache, [unit])
    for change, origin in (({}, "kept"), ({"top_k": 3}, "kept"), ({"context": 1}, "features")):
        setting = WeightedSettings(weights=(1.0,), settings=replace(BASE, **change))
        assert source.find([setting], (0,)).origin == origin
        expected = dict(propagate([(unit, 1.0)], first_label(GRID), setting.settings))
        for frame, label in TrackingSession(source, setting, first_label(GRID)).labels():
            assert torch.equal(label, expected[frame])


def test_parameters_are_read_from_text() -> None:
    assert parse_kernel("attention", {"head": "3", "per_frame": "true", "scale": "2"}) == AttentionKernel(
        head=3, per_frame=True, scale=2.0
    )
    assert get_kernel("attention", head_weights=(1.0, 2.0)).identity["parameters"]["head_weights"] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        ([(volume(smooth(3, GRID, 4, seed=0)), 1.0)], {}, "needs a feature of attention, whose tap ends in :qk"),
        ([(split(ONE[0][0])[1], 1.0)], {}, r"compares qk, but the feature .*attn1:q is missing beside .*attn1:k"),
        (ONE, {"head": 3}, "no head 3: the features have 3 heads, 0 to 2"),
        (TWO, {"head_weights": (1.0, 2.0)}, r"2 head weights for 3 \+ 2 heads"),
        (ONE, {"scale": 0.0}, "scale must be a positive number"),
        (ONE, {"compare": "kq"}, "compare must be qk, qq or kk"),
        (ONE, {"head_weights": (0.0, 0.0, 0.0)}, "one positive"),
        (ONE, {"head": 1, "head_weights": (1.0, 1.0, 1.0)}, "without head_weights"),
    ],
)
def test_wrong_parameters(parts: list[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        list(propagate(parts, first_label(GRID), replace(BASE, kernel=AttentionKernel(**options))))
