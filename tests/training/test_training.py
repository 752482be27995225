"""Training of the small models: data, objective, exact resuming, output files."""

import colorsys
import csv
import shutil
import tomllib
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from transformers import CLIPTextModel, CLIPTokenizer

from ted.extract.backbones import load_backbone
from ted.extract.small_models import make_small
from ted.pipeline.synthetic.captions import HUES, WORDS
from training import train_image, train_text, train_video
from training.attention_start import start_as_similarity
from training.fast_layers import hasten
from training.objective import Objective
from training.scenes import Captioned, CaptionedScenes, Scenes, loader
from training.text import write_tokenizer

ROOT = Path(__file__).parents[2] / "training"
CPU = torch.device("cpu")
KINDS: dict[str, Any] = {"video": train_video.main, "image": train_image.main, "text": train_text.main}
NAMES = {"video": "i2vgen-xl", "image": "sd21", "text": "sd21"}


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Path]:
    """Return the real configurations at minimal size."""
    found = {}
    for kind in KINDS:
        text = (ROOT / f"{kind}.toml").read_text()
        for before, after in (
            ("[32, 64, 96]", "[8, 8, 8]"),
            ("[32, 48]", "[8, 16]"),
            ("size = [128, 128]", "size = [32, 32]\nframes = [16]"),
            ("size = [96, 96]", "size = [32, 32]"),
            ("radius = [12.0, 19.0]", "radius = [3.0, 4.0]"),
            ("radius = [11.0, 21.0]", "radius = [3.0, 4.0]"),
            ("radius = [9.0, 19.0]", "radius = [3.0, 4.0]"),
            ("objects = [1, 2, 2, 3]", "objects = [1]"),
            ("objects = [1, 2, 2]", "objects = [1]"),
            ("batch = 4", "batch = 2"),
            ("batch = 8", "batch = 2"),
            ("steps = 200000", "steps = 4"),
            ("steps = 100000", "steps = 4"),
            ("log_every = 50", "log_every = 2"),
        ):
            text = text.replace(before, after)
        text = "\n".join("checkpoint_every = 2" if "checkpoint_every" in line else line for line in text.splitlines())
        found[kind] = tmp_path / f"{kind}.toml"
        found[kind].write_text(text)
    return found


@pytest.mark.parametrize("kind", [*KINDS])
def test_resuming_is_exact_and_the_weights_are_a_backbone(kind: str, config: dict[str, Path], tmp_path: Path) -> None:
    def train(out: Path, *options: str) -> dict[str, Any]:
        result = CliRunner().invoke(KINDS[kind], [str(config[kind]), str(out), "--device=cpu", *options])
        assert result.exit_code == 0, result.output
        saved: dict[str, Any] = torch.load(out / "checkpoint.pt", weights_only=True)
        return saved

    whole = train(tmp_path / "whole")
    assert whole["step"] == 4
    half = train(tmp_path / "halves", "--seconds=0")
    assert half["step"] == 2
    # Files of a run that was stopped between two checkpoints.
    with (tmp_path / "halves" / "curve.csv").open("a") as file:
        file.write("3,9,0,0,0,0,0,0,0,0,0,0\n")
    resumed = train(tmp_path / "halves")
    for part in ("weights", "average"):
        for name, value in whole[part].items():
            assert torch.equal(resumed[part][name], value), name
    assert any(not torch.equal(whole["weights"][name], whole["average"][name]) for name in whole["weights"])
    curves = []
    for folder in ("whole", "halves"):
        with (tmp_path / folder / "curve.csv").open(newline="") as file:
            curves.append([row[:1] + row[2:] for row in csv.reader(file)])  # without the time
    assert curves[0] == curves[1]
    assert [row[0] for row in curves[0]] == ["step", "2", "4"]

    weights = tmp_path / "whole" / "weights"
    backbone = load_backbone(NAMES[kind], weights, device=CPU, dtype=torch.float32)
    trained = dict(backbone.network.named_parameters())
    if kind == "text":
        assert torch.count_nonzero(backbone.text.encode("red ball") - backbone.text.encode("blue ball"))
        encoder = CLIPTextModel.from_pretrained(weights / "text_encoder", variant="fp16")
        trained = {f"unet.{name}": value for name, value in trained.items()}
        trained |= {f"text_encoder.{name}": value for name, value in encoder.named_parameters()}
    assert set(trained) == set(whole["average"])
    for name, value in trained.items():
        assert torch.equal(value.float(), whole["average"][name].half().float()), name


def test_data_of_a_step_is_a_function_of_its_number(config: dict[str, Path]) -> None:
    choices = tomllib.loads(config["video"].read_text())["scenes"]
    scenes = Scenes(choices, seed=1, frames=16)
    assert torch.equal(scenes[7], Scenes(choices, seed=1, frames=16)[7])
    assert not torch.equal(scenes[7], scenes[8])
    assert not torch.equal(scenes[7], Scenes(choices, seed=2, frames=16)[7])
    batches = list(loader(scenes, first=3, last=5, batch=2, workers=0))
    assert torch.equal(batches[0], torch.stack([scenes[6], scenes[7]]))
    assert torch.equal(batches[1], torch.stack([scenes[8], scenes[9]]))


def test_the_objective_is_v_prediction(config: dict[str, Path], tmp_path: Path) -> None:
    """The target equals that of the scheduler, for a network that returns zeros."""
    CliRunner().invoke(train_image.main, [str(config["image"]), str(tmp_path / "out"), "--seconds=0", "--device=cpu"])
    backbone = load_backbone("sd21", tmp_path / "out" / "weights", device=CPU, dtype=torch.float32)
    seen: list[dict[str, torch.Tensor]] = []

    class Zeros(torch.nn.Module):
        def forward(self, sample: torch.Tensor, **rest: torch.Tensor) -> tuple[torch.Tensor]:
            seen.append({"sample": sample, **rest})
            return (torch.zeros_like(sample),)

    backbone.network = Zeros()
    objective = Objective(
        backbone=backbone,  # type: ignore[arg-type]
        scenes=Scenes({}, seed=0, frames=1),
        batch=2,
        timesteps=[(100, 100, 0.5), (900, 999, 0.5)],
        seed=3,
        condition=lambda _clip, _rng: {},
        channel_weights=[1.0, 1.0, 1.0, 0.25],
        bfloat16=False,
    )
    frames = torch.randint(0, 256, (40, 2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batch = objective.losses(frames, np.random.default_rng(5))
    taus = batch.timesteps
    assert len(taus) == 80  # every frame is a sample
    assert 20 < (taus == 100).sum() < 60
    assert ((taus == 100) | (taus >= 900)).all()
    scheduler = diffusers.DDIMScheduler.from_pretrained(tmp_path / "out" / "weights" / "scheduler")
    clean = torch.stack([backbone.encode(frame[None].float() / 127.5 - 1)[0] for frame in frames.flatten(0, 1)])
    abar = scheduler.alphas_cumprod[taus][:, None, None, None]
    noise = (seen[0]["sample"] - abar.sqrt() * clean) / (1 - abar).sqrt()
    assert noise.std() == pytest.approx(1, abs=0.02)
    expected = scheduler.get_velocity(clean, noise, taus)
    weighted = (expected[:, :3] ** 2).sum((1, 2, 3)) + 0.25 * (expected[:, 3] ** 2).sum((1, 2))
    torch.testing.assert_close(batch.losses, weighted / expected[0].numel(), rtol=1e-4, atol=1e-5)


def test_captions_name_the_scene(tmp_path: Path) -> None:
    words = write_tokenizer(tmp_path, WORDS)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer) == words
    for word in WORDS:
        assert len(tokenizer(word).input_ids) == 3  # between start and end
    choices = {"size": [32, 32], "radius": [3.0, 4.0], "identical": [False], "hue_step": [180.0], "ground": ["plain"]}

    def captions(forms: tuple[float, float, float], unnamed: float = 0.0) -> list[str]:
        said: list[str] = []

        def tokenize(text: str) -> torch.Tensor:
            said.append(text)
            return torch.zeros(20)

        scenes = CaptionedScenes(choices, seed=1, frames=2, tokenize=tokenize, forms=forms, unnamed=unnamed)
        for number in range(3):
            item = scenes[number]
            assert torch.equal(item.frames, Scenes(choices, seed=1, frames=2)[number])
            spoken = said[-1].split()
            owners = item.owners[1 : 1 + len(spoken)].tolist()
            objects = said[-1].partition(" on ")[0].split(" and ") if spoken else []
            names = list(dict.fromkeys(objects))
            assert (
                owners[: len(" and ".join(objects).split())]
                == [number for one in objects for number in [names.index(one) + 1] * len(one.split()) + [0]][:-1]
            )
            assert item.owners.count_nonzero() == sum(len(one.split()) for one in objects)
            assert item.masks.shape == (2, 2, 32, 32)
            for name, masks in zip(names, item.masks[0], strict=False):
                red, green, blue = (float(c[masks > 0].float().mean()) / 255 for c in item.frames[0])
                hue = 360 * colorsys.rgb_to_hsv(red, green, blue)[0]
                for colour in set(name.split()) & set(HUES):
                    assert abs((hue - HUES[colour] + 180) % 360 - 180) < 45
        return said

    assert captions((1, 0, 0)) == [""] * 3
    whole, alone, objects = captions((0, 0, 0)), captions((0, 1, 0)), captions((0, 0, 1))
    for full, one, bare in zip(whole, alone, objects, strict=True):
        assert full == f"{bare} on plain ground"
        assert one in bare.split(" and ")
    assert captions((0, 0, 1), unnamed=1.0) == ["ball and ball"] * 3


def test_cross_attention_to_names_is_held_against_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_small("sd21", tmp_path / "small", standins=True)
    backbone = load_backbone("sd21", folder, device=CPU, dtype=torch.float32)
    states = torch.rand(9, 32)
    seen: list[torch.Tensor] = []

    def network(**rest: Any) -> tuple[torch.Tensor]:
        seen.append(rest["encoder_hidden_states"])
        return (torch.zeros_like(rest["sample"]),)

    attention = torch.rand(4, 3, 4, 4).softmax(-1)  # two frames of two clips, 3 heads, 2x2 cells, 4 tokens

    def read(forward: Any, layers: Any, *, stop_early: bool) -> dict[str, torch.Tensor]:
        forward()
        return {"layer": attention}

    monkeypatch.setattr("training.objective.read_attention", read)
    monkeypatch.setattr("training.objective.attention_layers", lambda _backbone, cross: {})
    backbone.network = network  # type: ignore[assignment]
    objective = Objective(
        backbone=backbone,  # type: ignore[arg-type]
        scenes=Scenes({}, seed=0, frames=1),
        batch=2,
        timesteps=[(0, 999, 1.0)],
        seed=3,
        condition=lambda _clip, _rng: {},
        channel_weights=[1.0] * 4,
        bfloat16=False,
        text=lambda ids: states[ids],
        grounding=0.5,
    )
    ids = torch.tensor([[0, 1, 2, 3], [5, 6, 7, 8]])
    owners = torch.tensor([[0, 1, 1, 2], [0, 0, 1, 0]])  # the second clip has one name
    masks = (torch.rand(2, 2, 2, 32, 32) > 0.5).to(torch.uint8)
    clips = Captioned(frames=torch.zeros(2, 2, 3, 32, 32, dtype=torch.uint8), ids=ids, owners=owners, masks=masks)
    batch = objective.losses(clips, np.random.default_rng(0))
    assert torch.equal(seen[0], states[ids[[0, 0, 1, 1]]])
    expected = []
    for sample in range(4):
        clip, frame = divmod(sample, 2)
        for name in (1, 2) if clip == 0 else (1,):
            given = attention[sample].mean(0)[:, owners[clip] == name].sum(1)
            truth = masks[clip, frame, name - 1].reshape(2, 16, 2, 16).double().mean((1, 3)).flatten()
            expected.append(float(-(truth * given.log() + (1 - truth) * (1 - given).log()).mean()))
    assert float(batch.penalty) == pytest.approx(0.5 * np.mean(expected), rel=1e-5)


def test_attention_starts_as_similarity() -> None:
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=48,
    )
    start_as_similarity(unet)
    found = [module for module in unet.modules() if isinstance(module, Attention)]
    assert {layer.is_cross_attention for layer in found} == {True, False}
    for layer in found:
        for projection in (layer.to_q, layer.to_k):
            assert float((projection.weight.detach() ** 2).sum(1).mean()) == pytest.approx(1, rel=0.1)
        assert layer.is_cross_attention or torch.equal(layer.to_q.weight, layer.to_k.weight)


def test_faster_layers_compute_the_same(config: dict[str, Path], tmp_path: Path) -> None:
    CliRunner().invoke(train_video.main, [str(config["video"]), str(tmp_path / "out"), "--seconds=0", "--device=cpu"])
    slow = load_backbone("i2vgen-xl", tmp_path / "out" / "weights", device=CPU, dtype=torch.float32)
    fast = load_backbone("i2vgen-xl", tmp_path / "out" / "weights", device=CPU, dtype=torch.float32)
    for backbone in (slow, fast):
        generator = torch.Generator().manual_seed(0)
        for parameter in backbone.network.parameters():  # the last layers of temporal blocks begin at zero
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    hasten(fast.network, CPU)
    noisy = torch.randn(1, 16, 4, 8, 8)
    condition = slow.condition(torch.rand(16, 3, 64, 64), None, lambda shape: torch.zeros(tuple(shape)))
    outputs = [one.network(**one.network_arguments(noisy, 500, condition))[0] for one in (slow, fast)]
    assert outputs[0].std() > 0.01
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-4)
    shutil.rmtree(tmp_path / "out")
