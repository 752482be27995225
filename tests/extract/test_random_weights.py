"""Untrained networks of a published configuration, as a control."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ted.extract.backbones import BACKBONES, load_backbone
from ted.extract.backbones.adm_config import PUBLISHED, AdmConfig
from ted.extract.backbones.base import Backbone
from ted.extract.random_weights import draw_tensor
from ted.extract.weights import split_random
from ted.store.errors import ConfigError, WeightsError
from tests.extract.adm_files import TINY, write
from tests.extract.small_folders import SmallFolders, make_clip
from tests.extract.test_weights import hub_cache, put_into_cache  # noqa: F401

CPU = torch.device("cpu")
NAMES = ["i2vgen-xl", "svd", "sd21", "adm", "dinov2", "dinov3"]
#: The file with the weights of the network whose features are read.
NETWORK = {"adm": "model.pt", "dinov2": "model.safetensors", "dinov3": "model.safetensors"}
UNET = "unet/diffusion_pytorch_model.safetensors"


def load(name: str, weights: Path | str | None) -> Backbone:
    return load_backbone(name, weights, device=CPU, dtype=torch.float32)


def features(backbone: Backbone) -> torch.Tensor:
    side = 2 * backbone.frame_multiple
    clip = make_clip(min(backbone.clip_length, 2), side, side)
    condition = backbone.condition(clip, clip[:1], lambda shape: torch.zeros(tuple(shape)))
    tap = BACKBONES[backbone.name].default_tap
    return backbone.features(backbone.encode(clip)[None], 0, condition, [tap])[tap]


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_a_function_of_the_seed_and_need_no_file_of_them(
    name: str, small_folder: SmallFolders, tmp_path: Path
) -> None:
    whole = small_folder(name, standins=name in ("i2vgen-xl", "svd", "sd21"))
    folder = shutil.copytree(whole, tmp_path / "copy")
    (folder / NETWORK.get(name, UNET)).unlink()
    state = torch.random.get_rng_state()
    one, again, other = (load(name, f"random:{seed}:{folder}") for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    trained = load(name, whole)

    assert one.weights_id == again.weights_id == load(name, f"random:1:{whole}").weights_id
    assert one.weights_id.startswith("random:1:sha256:")
    assert other.weights_id == one.weights_id.replace("random:1", "random:2")
    assert trained.weights_id.startswith("sha256:")

    found = features(one)
    assert torch.equal(features(again), found)
    assert 0.1 < found.std() < 30
    for different in (other, trained):
        assert (features(different) - found).norm() / found.norm() > 0.1
    assert one.conditioning == trained.conditioning

    shapes = {name: parameter.shape for name, parameter in trained.network.named_parameters()}
    assert {name: parameter.shape for name, parameter in one.network.named_parameters()} == shapes
    for parameter_name, parameter in one.network.named_parameters():
        assert parameter.count_nonzero() > 0.999 * parameter.numel(), parameter_name
        assert not parameter.requires_grad


@pytest.mark.parametrize("name", ["i2vgen-xl", "svd", "sd21"])
def test_vae_and_encoders_are_those_of_the_folder(name: str, small_folder: SmallFolders) -> None:
    folder = small_folder(name)
    trained, control = load(name, folder), load(name, f"random:3:{folder}")
    clip = make_clip(2, 64, 64)
    assert torch.equal(control.encode(clip), trained.encode(clip))
    conditions = [
        backbone.condition(clip, clip[:1], lambda shape: torch.ones(tuple(shape))) for backbone in (trained, control)
    ]
    assert all(torch.equal(conditions[0][key], conditions[1][key]) for key in conditions[0])
    if name != "svd":
        assert torch.equal(control.text_states, trained.text_states)  # type: ignore[attr-defined]
    assert torch.equal(
        control.schedule.perturb(trained.encode(clip), torch.ones(2, 4, 8, 8), 300),
        trained.schedule.perturb(trained.encode(clip), torch.ones(2, 4, 8, 8), 300),
    )


def test_identity_covers_the_other_parts_and_the_configuration(small_folder: SmallFolders, tmp_path: Path) -> None:
    folder = shutil.copytree(small_folder("sd21"), tmp_path / "copy")
    before = load("sd21", f"random:1:{folder}").weights_id
    vae = folder / "vae" / "diffusion_pytorch_model.safetensors"
    content = bytearray(vae.read_bytes())
    content[-1] ^= 1
    vae.write_bytes(content)
    after = load("sd21", f"random:1:{folder}").weights_id
    assert after != before
    config = folder / "unet" / "config.json"
    config.write_text(config.read_text() + "\n")
    assert load("sd21", f"random:1:{folder}").weights_id not in (before, after)


def test_without_a_path_the_other_parts_are_the_published_ones(
    hub_cache: Path,  # noqa: F811
    small_folder: SmallFolders,
) -> None:
    with pytest.raises(WeightsError, match="no weights for backbone 'sd21'"):
        load("sd21", "random:0")
    snapshot = put_into_cache(hub_cache, BACKBONES["sd21"].published.name, small_folder("sd21"))
    (snapshot / UNET).unlink()
    control = load("sd21", "random:0")
    assert control.weights_id == load("sd21", f"random:0:{small_folder('sd21')}").weights_id
    expected = load_file(snapshot / "vae" / "diffusion_pytorch_model.safetensors")
    vae = control.frame_encoder._vae.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(vae[key], expected[key]) for key in vae)
    put_into_cache(hub_cache, BACKBONES["dinov2"].published.name, small_folder("dinov2"))
    assert load("dinov2", "random:0").weights_id == load("dinov2", f"random:0:{small_folder('dinov2')}").weights_id
    assert load("dinov2", None).weights_id == load("dinov2", small_folder("dinov2")).weights_id


def test_adm_needs_no_file_at_all(
    hub_cache: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from ted.extract.backbones import adm

    built: list[AdmConfig] = []

    def build_a_tiny_one(config: AdmConfig) -> torch.nn.Module:
        built.append(config)
        return build_unet(TINY)

    build_unet = adm.build_unet
    monkeypatch.setattr(adm, "build_unet", build_a_tiny_one)
    published = load("adm", "random:0")
    assert built == [PUBLISHED]
    assert published.frame_multiple == 32
    monkeypatch.undo()

    folder = write(tmp_path / "tiny", {})  # whose checkpoint is empty
    tiny = load("adm", f"random:0:{folder}")
    assert tiny.frame_multiple == TINY.frame_multiple
    assert tiny.weights_id == load("adm", f"random:0:{folder / 'model.pt'}").weights_id != published.weights_id
    with pytest.raises(WeightsError, match="does not exist"):
        load("adm", f"random:0:{tmp_path / 'nowhere'}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, (None, None)),
        ("weights/adm.pt", (None, "weights/adm.pt")),
        (Path("random:7"), (None, Path("random:7"))),
        ("random:7", (7, None)),
        ("random:4294967295", (2**32 - 1, None)),
        ("random:7:ali-vilab/i2vgen-xl", (7, "ali-vilab/i2vgen-xl")),
        ("random:7:/a:b/c", (7, "/a:b/c")),
    ],
)
def test_notation(text: str | Path | None, expected: tuple[int | None, str | Path | None]) -> None:
    assert split_random(text) == expected


@pytest.mark.parametrize("text", ["random:", "random:x", "random:-1", "random:1.0", "random::p", "random:4294967296"])
def test_notation_without_a_seed(text: str) -> None:
    with pytest.raises(ConfigError, match="random:SEED"):
        split_random(text)


@pytest.mark.parametrize(
    ("name", "shape", "mean", "deviation"),
    [
        ("conv.weight", (64, 32, 3, 3), 0, 288**-0.5),
        ("linear.weight", (64, 100), 0, 0.1),
        ("norm.weight", (5000,), 1, 0.1),
        ("layer_scale1.lambda1", (5000,), 1, 0.1),
        ("norm.bias", (5000,), 0, 0.1),
        ("time_mixer.mix_factor", (5000,), 0, 0.1),
        ("embeddings.position_embeddings", (1, 50, 100), 0, 1),
        ("embeddings.cls_token", (1, 1, 5000), 0, 1),
    ],
)
def test_parameters_keep_the_size_of_what_passes(
    name: str, shape: tuple[int, ...], mean: float, deviation: float
) -> None:
    values = draw_tensor(name, shape, torch.Generator().manual_seed(0))
    assert values.shape == shape
    assert float(values.mean()) == pytest.approx(mean, abs=5 * deviation / values.numel() ** 0.5)
    assert float(values.std()) == pytest.approx(deviation, rel=0.1)
