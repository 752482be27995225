"""Requests of the backbones equal those of earlier versions, so that cached features stay valid."""

from typing import Any

import numpy as np
import pytest
import torch

from ted.extract.backbones import load_backbone
from ted.extract.settings import BackboneOptions

from .conftest import ArrayFrames, make_plan


class Hashed(ArrayFrames):
    def digest(self, indices: Any = None) -> str:
        return "f" * 64


@pytest.mark.parametrize(
    ("name", "timestep", "options", "digest"),
    [
        ("rgb", 0, {}, "79c62cba9d557e61"),
        ("demo-image", 300, {}, "2783122eadb7cef8"),
        ("demo-video", 300, {}, "49f9658ca4481cca"),
        ("demo-video", 600, {"fps": 9, "condition_on": "video", "temporal": False}, "a9c807462f352b01"),
    ],
)
def test_digests_of_requests_are_pinned(name: str, timestep: int, options: dict[str, Any], digest: str) -> None:
    backbone = load_backbone(
        name, None, device=torch.device("cpu"), dtype=torch.float32, options=BackboneOptions(**options)
    )
    source = Hashed(np.zeros((3, 64, 64, 3), np.uint8))
    plan = make_plan(backbone, source, (64, 64), [timestep], ensemble=2, seed=3, overlap=1)
    assert plan.request.digest().startswith(digest)
