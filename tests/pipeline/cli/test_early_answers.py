"""Wrong words, and what is missing, are answered before networks and arrays are loaded."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ted.extract.backbones import BACKBONES, load_backbone
from ted.extract.backbones.adm_config import PUBLISHED
from ted.extract.backbones.outlines import adm_taps, unet_taps, vit_taps
from ted.extract.small_models import make_small

from ..conftest import Cli

WRONG = {
    "extract nowhere.mp4": "nowhere.mp4 does not exist",
    "extract {davis} --videos ones": "nearest: one",
    "extract {davis} --preset davies": "did you mean davis",
    "extract {davis} --feature adm:1000:mid_block": "it has no timestep 1000; it takes 0 to 999",
    "extract {davis} --feature dinov2:5:last_hidden_state": "it takes 0 alone",
    "extract {davis} --feature i2vgen-xl:300:up_blocks[4]": "it has no tap 'up_blocks[4]'; it has: down_blocks[0],",
    "extract {davis} --frame-size 481": "frame size 481 is not a multiple of 32",
    "extract {davis} --store-as int9": "int9",
    "extract {davis}": "--include '*/*.json'",
    "propagate nowhere.mp4": "nowhere.mp4 does not exist",
    "propagate {davis} --preset davies": "did you mean davis",
    "propagate {davis} --cache nowhere": "there is no cache at nowhere; `ted extract` makes one",
    "sweep nowhere": "nowhere does not exist",
    "sweep {davis} --cache nowhere": "there is no cache at nowhere",
    "evaluate {davis} --results nowhere": "no results at nowhere",
    "show masks nowhere": "nowhere does not exist",
    "show pca {davis} --preset davies": "did you mean davis",
    "show arrows {davis} --cache nowhere": "there is no cache at nowhere",
}


def test_wrong_words_load_neither_torch_nor_zarr(davis_source: Path, tmp_path: Path) -> None:
    code = (
        "import contextlib, io, json, sys\nfrom ted.pipeline.cli import ted\nfrom ted.pipeline.cli.run import run\n"
        "told = []\n"
        "for line in json.loads(sys.argv[1]):\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.suppress(SystemExit):\n"
        "        run(ted, 'ted', line.split())\n"
        "    told.append([err.getvalue(), [name for name in ('torch', 'zarr') if name in sys.modules]])\n"
        "print(json.dumps(told))"
    )
    lines = [line.format(davis=davis_source) for line in WRONG]
    environment = {"HF_HOME": str(tmp_path), "TORCH_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(lines)],
        capture_output=True, text=True, check=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    for (line, message), (told, loaded) in zip(WRONG.items(), json.loads(done.stdout), strict=True):
        assert message in told, line
        assert loaded == [], line


def test_extraction_loads_libraries_of_networks_only_for_them() -> None:
    code = (
        "import sys, ted.pipeline.runs.extracting.running\n"
        "print([name for name in ('diffusers', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_all_missing_weights_are_named_with_their_downloads(
    cli: Cli, davis_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    result = cli("extract", davis_source, "--cache", tmp_path / "cache")
    assert result.code == 1
    for name in ("i2vgen-xl", "adm"):
        published = BACKBONES[name].published
        assert published is not None
        assert published.download in result.err
    assert "/hub/checkpoints" in result.err
    assert not (tmp_path / "cache").exists()


def test_a_dry_run_without_weights_knows_units_and_bytes(
    cli: Cli, davis_source: Path, weights: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    command = ("extract", davis_source, "--cache", tmp_path / "cache", "--dry-run", "--preset", "dift-adm")
    result = cli(*command, "--json")
    assert result.code == 0, result.err
    assert result.err.startswith("2 videos; features adm:51:output_blocks[7]\n")
    planned = json.loads(result.out)
    # 512 channels of float16 on a grid of stride 8; frames of 96x128 become 480x640.
    assert [row["bytes"] for row in planned["units"]] == [frames * 60 * 80 * 512 * 2 for frames in (4, 5)]
    assert (planned["seconds"], planned["missing_weights"]) == (None, ["adm"])
    shown = cli(*command).out
    assert "time and memory unknown without weights" in shown
    assert "curl --create-dirs" in shown
    inside = cli(*command[:-2], "--feature", "sd21:101:up_blocks[3].attentions[0].attn1:qk")
    assert (inside.code, "? MB" in inside.out) == (0, True)
    # A part of the weights: the rest is measured.
    mixed = json.loads(cli(*command[:-2], "--frame-size", 64, weights[1], "--json").out)
    assert [row["seconds"] is None for row in mixed["units"]] == [True, True, False, False]
    assert not (tmp_path / "cache").exists()


def test_a_shard_needs_only_its_own_weights(
    cli: Cli, davis_source: Path, weights: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    features = ("--feature", "adm:51:output_blocks[7]", "--feature", "i2vgen-xl:300:up_blocks[2]")
    command = ("extract", davis_source, "--cache", tmp_path / "cache", "--frame-size", 64, *features, weights[0])
    assert cli(*command, "--shard", "1/4").code == 0
    assert cli(*command, "--shard", "4/4").code == 1


@pytest.mark.parametrize("name", ["i2vgen-xl", "svd", "sd21", "adm", "dinov2", "dinov3"])
def test_outlines_are_those_of_the_networks(tmp_path: Path, name: str) -> None:
    """Small models have the levels of the published ones: taps, strides, multiples and timesteps must be equal."""
    folder = make_small(name, tmp_path / "small", standins=name not in ("adm", "dinov2", "dinov3"))
    backbone = load_backbone(name, folder, device=torch.device("cpu"), dtype=torch.float32)
    outline = BACKBONES[name].outline
    assert outline is not None
    published = {tap: stride for tap, (_, stride) in outline.taps.items() if not tap.startswith("layers")}
    there = {tap: found.stride for tap, found in backbone.taps.items() if "." not in tap and "layers" not in tap}
    assert there == published
    assert backbone.frame_multiple == outline.frame_multiple
    assert (len(backbone.schedule) if backbone.takes_noise else 1) == outline.timesteps


def test_outlines_have_the_published_widths() -> None:
    adm = BACKBONES["adm"].outline
    assert adm is not None
    assert adm.taps == adm_taps(PUBLISHED.widths, PUBLISHED.num_res_blocks)
    assert adm.taps["output_blocks[7]"] == (512, 8)
    # diffusers' UNet3D of I2VGen-XL and UNet2D of Stable Diffusion have these widths by default.
    from diffusers import I2VGenXLUNet, UNet2DConditionModel

    for kind in (I2VGenXLUNet, UNet2DConditionModel):
        import inspect

        widths = inspect.signature(kind.__init__).parameters["block_out_channels"].default
        assert unet_taps(widths) == BACKBONES["i2vgen-xl"].outline.taps  # type: ignore[union-attr]
    assert vit_taps(14)["last_hidden_state"] == (768, 14)
