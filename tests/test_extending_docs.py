"""The kernel and the artifact of the page on extending do what the page says."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ted.propagate import PropagationSettings, propagate
from ted.store.artifacts import registry
from tests.propagate.volumes import volume

PAGE = (Path(__file__).parents[1] / "docs" / "guide" / "extending.md").read_text()
KERNEL, ARTIFACT = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_kernel_takes_the_nearest_source() -> None:
    names: dict[str, Any] = {"__name__": "distance"}
    exec(compile(KERNEL, "docs/guide/extending.md", "exec"), names)
    draw = torch.Generator().manual_seed(0)
    wide, narrow = torch.randn(2, 5, 6, 4, generator=draw), torch.randn(2, 5, 6, 3, generator=draw)
    first = torch.nn.functional.one_hot(torch.arange(30)).T.reshape(30, 5, 6).float()
    settings = PropagationSettings(kernel=names["DistanceKernel"](scale=2.0), radius=6, top_k=1)

    labels = dict(propagate([(volume(wide.numpy()), 0.25), (volume(narrow.numpy()), 0.75)], first, settings))

    distances = 0.25 * _distances(wide) + 0.75 * _distances(narrow)
    assert torch.equal(labels[1].argmax(0).flatten(), distances.argmin(1))


def _distances(features: torch.Tensor) -> torch.Tensor:
    """Return squared distances, (pixel of frame 1, pixel of frame 0)."""
    rows = features.flatten(1, 2).double()
    return (rows[1][:, None] - rows[0][None]).square().sum(-1)


def test_the_artifact_is_written_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_KINDS", dict(registry._KINDS))
    embedding = np.random.default_rng(0).standard_normal((8, 1024), dtype=np.float32)
    names: dict[str, Any] = {"embedding": embedding}
    exec(compile(ARTIFACT, "docs/guide/extending.md", "exec"), names)
    np.testing.assert_array_equal(names["prototype"]["embedding"][...], embedding)
