"""Evaluation of attention and interpolation with the small model with text."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import dask.array
import numpy as np
import pytest

from ted.pipeline.synthetic.rendering import render
from ted.pipeline.synthetic.scene import SceneSpec
from training import attention as module
from training.attention import Networks, Pass, Scores, attention, cosine, follow, sparse, with_learned_heads
from training.interpolation import Interpolated, interpolate
from training.tracking import Score

SPEC = SceneSpec(size=(64, 64), radius=(8.0, 9.0), identical=False, hue_step=120.0, frames=6, seed=3)


@pytest.fixture(scope="module")
def networks() -> Networks:
    return Networks(None)


def test_features_that_are_the_masks_track_as_well_as_the_grid_lets_them() -> None:
    clip = sparse(render(SPEC))
    assert len(clip.frames) == 3
    cells = clip.masks[:, 2::4, 2::4]
    told = np.stack([cells == number for number in range(3)], axis=-1).astype(np.float32)
    shared = np.repeat((cells > 0)[..., None], 2, axis=-1).astype(np.float32) + 1e-3
    for values, low, high in ((told, 70, 90), (shared, -1, 60)):
        volume = module._Volume(
            features=dask.array.from_array(values), frame_size=(64, 64), spec=SimpleNamespace(feature="f", heads=1)
        )
        found = follow({"f": volume}, cosine(Pass(tau=0), "f"), clip)
        assert low < found.j < high


def test_scores_continue_after_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETS", {"random": ("random", {"frames": 6})})
    calls: list[str] = []

    def scored(_volumes: object, method: object, _clip: object) -> Score:
        calls.append("x")
        return Score(j=float(len(calls)), f=3.0, identity=50.0)

    monkeypatch.setattr(module, "follow", scored)
    networks = SimpleNamespace(volumes=lambda _clip, _ground, sources, _seed: dict.fromkeys(sources))
    scores, methods = Scores(tmp_path / "scores.jsonl"), {"a": cosine(Pass(tau=1), "f"), "b": cosine(Pass(tau=2), "f")}
    scores.fill(networks, 0, 1, {"a": methods["a"]}, ["random"])  # type: ignore[arg-type]
    with scores.path.open("a") as file:
        file.write('{"set": "random", "clip": 1, "meth\n')  # a line that was cut off
    scores.fill(networks, 0, 2, methods, ["random"])  # type: ignore[arg-type]
    assert len(calls) == 4
    assert scores.means("a", 2, ["random"])["random"]["jf"] == pytest.approx(((1 + 3 + 3 + 3) / 4, 0.5))
    assert scores.means("b", 2, ["random"])["random"]["identity"] == (50, 0)


def test_heads_are_learned_and_pairs_interpolated(networks: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COPIES", 3)
    clip = sparse(render(replace(SPEC, size=(48, 48), radius=(7.0, 8.0))))
    method = attention(Pass(tau=41), "fine", learned=True)
    learned = with_learned_heads(networks, method, clip, SPEC.ground, 0).settings.kernel
    assert len(learned.head_weights) == 4  # type: ignore[attr-defined]
    assert max(learned.head_weights) > 0.3  # type: ignore[attr-defined]
    network = networks.get("trained").network
    before = {name: value.clone() for name, value in network.named_parameters()}
    modes = ("propagated",)
    still = interpolate(networks, Interpolated(steps=0, modes=modes), clip, SPEC.ground, 0)
    tuned = interpolate(networks, Interpolated(steps=1, tuned="all", modes=modes), clip, SPEC.ground, 0)
    assert np.shape(still.errors) == np.shape(tuned.errors) == (2, 10)
    assert np.mean(tuned.errors) < np.mean(still.errors)
    assert all(np.array_equal(value.detach(), before[name]) for name, value in network.named_parameters())
    assert still.scores["propagated"].j > 35  # words find their objects
    assert still.scores["propagated"].identity > 90
