"""The CUDA paths against the CPU's, where there is a GPU: same features, same affinities, same labels.

Without a GPU: ``python -m pytest -n0 -p tests.pretended_cuda tests/test_cuda.py``.
"""

from pathlib import Path

import pytest
import torch

from ted.extract.backbones import BACKBONES, load_backbone
from ted.extract.frames import FrameSize
from ted.extract.runtime import use_reproducible_kernels
from ted.extract.small_models import MODELS, make_small
from ted.propagate import AttentionKernel, CosineKernel, Fusion, PropagationSettings, SearchSpec, propagate
from ted.propagate.kernels.cosine.cells import CellSearch
from ted.propagate.kernels.cosine.index import CosineIndex
from ted.propagate.kernels.cosine.pairs import unit_vectors
from ted.propagate.kernels.cosine.precision import FLOAT16, FLOAT32, Precision
from ted.propagate.kernels.cosine.rows import RowSearch
from ted.propagate.targets.masks import decode_mask
from tests.propagate.features import adversarial, random_parts
from tests.propagate.helpers import frame_affinity, label_of
from tests.propagate.kernels.cosine.test_rows import SPECS, find
from tests.propagate.kernels.test_attention import FUSED, GRID
from tests.propagate.test_engine import first_label
from tests.propagate.test_labels import ManySettings

from .extract.conftest import features_of, random_frames

CPU, GPU = torch.device("cpu"), torch.device("cuda")

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("name", BACKBONES)
def test_features(name: str, tmp_path: Path) -> None:
    use_reproducible_kernels()
    weights = make_small(name, tmp_path / name) if name in (*MODELS, "adm") else None
    tap = BACKBONES[name].default_tap
    results = {}
    for device in (CPU, GPU):
        backbone = load_backbone(name, weights, device=device, dtype=torch.float32)
        source = random_frames(backbone.clip_length)
        wanted = (4 * backbone.frame_multiple,) * 2
        size = backbone.processed_size(wanted, FrameSize(exact=wanted))
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


@pytest.mark.parametrize("precision", [FLOAT16, FLOAT32], ids=["float16", "float32"])
@pytest.mark.parametrize("kind", ["smooth", "noise", "duplicates", "patches"])
@pytest.mark.parametrize("name", SPECS)
def test_the_row_engine_finds_the_candidates_of_the_cell_engine_on_the_cpu(
    name: str, kind: str, precision: Precision
) -> None:
    spec, grid, frames = SPECS[name], (20, 24), 8
    parts = adversarial(kind, grid, frames, (64, 24), seed=1)
    expected = find(parts, spec, CellSearch, precision=FLOAT32)
    found = find([part.to(GPU) for part in parts], spec, RowSearch, precision=precision, budget=200_000).to(CPU)
    for fusion in spec.fusions:
        ours, theirs = (
            CosineKernel().rank(some, fusion, spec.top_k, cells=20 * 24, frames=frames - 1)
            for some in (found, expected)
        )
        torch.testing.assert_close(ours.similarity, theirs.similarity, rtol=0, atol=1e-5)
        if kind in ("smooth", "noise"):  # elsewhere rounding decides between equal sources
            same = (ours.sources.sort(1).values == theirs.sources.sort(1).values).all(1)
            assert same.float().mean() > 0.99


@pytest.mark.skipif(torch.cuda.is_available() and torch.version.cuda is None, reason="takes minutes if pretended")
def test_a_frame_at_the_papers_scale_takes_less_than_two_gigabytes() -> None:
    spec = SearchSpec(radius=15, top_k=10, fusions=(Fusion(weights=(0.4, 0.6), context=28),))
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    index = CosineIndex(spec, 29)
    for frame in range(30):
        units = [unit_vectors(part[0].to(GPU)) for part in random_parts((60, 104), 1, (640, 512), seed=frame)]
        if frame < 29:
            index.add(frame, units)
    index.search(units, range(29), 1)
    assert torch.cuda.max_memory_allocated() < 2e9


def test_many_settings_are_labelled_together_with_the_bits_of_each() -> None:
    case = ManySettings(GPU)
    together, expected = case.labels(range(220)), ManySettings(CPU).labels(range(220))
    for at in range(0, 220, 7):
        assert torch.equal(case.labels([at])[0], together[at])
        torch.testing.assert_close(together[at].cpu(), expected[at], rtol=0, atol=1e-5)


def test_masks_are_decoded_alike() -> None:
    coarse = torch.rand(1, 4, 6, 10, generator=torch.Generator().manual_seed(0))
    (label,) = torch.nn.functional.interpolate(coarse, size=(24, 40), mode="bilinear")
    found, expected = (
        decode_mask(label.to(device), (1, 2, 3), frame_size=(192, 320), size=(190, 322)) for device in (GPU, CPU)
    )
    assert (found == expected).mean() > 0.9999


@pytest.mark.parametrize("per_frame", [False, True])
def test_attention(per_frame: bool) -> None:
    """Over all sources, since rounding may decide between the k-th and the next."""
    kernel = AttentionKernel(per_frame=per_frame)
    settings = PropagationSettings(kernel=kernel, radius=3, context=3, top_k=10_000)
    expected = dict(propagate(FUSED, first_label(GRID), settings))
    for frame, label in propagate(FUSED, first_label(GRID), settings, device=GPU):
        assert label.device.type == "cuda"
        torch.testing.assert_close(label.cpu(), expected[frame], rtol=0, atol=1e-4)
