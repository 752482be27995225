import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPVisionModelWithProjection

from ted.extract.backbones import BACKBONES, check_weights, load_backbone
from ted.extract.backbones.base import Backbone
from ted.extract.weights import PublishedWeights, digest_files, find_weights
from ted.store.errors import ConfigError, WeightsError
from tests.extract.small_folders import SmallFolders, make_clip

CPU = torch.device("cpu")
LATENT = ["i2vgen-xl", "svd", "sd21"]
UNET = "unet/diffusion_pytorch_model.safetensors"


def load(name: str, weights: Path | str | None) -> Backbone:
    return load_backbone(name, weights, device=CPU, dtype=torch.float32)


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def copied(small_folder: SmallFolders, tmp_path: Path) -> Path:
    """A copy of a small Stable Diffusion's folder, for damaging."""
    return shutil.copytree(small_folder("sd21"), tmp_path / "copy")


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, on a machine without a network."""

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("nothing may be downloaded")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "hub"


def put_into_cache(cache: Path, repository: str, folder: Path) -> Path:
    """Store a folder in the layout of a download: a reference to a snapshot."""
    place = cache / f"models--{repository.replace('/', '--')}"
    snapshot = place / "snapshots" / ("0" * 40)
    shutil.copytree(folder, snapshot)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0" * 40)
    return snapshot


def published_weights(name: str) -> PublishedWeights:
    published = BACKBONES[name].published
    assert published is not None
    return published


@pytest.mark.parametrize("variable", ["TORCH_HOME", "XDG_CACHE_HOME", "HOME"])
def test_the_download_of_a_file_goes_where_it_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    published = published_weights("adm")
    words = published.download.replace("curl", "printf '%s\\n'", 1)  # the shell replaces variables
    printed = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=True).stdout.splitlines()
    file = Path(printed[printed.index("--output-dir") + 1]) / published.name
    assert file.is_relative_to(tmp_path)
    assert printed[-1].endswith(f"/{published.name}")
    file.parent.mkdir(parents=True)
    file.touch()
    assert find_weights("adm", published, None) == file


def test_backbones_are_listed_without_heavy_imports() -> None:
    code = (
        "import sys, ted.extract.backbones as b\n"
        "print(*b.BACKBONES)\n"
        "print(*[name for name in ('torch', 'diffusers', 'transformers', 'huggingface_hub') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert result.stdout.split("\n") == [
        "i2vgen-xl svd sd21 adm dinov2 dinov3 sam demo-video demo-image demo-text rgb position",
        "",
        "",
    ]
    assert {name: info.kind for name, info in BACKBONES.items()} == {
        "i2vgen-xl": "video",
        "svd": "video",
        "sd21": "image",
        "adm": "image",
        "dinov2": "image",
        "dinov3": "image",
        "sam": "image",
        "demo-video": "video",
        "demo-image": "image",
        "demo-text": "image",
        "rgb": "image",
        "position": "image",
    }


def test_unknown_backbone_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'i2vgen-xl'"):
        load("i2vgenxl", tmp_path)


@pytest.mark.parametrize("name", [*LATENT, "adm"])
def test_absent_weights_name_the_download_its_size_and_its_licence(name: str, hub_cache: Path) -> None:
    published = published_weights(name)
    with pytest.raises(WeightsError) as caught:
        load(name, None)
    for fact in (published.name, published.size, published.licence, published.download, "GB"):
        assert fact in str(caught.value)


@pytest.mark.parametrize("name", LATENT)
def test_published_weights_are_found_in_the_hubs_cache(name: str, hub_cache: Path, small_folder: SmallFolders) -> None:
    published = published_weights(name)
    snapshot = put_into_cache(hub_cache, published.name, small_folder(name))
    put_into_cache(hub_cache, "somebody/else", small_folder(name))
    assert find_weights(name, published, None) == snapshot
    assert find_weights(name, published, published.name) == snapshot
    assert find_weights(name, published, "somebody/else") != snapshot
    with pytest.raises(WeightsError, match="no model in the hub's cache"):
        find_weights(name, published, "somebody/unknown")
    assert load(name, None).weights_id == load(name, small_folder(name)).weights_id


def test_published_file_is_found_in_torchs_cache(hub_cache: Path, tmp_path: Path) -> None:
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    file = checkpoints / "256x256_diffusion_uncond.pt"
    file.write_bytes(b"")
    assert find_weights("adm", published_weights("adm"), None) == file


@pytest.mark.parametrize("name", [*LATENT, "adm"])
def test_missing_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist") as caught:
        load(name, tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(caught.value)
    assert published_weights(name).name in str(caught.value)


@pytest.mark.parametrize("name", LATENT)
def test_file_instead_of_a_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"")
    with pytest.raises(WeightsError, match="not a folder"):
        load(name, tmp_path / "model.ckpt")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *[("i2vgen-xl", part) for part in ("unet", "text_encoder", "tokenizer", "image_encoder", "feature_extractor")],
        *[("svd", part) for part in ("unet", "vae", "image_encoder", "feature_extractor", "scheduler")],
        *[("sd21", part) for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")],
    ],
)
def test_undeclared_absence_names_the_part(name: str, part: str, small_folder: SmallFolders, tmp_path: Path) -> None:
    folder = shutil.copytree(small_folder(name), tmp_path / "copy")
    shutil.rmtree(folder / part)
    with pytest.raises(WeightsError, match=f"no folder {part} in") as caught:
        load(name, folder)
    assert published_weights(name).licence in str(caught.value)


def test_missing_weight_file(copied: Path) -> None:
    (copied / UNET).unlink()
    with pytest.raises(WeightsError, match=r"no unet/diffusion_pytorch_model\.safetensors in"):
        load("sd21", copied)


@pytest.mark.parametrize("file", [UNET, "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"])
def test_truncated_weights(file: str, copied: Path) -> None:
    content = (copied / file).read_bytes()
    (copied / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match="cannot load") as caught:
        load("sd21", copied)
    assert str(copied / file) in str(caught.value)


class _Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
@pytest.mark.parametrize("disguised", [False, True])
def test_pickles_do_not_run(part: str, disguised: bool, copied: Path, tmp_path: Path) -> None:
    tensors = next((copied / part).glob("*.safetensors"))
    target = (
        tensors if disguised else copied / part / {"unet": "diffusion_pytorch_model.bin"}.get(part, "pytorch_model.bin")
    )
    tensors.unlink()
    target.write_bytes(pickle.dumps(_Payload(tmp_path / "ran")))
    with pytest.raises(WeightsError, match="cannot load"):
        load("sd21", copied)
    torch.save({"weight": _Payload(tmp_path / "ran")}, target)
    with pytest.raises(WeightsError, match="cannot load"):
        load("sd21", copied)
    assert not (tmp_path / "ran").exists()


def test_missing_tensor(copied: Path) -> None:
    tensors = load_file(copied / UNET)
    del tensors["conv_in.weight"]
    save_file(tensors, copied / UNET)
    with pytest.raises(WeightsError, match=r"lacks 1 of the tensors.*conv_in\.weight"):
        load("sd21", copied)


def test_tensor_of_another_shape(copied: Path) -> None:
    tensors = load_file(copied / UNET)
    tensors["conv_in.weight"] = torch.zeros(3, 4, 3, 3)
    save_file(tensors, copied / UNET)
    with pytest.raises(WeightsError, match=r"cannot load.*conv_in\.weight"):
        load("sd21", copied)


def test_another_models_folder(small_folder: SmallFolders, copied: Path) -> None:
    with pytest.raises(WeightsError, match=r"no folder image_encoder, no folder feature_extractor in .* 'svd' needs"):
        load("svd", copied)
    for part in ("image_encoder", "feature_extractor"):
        shutil.copytree(small_folder("svd") / part, copied / part)
    with pytest.raises(WeightsError, match="is of class UNet2DConditionModel; backbone 'svd' needs"):
        load("svd", copied)


def test_configuration_that_is_not_json(copied: Path) -> None:
    (copied / "scheduler" / "scheduler_config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"scheduler_config\.json is not JSON"):
        load("sd21", copied)


def test_noise_schedule_that_makes_no_sense(copied: Path) -> None:
    edit_json(copied / "scheduler" / "scheduler_config.json", beta_schedule="cubic")
    with pytest.raises(WeightsError, match=r"cannot make a noise schedule.*cubic"):
        load("sd21", copied)


@pytest.mark.parametrize(
    ("part", "cls", "changes", "message"),
    [
        ("vae", AutoencoderKL, {"latent_channels": 8}, "the VAE has 8 latent channels, but the UNet takes 4"),
        ("text_encoder", CLIPTextModel, {"hidden_size": 16}, "text states have 16 channels, but the UNet takes 32"),
        (
            "image_encoder",
            CLIPVisionModelWithProjection,
            {"projection_dim": 16},
            "image embeddings have 16 channels, but the UNet takes 32",
        ),
    ],
)
def test_parts_that_do_not_fit_the_unet(
    part: str, cls: Any, changes: dict[str, int], message: str, small_folder: SmallFolders, tmp_path: Path
) -> None:
    folder = shutil.copytree(small_folder("i2vgen-xl"), tmp_path / "copy")
    edit_json(folder / part / "config.json", **changes)
    if part == "vae":
        other = cls.from_config(cls.load_config(folder / part))
    else:
        other = cls(cls.config_class.from_pretrained(folder / part))
    other.save_pretrained(folder / part)
    with pytest.raises(WeightsError, match=message):
        load("i2vgen-xl", folder)


@pytest.mark.parametrize("settings", [{"image_mean": None}, {"image_std": [1.0]}, {"crop_size": {"width": 224}}])
def test_image_preprocessing_that_makes_no_sense(
    settings: dict[str, object], small_folder: SmallFolders, tmp_path: Path
) -> None:
    folder = shutil.copytree(small_folder("svd"), tmp_path / "copy")
    edit_json(folder / "feature_extractor" / "preprocessor_config.json", **settings)
    with pytest.raises(WeightsError, match=r"preprocessor_config\.json"):
        load("svd", folder)


def test_weights_id_is_of_the_files_that_are_read(copied: Path, small_folder: SmallFolders) -> None:
    original = load("sd21", small_folder("sd21")).weights_id
    assert original.startswith("sha256:")
    assert len(original) == 71
    (copied / "README.md").write_text("unrelated")
    torch.save({}, copied / "unet" / "diffusion_pytorch_model.bin")
    assert load("sd21", copied).weights_id == original

    for file in (UNET, "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        tensors = load_file(copied / file)
        name = next(iter(tensors))
        tensors[name].view(-1)[0] += 1
        before = (copied / file).read_bytes()
        save_file(tensors, copied / file, metadata={"format": "pt"})
        assert load("sd21", copied).weights_id != original, file
        (copied / file).write_bytes(before)
    assert load("sd21", copied).weights_id == original
    edit_json(copied / "scheduler" / "scheduler_config.json", beta_end=0.013)
    assert load("sd21", copied).weights_id != original


def test_digest_covers_names_and_contents_but_no_paths(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a").write_bytes(b"A")
        (tmp_path / folder / "b").write_bytes(b"B")
    one, two = ({name: tmp_path / folder / name for name in "ab"} for folder in ("one", "two"))
    assert digest_files(one) == digest_files(two) == digest_files(dict(reversed(one.items())))
    assert digest_files({"a": one["b"], "b": one["a"]}) != digest_files(one)
    assert digest_files({"a": one["a"]}) != digest_files(one)
    assert digest_files({"a": one["a"], "c": one["b"]}) != digest_files(one)


def features(backbone: Backbone) -> torch.Tensor:
    frames = make_clip(1, 64, 64)
    noisy = backbone.encode(frames)[None]
    return backbone.features(noisy, 51, {}, ["up_blocks[2]"])["up_blocks[2]"]


def test_half_precision_files_and_pickled_tensors_are_read_when_there_is_nothing_better(
    copied: Path, small_folder: SmallFolders
) -> None:
    expected = features(load("sd21", small_folder("sd21")))
    for part, stem in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        tensors = load_file(copied / part / f"{stem}.safetensors")
        half = {name: tensor.half() for name, tensor in tensors.items()}
        save_file(half, copied / part / f"{stem}.fp16.safetensors", metadata={"format": "pt"})
        pickled = "pytorch_model.bin" if stem == "model" else f"{stem}.bin"
        torch.save(tensors, copied / part / pickled)
    assert torch.equal(features(load("sd21", copied)), expected)
    for part in ("unet", "text_encoder"):
        next(path for path in (copied / part).glob("*.safetensors") if "fp16" not in path.name).unlink()
    half_features = features(load("sd21", copied))
    assert 0 < (half_features - expected).norm() / expected.norm() < 1e-2
    for part in ("unet", "text_encoder"):
        next((copied / part).glob("*.fp16.safetensors")).unlink()
    assert torch.equal(features(load("sd21", copied)), expected)


def test_text_encoder_with_the_names_of_published_checkpoints(copied: Path, small_folder: SmallFolders) -> None:
    file = copied / "text_encoder" / "model.safetensors"
    tensors = load_file(file)
    renamed = {name if name.startswith("text_model.") else f"text_model.{name}": t for name, t in tensors.items()}
    renamed["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(renamed, file, metadata={"format": "pt"})
    assert torch.equal(features(load("sd21", copied)), features(load("sd21", small_folder("sd21"))))


def test_vae_with_the_names_of_published_checkpoints(copied: Path, small_folder: SmallFolders) -> None:
    file = copied / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(file)
    renamed = {}
    for name, tensor in tensors.items():
        for new_name, old_name in old.items():
            name = name.replace(f"attentions.0.{new_name}.", f"attentions.0.{old_name}.")
        renamed[name] = tensor
    assert renamed.keys() != tensors.keys()
    save_file(renamed, file, metadata={"format": "pt"})
    assert torch.equal(features(load("sd21", copied)), features(load("sd21", small_folder("sd21"))))


def test_sharded_weights_are_loaded_and_identified_by_all_shards(copied: Path, small_folder: SmallFolders) -> None:
    expected = features(load("sd21", small_folder("sd21")))
    for part, stem in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        tensors = load_file(copied / part / f"{stem}.safetensors")
        (copied / part / f"{stem}.safetensors").unlink()
        shards = [dict(list(tensors.items())[i::2]) for i in range(2)]
        names = [f"{stem}-{i + 1:05d}-of-00002.safetensors" for i in range(2)]
        for name, shard in zip(names, shards, strict=True):
            save_file(shard, copied / part / name, metadata={"format": "pt"})
        weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
        (copied / part / f"{stem}.safetensors.index.json").write_text(json.dumps(index))
    sharded = load("sd21", copied)
    assert torch.equal(features(sharded), expected)
    last = copied / "unet" / "diffusion_pytorch_model-00002-of-00002.safetensors"
    tensors = load_file(last)
    next(iter(tensors.values())).view(-1)[0] += 1
    save_file(tensors, last, metadata={"format": "pt"})
    assert load("sd21", copied).weights_id != sharded.weights_id
    last.unlink()
    with pytest.raises(WeightsError, match=r"unet lacks 1 of 2 shards: diffusion_pytorch_model-00002-of-00002"):
        load("sd21", copied)


@pytest.mark.parametrize("index", ["{", '{"weight_map": 3}', '{"weight_map": {"a": "../b"}}', "[" * 100_000])
def test_an_index_of_shards_that_makes_no_sense(index: str, copied: Path) -> None:
    (copied / UNET).unlink()
    (copied / f"{UNET}.index.json").write_text(index)
    with pytest.raises(WeightsError, match=r"is no index of weights|names shards outside"):
        load("sd21", copied)


def test_everything_that_is_missing_is_named_before_anything_is_loaded(
    copied: Path, small_folder: SmallFolders, hub_cache: Path, tmp_path: Path
) -> None:
    check_weights({"sd21": copied, "rgb": None, "demo-image": None, "adm": "random:0"})
    (copied / UNET).unlink()
    shutil.rmtree(copied / "vae")
    (copied / "scheduler" / "scheduler_config.json").unlink()
    (tmp_path / "none").mkdir()
    with pytest.raises(WeightsError) as caught:
        check_weights({"sd21": copied, "svd": None, "adm": tmp_path / "none", "dinov2": tmp_path / "absent"})
    lines = str(caught.value)
    assert (
        f"no unet/diffusion_pytorch_model.safetensors, no folder vae, no scheduler/scheduler_config.json in {copied}"
        in lines
    )
    for fact in ("no weights for backbone 'svd'", "no .pt file in", f"{tmp_path / 'absent'}: it does not exist"):
        assert fact in lines
    check_weights({"sd21": f"random:0:{small_folder('sd21', standins=True)}"})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("seed", ["", "random:0:"])
def test_loading_is_silent_and_leaves_the_libraries_as_they_were(
    small_folder: SmallFolders, capfd: pytest.CaptureFixture[str], dtype: torch.dtype, seed: str
) -> None:
    import diffusers
    import transformers

    logs = (diffusers.utils.logging, transformers.utils.logging)
    folder = small_folder("i2vgen-xl")
    before = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    capfd.readouterr()
    for name, weights in (("i2vgen-xl", f"{seed}{folder}"), ("adm", f"{seed}{small_folder('adm')}")):
        load_backbone(name, weights, device=torch.device("cpu"), dtype=dtype)
    assert capfd.readouterr() == ("", "")
    assert [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs] == before
