"""DDIM inversion against the library's scheduler and the networks' own forward passes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMInverseScheduler

from ted.extract.backbones import load_backbone
from ted.extract.backbones.base import Backbone
from ted.extract.noising import parse_noising
from ted.extract.settings import BackboneOptions
from ted.store.errors import ConfigError
from tests.extract.conftest import features_of, load_clips, make_plan, random_frames
from tests.extract.small_folders import SmallFolders

CPU, SIZE = torch.device("cpu"), (64, 64)


@pytest.fixture(scope="module")
def load(small_folder: SmallFolders) -> Callable[..., Backbone]:
    def loaded(name: str, **options: Any) -> Backbone:
        given = {"options": BackboneOptions(**options)} if options else {}
        return load_backbone(name, small_folder(name), device=CPU, dtype=torch.float32, **given)

    return loaded


def library_path(
    backbone: Backbone, scheduler: DDIMInverseScheduler, clean: torch.Tensor, condition: Any, steps: int
) -> dict[int, torch.Tensor]:
    """x_tau by the library's steps, each (frame, channel, y, x)."""
    scheduler.set_timesteps(steps)
    x, path = clean[None], {}
    for level in scheduler.timesteps.tolist()[:4]:
        with torch.inference_mode():
            output = backbone.network(**backbone.network_arguments(x, level, condition))[0]
        x = scheduler.step(output[None, :, : clean.shape[1]], level, x).prev_sample
        path[level] = x[0]
    return path


@pytest.mark.parametrize(("name", "options"), [("sd21", {"prompt": "a red ball"}), ("adm", {})])
def test_the_path_is_the_librarys_and_serves_all_timesteps(
    name: str,
    options: dict[str, Any],
    load: Callable[..., Backbone],
    small_folder: SmallFolders,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backbone = load(name, **options)
    levels: list[Any] = []
    predict = type(backbone).predict

    def counted(self: Backbone, noisy: torch.Tensor, timestep: Any, condition: Any) -> torch.Tensor:
        levels.append(timestep)
        return predict(self, noisy, timestep, condition)

    monkeypatch.setattr(type(backbone), "predict", counted)
    source = random_frames(backbone.clip_length, size=SIZE)
    tap = next(iter(backbone.taps))
    plan = make_plan(backbone, source, SIZE, [151, 51], [tap], noising=parse_noising("ddim-inversion:steps=20"))
    assert plan.request.noise == "ddim-inversion:steps=20"
    (clip,) = load_clips(backbone, source, plan, [0]).values()
    assert levels == [1, 51, 101, 151]  # one path for all timesteps
    config = {} if name == "adm" else DDIMInverseScheduler.load_config(small_folder(name), subfolder="scheduler")
    scheduler = DDIMInverseScheduler.from_config(
        {**config, "steps_offset": 1, "set_alpha_to_one": False, "clip_sample": False, "timestep_spacing": "leading"}
    )
    frames = torch.from_numpy(np.stack(source.frames)).permute(0, 3, 1, 2) / 127.5 - 1
    expected = library_path(backbone, scheduler, backbone.encode(frames), clip.condition, 20)
    for timestep in (51, 151):
        torch.testing.assert_close(clip.noisy(timestep, 0), expected[timestep], rtol=1e-3, atol=1e-4)


def test_features_are_those_of_the_inverted_frames(load: Callable[..., Backbone]) -> None:
    """The path also depends on the prompt; neither seed nor number of draws matters."""
    noising = parse_noising("ddim-inversion:steps=20")
    source, tap = random_frames(2, size=SIZE), "up_blocks[2]"
    backbone = load("sd21")
    found = features_of(backbone, source, SIZE, [51], [tap], noising=noising, seed=3, draws=4)[51, tap]
    plan = make_plan(backbone, source, SIZE, [51], [tap], noising=noising)
    for index, clip in load_clips(backbone, source, plan, [0, 1]).items():
        own = backbone.features(clip.noisy(51, 0)[None], 51, clip.condition, [tap])[tap][0, 0]
        torch.testing.assert_close(found[index], own, rtol=1e-4, atol=1e-4)
    other = features_of(load("sd21", prompt="two red balls"), source, SIZE, [51], [tap], noising=noising)[51, tap]
    assert float((other - found).norm() / found.norm()) > 1e-3


def test_timesteps_off_the_grid_and_other_schedules_are_refused(load: Callable[..., Backbone]) -> None:
    def plan(backbone: Backbone, timestep: int, **options: int) -> Any:
        noising = parse_noising("ddim-inversion:" + ",".join(f"{key}={value}" for key, value in options.items()))
        return make_plan(backbone, random_frames(backbone.clip_length), (64, 64), [timestep], noising=noising)

    sd21 = load("sd21")
    for steps, near in ((50, "281 and 301"), (100, "281 and 291")):
        with pytest.raises(ConfigError, match=rf"timestep 290 for .*'sd21'.*takes {steps} of them, the nearest {near}"):
            plan(sd21, 290, steps=steps)
    with pytest.raises(ConfigError, match="takes 1 to 1000 steps, not 0"):
        plan(sd21, 1, steps=0)
    with pytest.raises(ConfigError, match="needs a variance-preserving schedule, which backbone 'svd' lacks"):
        plan(load("svd"), 1)
    rgb = load_backbone("rgb", None, device=CPU, dtype=torch.float32)
    assert plan(rgb, 0).request.noise == "none"  # a network without noise is not inverted
