"""Sets of synthetic videos, and the command that makes them."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ted.pipeline.cli import ted
from ted.pipeline.datasets.masks_io import read_mask
from ted.pipeline.datasets.sources import Source, open_sources
from ted.pipeline.synthetic.rendering import render
from ted.pipeline.synthetic.scene import SceneSpec
from ted.pipeline.synthetic.sets import SETS, set_specs
from ted.store.errors import ConfigError
from training.scenes import FIRST_SEED

BASE = SceneSpec(frames=4, size=(64, 80), radius=(6.0, 8.0))


def test_no_two_videos_of_sets_and_of_training_share_a_seed() -> None:
    seeds = [
        spec.seed
        for name in SETS
        for seed in (0, 1, 99)
        for spec in set_specs(name, 100, replace(BASE, seed=seed)).values()
    ]
    assert len(set(seeds)) == len(seeds)
    (last,) = set_specs("crossing", 1, replace(BASE, seed=99)).values()
    assert last.seed + 1_000_000 <= FIRST_SEED  # largest number of videos of a set


def test_wrong_sets_are_refused() -> None:
    with pytest.raises(ConfigError, match="no synthetic set 'far'; there are: near, random, crossing"):
        set_specs("far", 1, BASE)
    with pytest.raises(ConfigError, match="a seed of 0 to 99"):
        set_specs("near", 1, replace(BASE, seed=100))


def test_the_command_makes_a_davis_root_with_the_truth_beside_it(tmp_path: Path) -> None:
    root = tmp_path / "synth"
    arguments = ["synth", str(root), "--set=near", "--set=random", "--videos=2", "--frames=5", "--size=64x80"]
    arguments += ["--radius", "6", "8", "--window=16", "--json"]
    result = CliRunner().invoke(ted, arguments)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert list(summary["means"]) == ["near", "random"]
    assert summary["means"]["near"]["overlapping"] == 0
    videos = open_sources([Source(path=root)])
    assert [video.name for video in videos] == ["near-0000", "near-0001", "random-0000", "random-0001"]
    only = open_sources([Source(path=root, set_name="random")])
    assert [video.name for video in only] == ["random-0000", "random-0001"]
    spec = set_specs("random", 2, SceneSpec(frames=5, size=(64, 80), radius=(6.0, 8.0)))["random-0001"]
    clip = render(spec)
    video = videos[3]
    for mask, path in zip(clip.masks, video.frame_masks.values(), strict=True):
        np.testing.assert_array_equal(read_mask(path), mask)
    shown = np.stack([video.frames.read(index) for index in range(5)])
    assert np.abs(shown.astype(int) - clip.frames).mean() < 5  # JPEG
    truth = json.loads((root / "Tracks" / "random-0001.json").read_text())
    assert truth["names"] == list(clip.names)
    np.testing.assert_allclose(truth["centres"], clip.centres, atol=0.0051)
    np.testing.assert_allclose(truth["points"], clip.points, atol=0.0051)
    assert truth["visible"] == clip.visible.tolist()
    assert truth["spec"]["seed"] == spec.seed
    with (root / "statistics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["video"] for row in rows] == [video.name for video in videos]
    assert float(rows[3]["speed"]) == pytest.approx(truth["statistics"]["speed"], abs=1e-4)


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    wrong = CliRunner().invoke(ted, ["synth", str(tmp_path / "x"), "--size=64"])
    assert wrong.exit_code == 2
    assert "'64' is not HEIGHTxWIDTH" in wrong.output
