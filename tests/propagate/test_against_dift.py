"""Masks and soft labels against DIFT's own evaluation on the same features."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ted.propagate import Affinity, Part, PropagationSettings, part_weights, propagate
from ted.propagate.targets.masks import decode_mask, encode_mask
from tests.propagate.helpers import affinities, label_of
from tests.propagate.volumes import volume

GRID, FRAME_SIZE, SIZE = (30, 54), (480, 864), (240, 432)


def load(shared: Path, number: int) -> tuple[list[Part], PropagationSettings, Any]:
    folder = shared / "fixtures/label_propagation"
    case = json.loads((folder / "cases.json").read_text())["cases"][number]
    settings = PropagationSettings(
        temperature=case["temperature"],
        top_k=case["topk"],
        radius=case["radius"],
        context=case["context"],
    )
    with np.load(folder / "features.npz") as arrays:
        units = [volume(np.moveaxis(arrays[name], 1, -1), 4, FRAME_SIZE) for name in ("video", "image")]
    return list(zip(units, part_weights(case["alpha"]), strict=True)), settings, np.load(folder / f"case_{number}.npz")


@pytest.mark.parametrize("number", range(4))
def test_masks_and_soft_labels(shared: Path, number: int) -> None:
    parts, settings, expected = load(shared, number)
    first = encode_mask(expected["masks"][0], GRID)
    labels = dict(propagate(parts, first.label, settings))
    assert list(labels) == list(range(24))
    for frame in range(1, 24):
        mask = decode_mask(labels[frame], first.object_ids, frame_size=FRAME_SIZE, size=SIZE)
        assert (mask == expected["masks"][frame]).mean() >= 0.999, f"frame {frame}"
    assert np.abs(labels[1].numpy() - expected["soft_first"]).max() < 1e-5
    for frame, name in ((12, "soft_mid"), (23, "soft_last")):
        assert (np.abs(labels[frame].numpy() - expected[name]) < 5e-3).mean() > 0.999, name


@pytest.mark.parametrize("number", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_soft_labels_differ_only_where_a_tie_decides(shared: Path, number: int) -> None:
    """Choosing between sources that tie for rank k changes a label by at most their weight.

    The bound propagates those weights along the video like a label; where it is small, ties have no effect.
    """
    parts, settings, expected = load(shared, number)
    wider = PropagationSettings(
        top_k=settings.top_k + 8, radius=settings.radius, context=settings.context, temperature=settings.temperature
    )
    near = 2e-6
    labels, bounds = {0: torch.from_numpy(expected["first_label"][0])}, {0: torch.zeros(1, *GRID)}
    for step in affinities(parts, wider):
        sims = step.affinity.similarity
        kth = sims[:, settings.top_k - 1, None]
        in_doubt = (kth - sims[:, settings.top_k, None] <= near) & ((sims - kth).abs() <= near)
        in_doubt = in_doubt[:, : settings.top_k]
        kept = Affinity(
            sources=step.affinity.sources[:, : settings.top_k], similarity=sims[:, : settings.top_k].contiguous()
        )
        weights = (kept.similarity / settings.temperature).softmax(1)
        doubt = (weights * in_doubt).sum(1).reshape(1, *GRID)
        for values, own in ((labels, 0.0), (bounds, doubt)):
            context = torch.stack([values[frame] for frame in step.context])
            values[step.frame] = label_of(kept, context, settings.temperature) + own
    difference = np.abs(labels[23].numpy() - expected["soft_last"]).max(0)
    decided_by_ties = bounds[23][0].numpy() > 1e-3
    assert difference[~decided_by_ties].max() < 5e-3
    assert (~decided_by_ties).mean() > 0.3
