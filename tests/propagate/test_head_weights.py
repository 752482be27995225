"""Weights of attention heads, learned from frames with known labels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ted.propagate import (
    AnnotatedLabel,
    AttentionKernel,
    LearnedHeads,
    PropagationSettings,
    learn_head_weights,
    learn_head_weights_from_maps,
    propagate,
    store_head_weights,
    with_learned_heads,
)
from ted.propagate.head_weights import _labels_of_heads, _loss
from ted.store import FeatureRequest, Unit, UnitSpec, open_cache
from ted.store.errors import ConfigError, LabelError, UnitNotFoundError
from tests.propagate.kernels.test_attention import LAYER, Part

GRID, FRAMES, WIDTH, RADIUS = (8, 10), 7, 6, 4


def scene() -> tuple[Part, dict[int, torch.Tensor]]:
    """Three heads: the objects' identity with noise, position alone, and noise alone. Two objects move right."""
    random = np.random.default_rng(0)
    codes = random.standard_normal((3, WIDTH))
    y, x = np.indices(GRID)
    position = np.stack([np.sin(y), np.cos(y), np.sin(x), np.cos(x), 0 * x, 0 * x], axis=-1)
    values, labels = [], {}
    for frame in range(FRAMES):
        objects = np.zeros(GRID, dtype=int)
        objects[1:4, 1 + frame % 4 : 4 + frame % 4] = 1
        objects[5:7, 2 + frame % 5 : 4 + frame % 5] = 2
        heads = np.zeros((*GRID, 3, 2, WIDTH))
        heads[..., 0, :, :] = 2 * codes[objects][..., None, :] + random.standard_normal((*GRID, 2, WIDTH))
        heads[..., 1, :, :] = 4 * position[..., None, :]
        heads[..., 2, :, :] = 2 * random.standard_normal((*GRID, 2, WIDTH))
        values.append(heads.reshape(*GRID, -1))
        labels[frame] = torch.from_numpy(np.stack([objects == number for number in range(3)])).float()
    return Part(np.stack(values).astype(np.float16), f"{LAYER}:qk", 3), labels


@pytest.fixture(scope="module")
def learned() -> LearnedHeads:
    part, labels = scene()
    return learn_head_weights([part], labels, AttentionKernel(), radius=RADIUS)


def test_the_labels_of_each_head_are_those_that_it_propagates() -> None:
    part, labels = scene()
    settings = PropagationSettings(kernel=AttentionKernel(scale=1.5), radius=RADIUS, context=0, top_k=10_000)
    kernel = AttentionKernel(scale=1.5)
    from ted.propagate import FeatureReader

    reader = FeatureReader([(part, 1.0)])
    bound = kernel.bind(reader.parts)
    frames = [bound.prepare(parts) for _, parts in reader.frames(torch.device("cpu"))]
    alone = _labels_of_heads(bound, frames[3][0], frames[0][1], labels[0], RADIUS)
    for head in range(3):
        own = replace(settings, kernel=replace(kernel, head=head))
        expected = dict(propagate([(part, 1.0)], {0: AnnotatedLabel(label=labels[0])}, own))[3]
        torch.testing.assert_close(alone[head].view(3, *GRID), expected)


def test_the_head_that_follows_objects_gets_the_weight(learned: LearnedHeads) -> None:
    assert sum(learned.weights) == pytest.approx(1)
    assert learned.best_head == np.argmax(learned.weights) == 0
    assert learned.weights[0] > 0.6
    assert learned.losses[-1] < learned.losses[0]
    assert learned.held_out == (3, 6)
    assert learned.iou["learned"] > learned.iou["uniform"]
    assert learned.iou["best head"] == learned.single[0] > max(learned.single[1:])


def test_maps_are_sharpened_by_the_head_that_follows_objects() -> None:
    part, labels = scene()
    noise = 0.05 * torch.rand(2, *GRID, generator=torch.Generator().manual_seed(0))
    maps = 0.02 * torch.nn.functional.avg_pool2d(labels[2][1:], 3, stride=1, padding=1) + 0.01 * noise
    learned = learn_head_weights_from_maps([part], 2, maps, labels[2], AttentionKernel())
    # The first loss, of equal weights, densely in float64.
    stretched = np.stack([(one - one.min()) / (one.max() - one.min()) for one in maps.double().numpy()])
    soft = np.concatenate([1 - stretched.max(0, keepdims=True), stretched]).reshape(3, -1)
    heads = part.values[2].astype(np.float64).reshape(-1, 3, 2, WIDTH)
    found = np.zeros(soft.shape)
    for head in range(3):
        logits = heads[:, head, 0] @ heads[:, head, 1].T / WIDTH**0.5
        attention = np.exp(logits - logits.max(1, keepdims=True))
        found += soft / soft.sum(0) @ (attention / attention.sum(1, keepdims=True)).T / 3
    assert learned.losses[0] == pytest.approx(
        float(_loss(torch.from_numpy(found), labels[2].flatten(1).double())), 1e-4
    )
    assert learned.best_head == np.argmax(learned.weights) == 0
    assert learned.weights[0] > 0.6
    assert learned.losses[-1] < learned.losses[0]
    assert learned.iou["learned"] >= learned.iou["uniform"]
    assert learned.held_out == ()
    with pytest.raises(LabelError, match=r"the mask has the shape \(2, 8, 10\), not \(3, 8, 10\)"):
        learn_head_weights_from_maps([part], 2, maps, labels[2][1:], AttentionKernel())


def test_the_penalty_draws_weights_together() -> None:
    part, labels = scene()
    strong = learn_head_weights([part], labels, AttentionKernel(), radius=RADIUS, steps=100, penalty=100.0)
    np.testing.assert_allclose(strong.weights, 1 / 3, atol=0.02)


def test_the_loss_is_its_formula() -> None:
    found = torch.tensor([[0.8, 0.3], [0.2, 0.7]])
    truth = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    entropy = -np.mean([np.log(0.8), np.log(0.7), np.log(0.8), np.log(0.7)])
    assert float(_loss(found, truth)) == pytest.approx(entropy + 1 - 0.7 / (0.9 + 1 - 0.7), abs=1e-6)


def test_stored_for_the_video_and_used_by_its_kernel(tmp_path: Path, learned: LearnedHeads) -> None:
    part, _ = scene()
    cache = open_cache(tmp_path / "cache", create=True)
    spec = UnitSpec(
        dataset="davis",
        request=FeatureRequest(video="swan", frames="f", backbone="sd21", weights="sha256:00", frame_size=(64, 80)),
        timestep=51,
        tap="up_blocks[3].attentions[0].attn1:qk",
        frame_names=tuple(f"{frame:05d}" for frame in range(FRAMES)),
        source_size=(64, 80),
        heads=3,
    )
    with cache.writer(spec) as writer:
        for frame, values in enumerate(part.values):
            writer.write(frame, values)
        writer.finish({})
    units = [Unit(spec.folder(cache.root))]
    kernel = AttentionKernel(scale=1.5, learned=True)
    with pytest.raises(UnitNotFoundError, match="no weights of heads have been learned for davis/swan"):
        with_learned_heads(cache, units, kernel)
    stored = store_head_weights(cache, units, kernel, learned, {"steps": 300})
    assert store_head_weights(cache, units, kernel, learned, {"steps": 300}).folder == stored.folder
    np.testing.assert_allclose(stored["losses"][...], learned.losses, rtol=1e-6)
    assert stored.run_record["iou"] == dict(learned.iou)
    found = with_learned_heads(cache, units, kernel)
    assert found == replace(kernel, learned=False, head_weights=found.head_weights)
    np.testing.assert_allclose(found.head_weights, learned.weights, rtol=1e-6)
    assert with_learned_heads(cache, units, AttentionKernel()) == AttentionKernel()
    with pytest.raises(UnitNotFoundError):  # learned with another scale
        with_learned_heads(cache, units, AttentionKernel(learned=True))
    store_head_weights(cache, units, kernel, learned, {"steps": 200})
    with pytest.raises(UnitNotFoundError, match="2 sets of weights of heads"):
        with_learned_heads(cache, units, kernel)


def test_wrong_inputs() -> None:
    part, labels = scene()
    with pytest.raises(LabelError, match="at least 3 labelled frames, not 2"):
        learn_head_weights([part], {0: labels[0], 1: labels[1]}, AttentionKernel())
    with pytest.raises(LabelError, match="not on the features' grid"):
        learn_head_weights([part], {frame: label[:, 1:] for frame, label in labels.items()}, AttentionKernel())
    with pytest.raises(ConfigError, match="learned from attention alone"):
        learn_head_weights([Part(part.values, "adm@1:51:output_blocks[7]")], labels, AttentionKernel())
    with pytest.raises(ConfigError, match="read for each video's run"):
        AttentionKernel(learned=True).bind([])
    with pytest.raises(ConfigError, match="replace head and head_weights"):
        AttentionKernel(learned=True, head=2)
