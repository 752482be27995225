"""The kernel of the page on extending, against a plain search."""

import re
from pathlib import Path
from typing import Any

import torch

from ted.propagate import PropagationSettings, propagate
from tests.propagate.volumes import volume

PAGE = (Path(__file__).parents[3] / "docs" / "guide" / "extending.md").read_text()


def test_the_kernel_of_the_page_takes_the_nearest_source() -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {"__name__": "distance"}
    exec(compile(block, "docs/guide/extending.md", "exec"), names)
    draw = torch.Generator().manual_seed(0)
    wide, narrow = torch.randn(2, 5, 6, 4, generator=draw), torch.randn(2, 5, 6, 3, generator=draw)
    first = torch.nn.functional.one_hot(torch.arange(30)).T.reshape(30, 5, 6).float()
    settings = PropagationSettings(kernel=names["DistanceKernel"](scale=2.0), radius=6, top_k=1)

    labels = dict(propagate([(volume(wide.numpy()), 0.25), (volume(narrow.numpy()), 0.75)], first, settings))

    distances = 0.25 * _distances(wide) + 0.75 * _distances(narrow)
    assert torch.equal(labels[1].argmax(0).flatten(), distances.argmin(1))


def _distances(features: torch.Tensor) -> torch.Tensor:
    rows = features.flatten(1, 2).double()
    return (rows[1][:, None] - rows[0][None]).square().sum(-1)
