"""``ted learn-token`` and ``ted extract --tokens``."""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ted.extract.backbones import load_backbone
from ted.extract.backbones.latent import with_tokens
from ted.extract.backbones.stable_diffusion import StableDiffusion
from ted.extract.frames import to_pixels
from ted.extract.noising.base import CleanClip
from ted.extract.noising.ddim_inversion import DdimInversion
from ted.extract.small_models import make_small
from ted.pipeline.datasets.sources import Source, open_sources
from ted.pipeline.runs import learning_tokens
from ted.store import Artifact, ArtifactSpec, Cache, open_cache
from tests.console import next_commands

from ..conftest import Cli

TAP = "up_blocks[3].attentions[0].attn1:qk"
FEATURE = ("--feature", f"sd21:1:{TAP}", "--frame-size", "64x96", "--noising", "ddim-inversion:steps=100")


@pytest.fixture(scope="module")
def sd21(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small("sd21", tmp_path_factory.mktemp("weights") / "sd21", standins=True)


def tokens_of(cache: Path, video: str = "one") -> list[Artifact]:
    return [entry.open() for entry in open_cache(cache).artifacts("token", video=video) if entry.state == "complete"]


def test_learn_resume_and_extract(
    cli: Cli, davis_source: Path, sd21: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    common = ("--cache", cache, "--weights", sd21)
    extract = ("extract", davis_source, "--videos", "one", *common, *FEATURE)
    failed = cli(*extract, "--tokens")
    assert failed.code == 1
    assert "needs what davis/one lacks: token; learn it with `ted learn-token`" in failed.err

    learn = ("learn-token", davis_source, "--frame-size", "64x96", "--steps", 2, "--draws", 1, "--rate", 2, *common)
    whole = learning_tokens.learn_tokens

    def interrupted(*arguments: Any, key: Any, **settings: Any) -> Any:
        if key.video == "two":
            raise KeyboardInterrupt
        return whole(*arguments, key=key, **settings)

    monkeypatch.setattr(learning_tokens, "learn_tokens", interrupted)
    assert cli(*learn).code == 130
    assert [len(tokens_of(cache, video)) for video in ("one", "two")] == [1, 0]
    monkeypatch.setattr(learning_tokens, "learn_tokens", whole)
    done = cli(*learn, "--json")
    assert done.code == 0, done.err
    rows = json.loads(done.out)["videos"]
    assert [(row["video"], row["learned"], row["objects"]) for row in rows] == [
        ("one", False, ["object 1", "object 2"]),
        ("two", True, ["object 1", "object 2"]),
    ]
    (artifact,) = tokens_of(cache)
    request = artifact.spec.request
    assert (request["layers"], request["timestep"], request["steps"]) == (["up_blocks[3]"], 100, 2)
    assert artifact["maps"][...].shape == (2, request["grid"][0] * request["grid"][1]) == (2, 8 * 12)
    assert rows[0]["losses"] == pytest.approx(artifact["losses"][...].mean(1).tolist())
    first = np.asarray(Image.open(next((davis_source / "Annotations").rglob("one/00000.png"))).resize((12, 8), 0))
    masks, maps = np.stack([first.ravel() == number for number in (1, 2)]), artifact["maps"][...]
    inside = ((maps * masks).sum(1) / maps.sum(1)).mean()
    assert (rows[0]["inside"], rows[0]["covered"]) == pytest.approx((inside, masks.mean()), rel=1e-5)
    (command,) = next_commands(cli(*learn).out)
    expected = f"ted extract {davis_source} --preset drift --weights {sd21} --frame-size 64x96 --tokens --cache {cache}"
    assert sorted(shlex.split(command)) == sorted(shlex.split(expected))

    assert cli(*extract, "--tokens").code == 0
    assert cli(*extract).code == 0
    units = {len(unit.request.conditioning): unit for unit in open_cache(cache).units()}
    assert units[2].request.conditioning == {"prompt": "", "artifacts": {"token": artifact.content_hash}}
    backbone = load_backbone("sd21", sd21, device=torch.device("cpu"), dtype=torch.float32)
    assert isinstance(backbone, StableDiffusion)
    (video,) = (each for each in open_sources([Source(path=davis_source)]) if each.name == "one")
    latents = backbone.encode(torch.from_numpy(to_pixels(video.frames.read(1), (64, 96)))[None])
    states = with_tokens(backbone.text_states, torch.from_numpy(artifact["tokens"][...]))
    for unit, condition in ((units[2], {"text_states": states}), (units[1], {})):
        clip = CleanClip(latents=latents, condition=condition, noise=None)
        noisy = DdimInversion(steps=100).perturb(backbone, clip, [1])(1, 0)
        maps = backbone.features(noisy[None], 1, condition, [TAP])[TAP][0, 0]
        stored = unit.features[1].compute().astype(np.float32)
        expected_map = maps.permute(1, 2, 0).numpy()
        np.testing.assert_allclose(stored, expected_map, rtol=2e-3, atol=2e-3 * np.abs(expected_map).max())
    heads = ("learn-heads", davis_source, "--videos", "one", "--cache", cache, "--objective", "token", "--steps", 3)
    weighted = (
        "--kernel",
        "attention",
        "--feature",
        f"sd21@{units[2].request.digest()[:8]}:1:{TAP}=1",
    )
    (row,) = json.loads(cli(*heads, *weighted, "--json").out)["videos"]
    assert len(row["weights"]) == 2
    (stored,) = open_cache(cache).artifacts("head-weights")
    assert stored.spec.request["token"] == artifact.content_hash
    assert "IoU in the token's frame itself: uniform" in cli(*heads, *weighted).out
    assert np.abs(units[1].features[1].compute() - units[2].features[1].compute()).max() > 1e-2

    # Tokens of a mask that was corrected since do not count.
    corrected = tmp_path / "corrected"
    shutil.copytree(davis_source, corrected)
    path = next((corrected / "Annotations").rglob("one/00000.png"))
    Image.open(path).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(path)
    again = ("extract", corrected, *extract[2:], "--tokens")
    stale = cli(*again)
    assert (stale.code, "made from another frame or other masks; learn it" in stale.err) == (1, True)
    assert cli("learn-token", corrected, "--videos", "one", *learn[2:]).code == 0
    assert cli(*again).code == 0
    path.write_bytes(path.read_bytes()[:40])
    damaged = cli(*again)
    assert (damaged.code, "one/00000.png" in damaged.err) == (1, True), damaged.err


def test_tokens_that_do_not_fit(cli: Cli, davis_source: Path, sd21: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    extract = ("extract", davis_source, "--videos", "one", "--cache", cache, *FEATURE, "--tokens", "--weights", sd21)
    weights = load_backbone("sd21", sd21, device=torch.device("cpu"), dtype=torch.float32).weights_id

    def store(width: int, **request: Any) -> None:
        sizes = {"object": 1, "channel": width, "step": 1, "cell": 1}
        spec = ArtifactSpec(kind="token", dataset="davis", video="one", request=request, sizes=sizes)
        with Cache(cache).artifact_writer(spec) as writer:
            writer.write_shared({name: np.ones(shape) for name, shape in spec.shapes.items()})
            writer.finish({})

    open_cache(cache, create=True)
    store(32, weights="sha256:other")
    assert "the token of one was made with other weights; learn" in cli(*extract).err
    store(16, weights=weights)
    assert "the tokens have 16 channels, but the network takes 32" in cli(*extract).err
    store(32, weights=weights)
    several = cli(*extract)
    assert several.code == 1
    assert "remove all but one with `ted cache rm --kind token`" in several.err
    assert several.err.count("other weights") == 0

    prompted = cli(*extract, "--prompt", "a ball")
    assert (prompted.code, "leave one of them out" in prompted.err) == (2, True)
    other = cli("extract", davis_source, "--cache", cache, "--feature", "adm:1:mid_block", "--tokens")
    assert (other.code, "adm has no option tokens; sd21" in other.err) == (2, True)
    learn = ("learn-token", davis_source, "--cache", tmp_path / "new", "--weights", sd21)
    for option, value, said in (("--layer", "up_blocks[0]", "no cross-attention in"), ("--timestep", 1000, "1000")):
        refused = cli(*learn, option, value)
        assert (refused.code, said in refused.err) == (2, True)
        assert not (tmp_path / "new").exists()
    refused = cli("learn-token", davis_source, "--cache", cache, "--backbone", "adm")
    assert (refused.code, "'adm' cannot be conditioned on tokens, only: sd21" in refused.err) == (2, True)
