"""The measured error of a form against its definition, computed densely in float64."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ted.pipeline.runs.converting.codec_error import CodecError, block_mask, measure_error
from ted.propagate import PropagationSettings
from tests.propagate.features import random_parts

GRID, FRAME, SOURCE = (6, 8), (48, 64), (60, 80)
SETTINGS = PropagationSettings(top_k=3, radius=2, context=2)


def features(seed: int = 0) -> NDArray[np.float16]:
    (part,) = random_parts(GRID, 4, (12,), seed, smooth=True)
    return part.numpy().astype(np.float16)


def measure(original: NDArray[np.floating], stored: NDArray[np.floating], **options: object) -> CodecError:
    return measure_error(
        original, stored, frame_size=FRAME, source_size=SOURCE, settings=SETTINGS, **options  # type: ignore[arg-type]
    )  # fmt: skip


def best_sources(values: NDArray[np.floating], frame: int) -> list[list[tuple[float, int]]]:
    """For each pixel: (cosine, flat source) of the k best of its windows in frame 0 and the last two, in float64."""
    context = [0, *range(max(1, frame - 2), frame)]
    unit = values.astype(np.float64) / np.linalg.norm(values.astype(np.float64), axis=-1, keepdims=True)
    rows, columns = np.indices(GRID)
    found = []
    for y in range(GRID[0]):
        for x in range(GRID[1]):
            inside = (abs(rows - y) <= 2) & (abs(columns - x) <= 2)
            cosines = np.where(inside, unit[context] @ unit[frame, y, x], -np.inf).ravel()
            best = np.argsort(-cosines, kind="stable")[:3]
            found.append([(float(cosines[place]), int(place)) for place in best])
    return found


def cosine(values: NDArray[np.floating], frame: int, pixel: int, source: int) -> float:
    context = [0, *range(max(1, frame - 2), frame)]
    one = values[frame].reshape(-1, values.shape[-1])[pixel].astype(np.float64)
    other = values[context].reshape(-1, values.shape[-1])[source].astype(np.float64)
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_cosines_and_overlap_are_those_of_a_dense_search() -> None:
    original = features()
    stored = (original + 0.2 * np.random.default_rng(1).standard_normal(original.shape)).astype(np.float32)
    differences, same = [], []
    for frame in range(1, 4):
        pairs = zip(best_sources(original, frame), best_sources(stored, frame), strict=True)
        for pixel, (before, after) in enumerate(pairs):
            kept = {source for _, source in after}
            same += [source in kept for _, source in before]
            differences += [abs(value - cosine(stored, frame, pixel, source)) for value, source in before]
    error = measure(original, stored)
    assert 0.3 < np.mean(same) < 0.99
    assert error.top_k_overlap == pytest.approx(np.mean(same), abs=1e-9)
    assert error.cosine_mean == pytest.approx(np.mean(differences), rel=1e-4)
    assert error.cosine_max == pytest.approx(np.max(differences), rel=1e-4)
    assert error.mask_agreement is not None
    assert 0.2 < error.mask_agreement < 1


def test_equal_features_have_no_error() -> None:
    error = measure(features(), features().astype(np.float32))
    assert (error.cosine_mean, error.cosine_max, error.top_k_overlap, error.mask_agreement) == (0, 0, 1, 1)
    assert error.to_json() == {
        "frames": 4,
        "mask": "blocks",
        "settings": {"temperature": 0.2, "top_k": 3, "radius": 2, "context": 2},
        "cosine_mean": 0.0,
        "cosine_max": 0.0,
        "top_k_overlap": 1.0,
        "mask_agreement": 1.0,
    }


def test_a_rotation_changes_nothing_but_rounding() -> None:
    original = features()
    rotation = np.linalg.qr(np.random.default_rng(2).standard_normal((12, 12)))[0]
    error = measure(original, (original.astype(np.float64) @ rotation).astype(np.float32))
    assert error.cosine_max is not None
    assert error.cosine_max < 1e-6
    assert error.mask_agreement == 1


def test_unrelated_features_agree_in_little() -> None:
    error = measure(features(0), features(1))
    assert error.top_k_overlap is not None
    assert error.top_k_overlap < 0.3


def test_a_given_mask_is_propagated_and_one_without_objects_is_not() -> None:
    mask = np.zeros(SOURCE, np.uint8)
    mask[20:40, 10:50] = 7
    stored = features() + np.float16(0.05)
    assert measure(features(), stored, first_mask=mask).mask == "first mask"
    assert measure(features(), stored, first_mask=0 * mask) == measure(features(), stored)


def test_one_frame_has_nothing_to_propagate() -> None:
    error = measure(features()[:1], features()[:1])
    assert error.frames == 1
    assert error.mask_agreement is error.cosine_mean is None


def test_blocks_have_unlike_neighbours() -> None:
    mask = block_mask((40, 60))
    assert set(np.unique(mask)) == set(range(5))
    blocks = np.asarray(Image.fromarray(mask).resize((6, 4), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(mask, blocks.repeat(10, 0).repeat(10, 1))
    assert (blocks[1:] != blocks[:-1]).all()
    assert (blocks[:, 1:] != blocks[:, :-1]).all()


@pytest.mark.parametrize("role", ["qk", "k"])
def test_attention_errors_are_those_of_a_dense_softmax(role: str) -> None:
    """Total variation of the weights of all sources in the window, averaged over two heads."""
    original = 3 * features()
    stored = (original + 0.2 * np.random.default_rng(1).standard_normal(original.shape)).astype(np.float32)
    spec: Any = SimpleNamespace(tap=f"attn1:{role}", feature=f"sd21@0:51:attn1:{role}", heads=2)
    rows, columns = np.indices(GRID).reshape(2, -1)
    inside = np.maximum(abs(rows[:, None] - rows), abs(columns[:, None] - columns)) <= SETTINGS.radius

    def attention(values: NDArray[np.floating], frame: int) -> NDArray[np.float64]:
        heads = values.astype(np.float64).reshape(len(values), len(rows), 2, -1)
        queries, keys = np.split(heads, 2, axis=-1) if role == "qk" else (heads, heads)
        context = [0, *range(max(1, frame - 2), frame)]
        total = 0
        for head in range(2):
            logits = queries[frame, :, head] @ keys[context, :, head].reshape(-1, keys.shape[-1]).T
            weights = np.where(np.tile(inside, len(context)), np.exp(logits / keys.shape[-1] ** 0.5), 0)
            total = total + weights / weights.sum(1, keepdims=True) / 2
        return np.asarray(total)

    expected = [
        abs(attention(original, frame) - attention(stored, frame)).sum(1) / 2 for frame in range(1, len(original))
    ]
    error = measure(original, stored, spec=spec)
    assert error.attention_mean == pytest.approx(np.mean(expected), rel=1e-4)
    assert error.attention_max == pytest.approx(np.max(expected), rel=1e-4)
    assert error.cosine_mean is None
    assert 0 < error.top_k_overlap < 1
    assert "cosine_mean" in error.to_json()
    assert "attention_mean" not in measure(original, stored).to_json()
