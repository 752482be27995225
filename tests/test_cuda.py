"""The CUDA paths against the CPU's, where there is a GPU: same features, same affinities, same labels."""

from pathlib import Path

import pytest
import torch

from ted.extract.backbones import BACKBONES, load_backbone
from ted.extract.runtime import use_reproducible_kernels
from ted.extract.small_models import make_small
from ted.propagate.kernels.cosine.pairs import unit_vectors
from tests.propagate.helpers import frame_affinity, label_of

from .extract.conftest import features_of, random_frames

CPU, GPU = torch.device("cpu"), torch.device("cuda")

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("name", BACKBONES)
def test_features(name: str, tmp_path: Path) -> None:
    use_reproducible_kernels()
    comes_along = name in ("demo-video", "demo-image", "rgb", "position")
    weights = None if comes_along else make_small(name, tmp_path / name)
    tap = BACKBONES[name].default_tap
    results = {}
    for device in (CPU, GPU):
        backbone = load_backbone(name, weights, device=device, dtype=torch.float32)
        source = random_frames(backbone.clip_length)
        size = (4 * backbone.frame_multiple, 4 * backbone.frame_multiple)
        timestep = min(300, len(backbone.schedule) - 1)
        found = features_of(backbone, source, size, [timestep], [tap], draws=2, batch_size=2)
        assert found[timestep, tap].device.type == device.type
        results[device] = found[timestep, tap].cpu()
    error = (results[GPU] - results[CPU]).norm() / results[CPU].norm()
    assert error < 1e-3


def test_affinities_and_labels() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(6, 20, 24, channels, generator=generator) for channels in (40, 24)]
    labels = torch.rand(5, 3, 20, 24, generator=generator)
    results = {}
    for device in (CPU, GPU):
        vectors = [unit_vectors(part.to(device)) for part in parts]
        affinity = frame_affinity([part[0] for part in vectors], [part[1:] for part in vectors], (0.4, 0.6), 5, 10)
        label = label_of(affinity, labels.to(device), 0.1)
        assert label.device.type == device.type
        results[device] = affinity.sources.cpu(), affinity.similarity.cpu(), label.cpu()
    torch.testing.assert_close(results[GPU][1], results[CPU][1], rtol=0, atol=1e-5)
    same = (results[GPU][0].sort(1).values == results[CPU][0].sort(1).values).all(1)
    assert same.float().mean() > 0.99  # the rest have a k-th neighbour that rounding decides
    torch.testing.assert_close(
        results[GPU][2].flatten(1)[:, same], results[CPU][2].flatten(1)[:, same], rtol=0, atol=1e-5
    )
