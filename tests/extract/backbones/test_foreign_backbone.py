"""A backbone of another package, by one entry point: extract, kill, resume, and fuse with other features."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from ted.extract.backbones import load_backbone, registry
from ted.extract.noising.keyed_noise import NoiseKey, draw_noise
from ted.extract.settings import BackboneOptions
from ted.store import open_cache, verify_unit
from ted.store.errors import ConfigError, WeightsError
from tests.extract.backbones import foreign_backbone
from tests.extract.backbones.foreign_backbone import HEADS, TOKENS, ToyDit, Transformer
from tests.extract.conftest import features_of, random_frames
from tests.extract.offers import offer
from tests.pipeline.runs.extracting.processes import end_all, hurry, start
from tests.pipeline.runs.extracting.steps import At

CPU = torch.device("cpu")
FRAMES, SIZE = 12, (48, 64)
FEATURE = "toy-dit:300,600:to_q,merged"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign") / "weights"
    foreign_backbone.write_weights(folder)
    return folder


@pytest.fixture(autouse=True)
def _offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    offer("ted.backbones", foreign_backbone.NAME, f"{foreign_backbone.__name__}:INFO", tmp_path, monkeypatch)
    yield
    registry._REGISTRY.pop(foreign_backbone.NAME, None)
    end_all()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A folder of frames with the network's input size."""
    folder = tmp_path / "clip"
    folder.mkdir()
    for index, frame in enumerate(random_frames(FRAMES, size=SIZE).frames):
        cv2.imwrite(str(folder / f"{index}.png"), frame[..., ::-1])
    return folder


def load(weights: Path, **options: Any) -> ToyDit:
    backbone = load_backbone("toy-dit", weights, device=CPU, dtype=torch.float32, options=BackboneOptions(**options))
    assert isinstance(backbone, ToyDit)
    return backbone


def expected(backbone: ToyDit, frames: NDArray[np.uint8], start: int, timestep: int) -> dict[str, NDArray[Any]]:
    """Features of a clip's latent frames, (latent frame, y, x, channel), by the formulas of the network."""
    pixels = frames[start : start + 5].astype(np.float64) / 127.5 - 1
    means = pixels.reshape(5, SIZE[0] // 4, 4, SIZE[1] // 4, 4, 3).mean(axis=(2, 4))
    latents = np.stack([means[0], means[1:].mean(axis=0)]).transpose(0, 3, 1, 2)
    noise = draw_noise(NoiseKey(seed=0, video="clip", start=start), latents.shape)
    s = timestep / 1000
    noisy = (1 - s) * torch.from_numpy(latents).float() + s * noise
    network: Transformer = backbone.network
    patches = network.patch(noisy).permute(0, 2, 3, 1)  # (latent frame, y, x, channel)
    tokens = torch.cat([network.text(backbone.text_states[0]), patches.flatten(0, 2)]) + network.time(torch.tensor([s]))
    q, k, v = (layer(tokens) for layer in (network.to_q, network.to_k, network.to_v))
    heads = []
    for head in range(HEADS):
        part = slice(head * q.shape[1] // HEADS, (head + 1) * q.shape[1] // HEADS)
        weights = torch.softmax(q[:, part] @ k[:, part].T / (q.shape[1] // HEADS) ** 0.5, dim=1)
        heads.append(weights @ v[:, part])
    attended = torch.cat(heads, dim=1)[TOKENS:].reshape(patches.shape)
    return {
        "to_q": q[TOKENS:].reshape(patches.shape).numpy(),
        "merged": network.merge(attended.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy(),
    }


def tree(cache: Path) -> dict[str, bytes]:
    files = (path for path in cache.rglob("*") if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(cache)): path.read_bytes() for path in files}


def test_extracted_killed_resumed_and_fused(clip: Path, weights: Path, tmp_path: Path) -> None:
    def command(cache: Path) -> tuple[object, ...]:
        given = ("--weights", weights, "--frame-size", f"{SIZE[0]}x{SIZE[1]}", "--overlap", 1, "--cache", cache)
        return "extract", clip, "--feature", FEATURE, "--feature", "rgb:0:stride8", *given, "--json"

    for name in ("whole", "killed"):
        arguments = [f"toy-dit={weights}" if item is weights else item for item in command(tmp_path / name)]
        if name == "killed":
            at = At(cache=tmp_path / name, log=tmp_path / "log", phase="journal", number=3)
            assert start(tmp_path / "out", *arguments, hooks=(hurry, at)).wait() == -9
            assert any(entry.state == "incomplete" for entry in open_cache(tmp_path / name).entries())
        run = start(tmp_path / "out", *arguments, hooks=(hurry,))
        assert run.wait() == 0, run.err.read_text()
        assert len(run.summary["written"]) == 5
    assert tree(tmp_path / "whole") == tree(tmp_path / "killed")

    units = {(unit.spec.timestep, unit.spec.tap): unit for unit in open_cache(tmp_path / "whole").units()}
    assert all(verify_unit(unit.folder).state == "ok" for unit in units.values())
    backbone, frames = load(weights), random_frames(FRAMES, size=SIZE).frames
    # Clips of 5 frames that share 1 begin at 0, 4 and 7; a frame has the feature of the first clip that covers it.
    source = {frame: 0 if frame < 5 else 4 if frame < 9 else 7 for frame in range(FRAMES)}
    for timestep in (300, 600):
        assert units[timestep, "to_q"].shape[1:3] == (6, 8)
        assert (units[timestep, "to_q"].spec.heads, units[timestep, "merged"].spec.heads) == (HEADS, 1)
        assert units[timestep, "merged"].shape[1:3] == (3, 4)
        values = {begin: expected(backbone, frames, begin, timestep) for begin in set(source.values())}
        for tap in ("to_q", "merged"):
            found = units[timestep, tap].features.compute().astype(np.float32)
            for frame, begin in source.items():
                reference = values[begin][tap][0 if frame == begin else 1]
                np.testing.assert_allclose(found[frame], reference, rtol=2e-3, atol=2e-3)  # float16

    mask = np.zeros(SIZE, np.uint8)
    mask[10:30, 20:50] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    parts = ("--feature", "toy-dit:300:to_q=0.5", "--feature", "rgb:0:stride8=0.5", "--radius", 3, "--top-k", 5)
    out = ("--mask", tmp_path / "mask.png", "--cache", tmp_path / "whole", "--out", tmp_path / "masks")
    fused = start(tmp_path / "out", "propagate", clip, *parts, *out)
    assert fused.wait() == 0, fused.err.read_text()
    assert len(list((tmp_path / "masks").rglob("*.png"))) == FRAMES


def test_the_prompt_goes_through_the_text_encoder_and_enters_the_request(weights: Path) -> None:
    plain, red = load(weights), load(weights, prompt="two red balls")
    assert plain.text_states.shape == red.text_states.shape == (1, TOKENS, foreign_backbone.TEXT)
    assert not torch.equal(plain.text_states, red.text_states)
    assert red.conditioning == {"prompt": "two red balls"}
    with pytest.raises(ConfigError, match="7 tokens, of which the text encoder reads 6"):
        load(weights, prompt="a a a a a a a")


def test_latent_frames_must_be_those_declared(weights: Path) -> None:
    backbone = load(weights)
    backbone.latent_of_frame = (0, 1, 1, 2, 2)
    with pytest.raises(ConfigError, match="5 frames to 2 latent frames; it declares 3"):
        features_of(backbone, random_frames(5, size=SIZE), SIZE, [300], ["merged"])


def test_a_wrong_stride_is_found(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load(weights)
    right = ToyDit.token_map
    monkeypatch.setattr(ToyDit, "token_map", lambda *arguments: right(*arguments).mT)
    with pytest.raises(
        ConfigError, match="tap 'to_q' gives a map of 8x6 cells for frames of 48x64 pixels; its stride of 8 means 6x8"
    ):
        features_of(backbone, random_frames(5, size=SIZE), SIZE, [300], ["to_q"])


def test_missing_parts_are_all_named(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"no transformer.safetensors, no folder text_encoder, no folder tokenizer"):
        load(tmp_path / "empty")
