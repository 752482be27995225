"""Run the example of docs/guide/adding-a-backbone.md."""

import dataclasses
import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from ted.extract.backbones import backbone_info, load_backbone, register_backbone, registry
from ted.extract.frames import FrameSize, to_pixels
from ted.extract.plan import plan_video
from ted.extract.random_weights import draw_parameters
from ted.extract.settings import ExtractionSettings
from ted.extract.worker import extract_video
from ted.store import Unit, open_cache
from ted.store.errors import ConfigError
from tests.extract.conftest import random_frames

CPU = torch.device("cpu")
PAGE = (Path(__file__).parents[3] / "docs" / "guide" / "adding-a-backbone.md").read_text()
NAME = "dinov2-registers"
TAPS = ["layers[0]", "layers[1]", "last_hidden_state"]


def code_block(language: str) -> str:
    code, *_ = re.findall(rf"^ *```{language}\n(.*?)^ *```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(code)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Make the page's file importable; remove its registrations afterwards."""
    before = dict(registry._REGISTRY)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "dinov2_registers.py").write_text(code_block("python"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield "dinov2_registers"
    for name in registry._REGISTRY.keys() - before.keys():
        del registry._REGISTRY[name]
    sys.modules.pop("dinov2_registers", None)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registers")
    config = Dinov2WithRegistersConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=70, patch_size=14, num_register_tokens=4
    )
    model: Any = Dinov2WithRegistersModel(config)
    draw_parameters(model, torch.Generator().manual_seed(0))
    model.save_pretrained(folder)
    colours = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    (folder / "preprocessor_config.json").write_text(json.dumps(colours))
    return folder


def test_features_in_the_cache_are_the_librarys(module: str, weights: Path, tmp_path: Path) -> None:
    importlib.import_module(module)
    backbone = load_backbone(NAME, weights, device=CPU, dtype=torch.float32)
    source, cache = random_frames(3, size=(60, 90)), open_cache(tmp_path / "cache", create=True)
    settings = ExtractionSettings(frame_size=FrameSize(short_side=56), ensemble=4)
    plan = plan_video(backbone, source, dataset="d", video="v", timesteps=[0], taps=TAPS, settings=settings)
    assert plan.request.frame_size == (56, 84)
    extract_video(cache, backbone, source, plan)

    frames = np.stack([to_pixels(frame, (56, 84)) for frame in source.frames]) / 2 + 0.5
    mean, std = (np.array(values)[:, None, None] for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    model: Any = Dinov2WithRegistersModel.from_pretrained(weights).eval()
    with torch.no_grad():
        outputs = model(torch.from_numpy((frames - mean) / std).float(), output_hidden_states=True)
    expected = dict(zip(TAPS, (*outputs.hidden_states[1:], outputs.last_hidden_state), strict=True))
    for (_, tap), spec in plan.specs.items():
        found = Unit(spec.folder(cache.root)).features.compute().astype(np.float32)
        assert found.shape == (3, 4, 6, 32)
        tokens = expected[tap].numpy()[:, 5:]  # after one class token and four registers
        for y in range(4):
            for x in range(6):
                np.testing.assert_allclose(found[:, y, x], tokens[:, 6 * y + x], rtol=2e-3, atol=2e-3)  # float16


def test_it_can_be_untrained(module: str, weights: Path) -> None:
    importlib.import_module(module)
    one, two = (load_backbone(NAME, f"random:{seed}:{weights}", device=CPU, dtype=torch.float32) for seed in (1, 2))
    assert one.weights_id.startswith("random:1:sha256:")
    assert one.weights_id != two.weights_id


def test_an_installed_package_offers_it(module: str, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown backbone 'dinov2-registers'"):
        backbone_info(NAME)
    toml = code_block("toml").strip().splitlines()
    assert toml[0].strip() == '[project.entry-points."ted.backbones"]'
    installed = tmp_path / "site" / "example-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n")
    offer = toml[1].replace('"', "").strip()
    (installed / "entry_points.txt").write_text(f"[ted.backbones]\n{offer}\nbroken = json:dumps\n")
    assert backbone_info(NAME).title == "DINOv2 with registers, ViT-B/14"
    assert load_backbone(NAME, weights, device=CPU, dtype=torch.float32).name == NAME
    with pytest.raises(ConfigError, match=r"'broken' \(json:dumps\) is no BackboneInfo"):
        backbone_info("broken")


def test_a_name_is_given_once(module: str) -> None:
    importlib.import_module(module)
    info = backbone_info(NAME)
    register_backbone(NAME, info)
    with pytest.raises(ConfigError, match="there is a backbone 'adm' already"):
        register_backbone("adm", info)
    register_backbone("other", dataclasses.replace(info, random=False))
    with pytest.raises(ConfigError, match="cannot have random weights"):
        load_backbone("other", "random:0", device=CPU, dtype=torch.float32)


def test_the_example_is_short() -> None:
    lines = [line for line in code_block("python").splitlines() if line.strip()]
    assert len(lines) < 65
