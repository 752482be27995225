"""The commands with attention: extract by inversion, convert, propagate, sweep and draw."""

import csv
import json
import shlex
from pathlib import Path

import cv2
import numpy as np
import torch
import zarr

from ted.propagate import AttentionKernel, PropagationSettings, propagate
from ted.store import FeatureChoice, Unit, open_cache
from tests.console import next_commands

from ..conftest import Cli

LAYERS = [f"up_blocks[1].attentions[{i}].attn1:qk" for i in range(2)]
TIMESTEP, HEADS = 101, 8


def unit(cache: Path, tap: str) -> Unit:
    return open_cache(cache).find("davis", "one", FeatureChoice(backbone="demo-image", timestep=TIMESTEP, tap=tap))


def test_from_frames_to_pictures(cli: Cli, davis_source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    def ted(name: str, *options: object, sources: tuple[object, ...] = (davis_source, "--videos", "one")) -> str:
        done = cli(*name.split(), *sources, "--cache", cache, *options)
        assert done.code == 0, done.err
        return done.out + done.err

    feature = f"demo-image:{TIMESTEP}"
    taps = [word for tap in (*LAYERS, "up_blocks[1]") for word in ("--feature", f"{feature}:{tap}")]
    said = ted("extract", *taps, "--frame-size", 64, "--noising", "ddim-inversion:steps=10")
    assert "one demo-image: 3 units" in said, "one path of inversion for all taps"
    first = unit(cache, LAYERS[0])
    assert (first.request.noise, first.spec.heads) == ("ddim-inversion:steps=10", HEADS)

    parts = [(unit(cache, LAYERS[0]), 1.0), (unit(cache, LAYERS[1]), 0.5), (unit(cache, "up_blocks[1]"), 0.25)]
    weighted = [word for part, weight in parts for word in ("--feature", f"{feature}:{part.spec.tap}={weight}")]
    kernel = ("--kernel", "attention", "--kernel-option", "scale=2", "--kernel-option", "per_frame=true")
    numbers = ("--radius", 4, "--context", 2, "--top-k", 5)
    ted("propagate", *weighted, *kernel, *numbers, "--save-soft", "--out", tmp_path / "masks")
    settings = PropagationSettings(
        kernel=AttentionKernel(scale=2.0, per_frame=True), radius=4, context=2, top_k=5, temperature=0.2
    )
    found = torch.from_numpy(zarr.open_array(tmp_path / "masks" / "one" / "soft.zarr", mode="r")[:])
    for frame, label in propagate(parts, found[0], settings):
        torch.testing.assert_close(found[frame], label.half(), rtol=0, atol=2e-3, check_dtype=False)
    record = json.loads((tmp_path / "masks" / "one" / "ted.json").read_text())
    assert record["settings"]["kernel"] == settings.kernel.identity

    pair = ("--video-feature", f"{feature}:{LAYERS[0]}", "--image-feature", f"{feature}:up_blocks[1]")
    axes = ("--alpha", "0.5,1", "--kernel-option", "head=-1,3", "--kernel-option", "scale=1,2")
    ted("sweep", *pair, *axes, "--kernel", "attention", *numbers, "--no-plots", "--out", tmp_path / "sweep")
    ted("sweep", "--config", tmp_path / "sweep" / "sweep.toml", "--no-plots", "--out", tmp_path / "sweep")
    with (tmp_path / "sweep" / "settings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["alpha"], row["kernel.head"], row["kernel.scale"]) for row in rows} == {
        (alpha, head, scale) for alpha in ("0.5", "1.0") for head in ("-1", "3") for scale in ("1.0", "2.0")
    }

    head = (*weighted[:2], "--kernel", "attention", "--kernel-option", "head=3")
    ted("show similarity", *head, "--point", "0:60,40", "--out", tmp_path / "map.png")
    ted("show arrows", *head, *numbers, "--out", tmp_path / "arrows.png")
    assert (tmp_path / "map.png").exists()
    assert (tmp_path / "arrows.png").exists()

    said = ted("cache convert", "--to", "int8", "--video", "one", sources=())
    assert "attention weights differ by" in said
    assert "cosines differ by" in said
    choice = FeatureChoice(backbone="demo-image", timestep=TIMESTEP, tap=LAYERS[0])
    error = open_cache(cache).find("davis", "one", choice, prefer=[("form", "int8")]).run_record["error"]
    assert 0 < error["attention_mean"] < error["attention_max"] < 0.1
    assert error["cosine_mean"] is None
    assert np.isclose(error["mask_agreement"], 1, atol=0.05)

    refused = cli(
        "propagate", davis_source, "--cache", cache, *weighted[:2], "--kernel", "attention", "--kernel-option", "head=8"
    )
    assert refused.code == 2
    assert "no head 8: the features have 8 heads, 0 to 7" in refused.err


def test_learned_heads(cli: Cli, davis_source: Path, tmp_path: Path) -> None:
    """Warp the first frames, extract the copies, learn weights of heads from them, and propagate with these."""
    cache, warped = tmp_path / "cache", tmp_path / "warped"

    def ted(*arguments: object) -> str:
        done = cli(*arguments)
        assert done.code == 0, done.err
        return done.out

    ted("warp", davis_source, "--videos", "one", "--out", warped, "--copies", 3)
    masks = [cv2.imread(str(path), 0) for path in sorted((warped / "Annotations" / "480p" / "one").iterdir())]
    assert len(masks) == 4
    assert all((mask != masks[0]).any() for mask in masks[1:])
    feature = f"demo-image:{TIMESTEP}:{LAYERS[0]}"
    common = ("--cache", cache, "--feature")
    for source in (davis_source, warped):
        ted("extract", source, "--videos", "one", "--frame-size", 64, *common, feature)
    learn = ("learn-heads", warped, "--kernel", "attention", "--radius", 4, "--steps", 30, *common, f"{feature}=1")
    (row,) = json.loads(ted(*learn, "--json"))["videos"]
    assert len(row["weights"]) == HEADS
    assert set(row["iou"]) == {"uniform", "best head", "learned"}
    (command,) = next_commands(ted(*learn))
    common_words = f"--feature '{feature}=1' --kernel attention --kernel-option learned=true --cache {cache}"
    assert sorted(shlex.split(command)) == sorted(shlex.split(f"ted propagate {warped} {common_words}"))
    numbers = ("--radius", 4, "--kernel", "attention", "--kernel-option", "learned=true")
    ted("propagate", davis_source, "--videos", "one", *common, f"{feature}=1", *numbers, "--out", tmp_path / "masks")
    record = json.loads((tmp_path / "masks" / "one" / "ted.json").read_text())["settings"]["kernel"]["parameters"]
    np.testing.assert_allclose(record["head_weights"], row["weights"], rtol=1e-5)
    assert "head-weights" in ted("cache", "ls", "--cache", cache, "--kind", "head-weights")
