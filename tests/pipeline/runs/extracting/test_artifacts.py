"""A backbone that is conditioned on an artifact of each video: its content hash is part of the features' request."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ted.extract.backbones import BackboneInfo, register_backbone, registry
from ted.extract.backbones.base import NO_ARTIFACTS
from ted.extract.backbones.baselines import Baseline, _make
from ted.store import ArrayLayout, Artifact, ArtifactKind, ArtifactSpec, Cache, open_cache
from ted.store.artifacts import registry as kinds

from ...conftest import Cli
from ...inputs import frames_folder, random_video

SCALE = ArrayLayout(name="scale", dimensions=("channel",), dtype="float32")
PROTOTYPE = ArtifactKind(name="prototype", arrays=(SCALE,))


@dataclass(kw_only=True)
class Scaled(Baseline):
    """Colours times a factor that the artifact holds."""

    def condition(self, pixels: Any, image: Any, draw: Any, artifacts: Any = NO_ARTIFACTS) -> dict[str, torch.Tensor]:
        return {"scale": artifacts["prototype"]["scale"][None]}

    def network_arguments(self, noisy: torch.Tensor, timestep: Any, condition: Any) -> dict[str, Any]:
        return {"values": (noisy * condition["scale"][:, None, :, None, None]).flatten(0, 1)}


def load(_path: Path | None, *, device: torch.device, dtype: torch.dtype) -> Scaled:
    plain = _make("scaled", device, positions=False)
    return Scaled(**(vars(plain) | {"artifacts": ("prototype",)}))


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(kinds, "_KINDS", {**kinds._KINDS, "prototype": PROTOTYPE})
    info = BackboneInfo(title="", kind="image", published=None, default_tap="stride8", loader=f"{__name__}:load")
    register_backbone("scaled", info)
    yield
    del registry._REGISTRY["scaled"]


def write_prototype(cache: Cache, scale: float, **request: Any) -> Artifact:
    spec = ArtifactSpec(kind="prototype", dataset="folder", video="clip", request=request, sizes={"channel": 3})
    with cache.artifact_writer(spec) as writer:
        writer.write_shared({"scale": np.full(3, scale, np.float32)})
        writer.finish({})
    return Artifact(spec.folder(cache.root))


def test_features_belong_to_the_artifact_that_they_were_made_with(cli: Cli, tmp_path: Path) -> None:
    clip = frames_folder(tmp_path / "clip", random_video(2))
    command = ("extract", clip, "--feature", "scaled:0:stride8", "--frame-size", "64x64", "--cache", tmp_path / "cache")
    failed = cli(*command)
    assert failed.code == 1
    assert "backbone 'scaled' needs what folder/clip lacks: prototype" in failed.err

    cache = open_cache(tmp_path / "cache", create=True)
    first = write_prototype(cache, 0.5, steps=1)
    assert cli(*command).code == 0
    (unit,) = cache.units(backbone="scaled")
    assert unit.spec.request.conditioning == {"artifacts": {"prototype": first.content_hash}}
    assert cli("extract", clip, "--feature", "rgb:0:stride8", "--frame-size", "64x64", "--cache", cache.root).code == 0
    (plain,) = cache.units(backbone="rgb")
    angles = np.arctan2(
        *(
            part.features.compute().astype(np.float64)[..., half]
            for part, half in ((plain, slice(3, 6)), (plain, slice(0, 3)))
        )
    )
    np.testing.assert_allclose(unit.features.compute()[..., :3], np.cos(angles / 2), atol=2e-3)

    second = write_prototype(cache, 0.25, steps=2)
    assert "there are: folder/clip prototype@" in cli(*command).err
    cache.remove(first.folder)
    assert cli(*command).code == 0
    hashes = {unit.spec.request.conditioning["artifacts"]["prototype"] for unit in cache.units(backbone="scaled")}
    assert hashes == {first.content_hash, second.content_hash}
