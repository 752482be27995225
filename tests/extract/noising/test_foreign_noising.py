"""A noising of another package, by one entry point: extract, kill, resume, and fuse with other features."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from diffusers import DDIMInverseScheduler
from PIL import Image

from ted.extract import noising as noisings
from ted.extract.backbones import load_backbone
from ted.extract.backbones.base import Backbone
from ted.extract.backbones.stable_diffusion import StableDiffusion
from ted.extract.frames import to_pixels
from ted.extract.noising import noising_names, parse_noising, register_noising
from ted.store import open_cache, verify_unit
from ted.store.errors import ConfigError
from tests.extract.conftest import make_plan, random_frames
from tests.extract.noising.foreign_noising import Inversion
from tests.extract.offers import offer
from tests.extract.small_folders import SmallFolders
from tests.pipeline.runs.extracting.processes import end_all, hurry, start
from tests.pipeline.runs.extracting.steps import At

CPU = torch.device("cpu")
FRAMES, SIZE, TAP = 5, (64, 96), "up_blocks[2]"


@pytest.fixture(autouse=True)
def _offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    value = f"{Inversion.__module__}:Inversion"
    offer("ted.noisings", Inversion.name, value, tmp_path, monkeypatch)
    yield
    noisings._NOISINGS.pop(Inversion.name, None)
    end_all()


@pytest.fixture
def sd21(small_folder: SmallFolders) -> Backbone:
    return load_backbone("sd21", small_folder("sd21"), device=CPU, dtype=torch.float32)


def inverted(backbone: StableDiffusion, folder: Path, frame: np.ndarray, steps: int) -> dict[int, torch.Tensor]:
    """x_tau of one frame, (1, channel, y, x), by the library's scheduler and its UNet."""
    scheduler = DDIMInverseScheduler.from_pretrained(folder, subfolder="scheduler")
    scheduler.set_timesteps(steps)
    x = backbone.encode(torch.from_numpy(to_pixels(frame, SIZE))[None])
    path = {}
    for level in scheduler.timesteps.tolist():
        with torch.inference_mode():
            output = backbone.network(x, level, backbone.text_states).sample
        x = scheduler.step(output, level, x).prev_sample
        path[level] = x
    return path


def test_extracted_killed_resumed_and_fused(small_folder: SmallFolders, sd21: StableDiffusion, tmp_path: Path) -> None:
    source, clip = random_frames(FRAMES, size=SIZE), tmp_path / "clip"
    clip.mkdir()
    for index, frame in enumerate(source.frames):
        cv2.imwrite(str(clip / f"{index}.png"), frame[..., ::-1])
    given = ("--weights", f"sd21={small_folder('sd21')}", "--frame-size", "64x96", "--batch-size", 1, "--json")
    features = ("--feature", f"sd21:101,301:{TAP}", "--feature", "rgb:0:stride8")
    inversion = ("--noising", "inversion:steps=20", "--ensemble", 8, "--seed", 3)
    for name in ("whole", "killed"):
        command = ("extract", clip, *features, *given, *inversion, "--cache", tmp_path / name)
        if name == "killed":
            at = At(cache=tmp_path / name, log=tmp_path / "log", phase="journal", number=2)
            assert start(tmp_path / "out", *command, hooks=(hurry, at)).wait() == -9
        run = start(tmp_path / "out", *command, hooks=(hurry,))
        assert run.wait() == 0, run.err.read_text()
        assert len(run.summary["written"]) == 3
    whole, killed = (list(open_cache(tmp_path / name).units()) for name in ("whole", "killed"))
    assert [unit.content_hash for unit in whole] == [unit.content_hash for unit in killed]
    for unit in whole:
        assert verify_unit(unit.folder).state == "ok"
        request = unit.spec.request
        assert (request.ensemble, request.seed) == (1, 0)  # nothing is drawn
        if request.backbone == "rgb":
            assert request.noise == "none"
            continue
        assert request.noise == "inversion:steps=20"
        assert unit.spec.alpha_bar == pytest.approx(sd21.schedule.alpha_bar(unit.spec.timestep))
        found = unit.features.compute().astype(np.float32)
        for index, frame in enumerate(source.frames):
            noisy = inverted(sd21, small_folder("sd21"), frame, 20)[unit.spec.timestep][None]
            reference = sd21.features(noisy, unit.spec.timestep, {}, [TAP])[TAP][0, 0].permute(1, 2, 0).numpy()
            assert np.linalg.norm(found[index] - reference) / np.linalg.norm(reference) < 2e-3  # float16

    # Beside the features of random draws, which keep their request.
    plain = start(tmp_path / "out", "extract", clip, *features, *given, "--cache", tmp_path / "whole")
    assert plain.wait() == 0
    assert len(plain.summary["written"]) == 2
    mask = np.zeros(SIZE, np.uint8)
    mask[10:40, 20:60] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    parts = ("--feature", f"sd21:301:{TAP}=0.5", "--feature", "rgb:0:stride8=0.5", "--radius", 3, "--top-k", 5)
    out = ("--mask", tmp_path / "mask.png", "--cache", tmp_path / "killed", "--out", tmp_path / "masks")
    fused = start(tmp_path / "out", "propagate", clip, *parts, *out)
    assert fused.wait() == 0, fused.err.read_text()
    assert len(list((tmp_path / "masks").rglob("*.png"))) == FRAMES


def test_timesteps_off_the_grid_name_the_nearest(sd21: Backbone) -> None:
    noising = parse_noising("inversion:steps=20")
    with pytest.raises(ConfigError, match=r"timestep 290 for backbone 'sd21'.*the nearest 251 and 301"):
        make_plan(sd21, random_frames(1), (64, 64), [101, 290], [TAP], noising=noising)


def test_it_is_found_by_its_name_and_registered_once() -> None:
    assert noising_names() == ["random", "none", "ddim-inversion", "inversion"]
    assert parse_noising("inversion") == Inversion(steps=50)
    register_noising(Inversion)

    class Other(Inversion):
        name = "random"

    with pytest.raises(ConfigError, match="there is a noising 'random' already"):
        register_noising(Other)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gaussian", "unknown noising 'gaussian'; there are: random, none, ddim-inversion, inversion"),
        ("inversion:step=3", "no option 'step=3'; its options are steps"),
        ("inversion:steps", "no option 'steps'"),
        ("inversion:steps=many", "option steps of noising 'inversion' is of type int, not 'many'"),
        ("none:steps=3", "it has no options"),
    ],
)
def test_wrong_notation(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_noising(text)


def test_an_offer_of_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, (value, message) in enumerate(
        [
            ("json:dumps", "is no type"),
            ("json:JSONDecoder", "JSONDecoder is offered as noising"),
            ("nowhere:X", "imported"),
        ]
    ):
        offer("ted.noisings", f"broken{number}", value, tmp_path / str(number), monkeypatch)
        with pytest.raises(ConfigError, match=message):
            parse_noising(f"broken{number}")
