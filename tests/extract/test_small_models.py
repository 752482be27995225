import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from ted.extract.backbones import BACKBONES, load_backbone
from ted.extract.frames import FrameSize
from ted.extract.small_models import MODELS, make_small
from ted.store.errors import ConfigError, TedError
from tests.extract.small_folders import SmallFolders, make_clip

CPU = torch.device("cpu")
TAP = "up_blocks[2]"
PARTS = {
    "i2vgen-xl": {"unet", "vae", "text_encoder", "tokenizer", "image_encoder", "feature_extractor", "scheduler"},
    "svd": {"unet", "vae", "image_encoder", "feature_extractor", "scheduler"},
    "sd21": {"unet", "vae", "text_encoder", "tokenizer", "scheduler"},
}
#: The layers through which frames of a clip depend on each other.
TEMPORAL = {
    "i2vgen-xl": {"TemporalConvLayer", "TransformerTemporalModel", "I2VGenXLTransformerTemporalEncoder"},
    "svd": {"TemporalResnetBlock", "TemporalBasicTransformerBlock"},
}


@pytest.mark.parametrize("name", PARTS)
def test_layout_is_that_of_the_published_models(name: str, small_folder: SmallFolders) -> None:
    folder = small_folder(name)
    assert {path.name for path in folder.iterdir()} == PARTS[name] | {"model_index.json"}
    index = json.loads((folder / "model_index.json").read_text())
    assert {part for part in index if not part.startswith("_")} == PARTS[name]

    bare = small_folder(name, standins=True)
    assert {path.name for path in bare.iterdir()} == {"unet", "scheduler", "model_index.json", "ted.json"}


@pytest.mark.parametrize("name", [*MODELS, "adm"])
@pytest.mark.parametrize("standins", [False, True])
def test_every_backbone_gives_features(name: str, standins: bool, small_folder: SmallFolders) -> None:
    backbone = load_backbone(name, small_folder(name, standins=standins), device=CPU, dtype=torch.float32)
    assert backbone.name == name
    assert (backbone.clip_length > 1) == (BACKBONES[name].kind == "video")
    tap = BACKBONES[name].default_tap
    wanted = (4 * backbone.frame_multiple,) * 2
    clip = make_clip(backbone.clip_length, *backbone.processed_size(wanted, FrameSize(exact=wanted)))
    condition = backbone.condition(clip, clip[:1], lambda shape: torch.zeros(tuple(shape)))
    timestep = min(51, len(backbone.schedule) - 1)
    features = backbone.features(backbone.encode(clip)[None], timestep, condition, [tap])[tap]
    assert features.shape[:2] == (1, backbone.clip_length)
    assert features.isfinite().all()
    assert 0.1 < features.std() < 30


@pytest.mark.parametrize("name", PARTS)
def test_weights_are_a_function_of_the_seed(name: str, small_folder: SmallFolders, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    again = make_small(name, tmp_path / "again", standins=True)
    other = make_small(name, tmp_path / "other", seed=1, standins=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    ids = [
        load_backbone(name, folder, device=CPU, dtype=torch.float32).weights_id
        for folder in (small_folder(name, standins=True), again, other)
    ]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("name", PARTS)
def test_no_parameter_is_left_constant(name: str, small_folder: SmallFolders) -> None:
    backbone = load_backbone(name, small_folder(name, standins=True), device=CPU, dtype=torch.float32)
    for parameter_name, parameter in backbone.network.named_parameters():
        assert parameter.count_nonzero() == parameter.numel(), parameter_name
        assert parameter.numel() == 1 or parameter.std() > 0, parameter_name


def skip_layer(_module: nn.Module, args: tuple[torch.Tensor, ...], output: object) -> object:
    """Return a layer's input as its output."""
    return (args[0],) if isinstance(output, tuple) else args[0]


@pytest.mark.parametrize("name", TEMPORAL)
def test_each_temporal_layer_before_the_tap_matters(name: str, small_folder: SmallFolders) -> None:
    backbone = load_backbone(name, small_folder(name, standins=True), device=CPU, dtype=torch.float32)
    clip = make_clip(4, 64, 64)
    condition = backbone.condition(clip, clip[:1], lambda shape: torch.zeros(tuple(shape)))
    noisy = torch.randn(1, 4, 4, 8, 8, generator=torch.Generator().manual_seed(0))  # four frames are enough

    def features() -> torch.Tensor:
        return backbone.features(noisy, 300, condition, [TAP])[TAP]

    before = features()
    layers = {
        path: module
        for path, module in backbone.network.named_modules()
        if type(module).__name__ in TEMPORAL[name] and not path.startswith("up_blocks.3")
    }
    assert len(layers) > 10
    for path, module in layers.items():
        change = _without(module, features) - before
        assert change.norm() / before.norm() > 1e-3, path


def _without(module: nn.Module, features: Callable[[], torch.Tensor]) -> torch.Tensor:
    handle = module.register_forward_hook(skip_layer, with_kwargs=False)
    try:
        return features()
    finally:
        handle.remove()


def test_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="unknown backbone 'sd3'; there are: i2vgen-xl, svd, sd21, adm, dinov2, dinov3, sam"
    ):
        make_small("sd3", tmp_path)


@pytest.mark.parametrize("name", ["adm", "sd21"])
def test_a_full_disk_is_an_error_and_leaves_nothing(name: str, small_disk: Path) -> None:
    folder = small_disk / "model"
    with pytest.raises(TedError, match=re.escape(f"cannot write {folder}")):
        make_small(name, folder)
    assert list(small_disk.iterdir()) == []
    assert make_small("dinov3", folder.parent.parent / "elsewhere").is_dir()


def test_only_an_empty_folder_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    with pytest.raises(ConfigError, match="not an empty folder"):
        make_small("dinov2", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note"]
