"""Scores of fusions equal those of propagated and evaluated files."""

from pathlib import Path

import pytest

from ted.extract.frame_size import FrameSize
from ted.extract.settings import ExtractionSettings
from ted.pipeline.choices.features import parse_choice
from ted.pipeline.datasets.davis import davis_video
from ted.pipeline.runs.extracting.running import extract_features
from ted.pipeline.runs.propagating.propagation import propagate_video
from ted.pipeline.runs.result_folders import result_folder
from ted.pipeline.synthetic.rendering import render
from ted.pipeline.synthetic.scene import SceneSpec
from ted.pipeline.synthetic.writing import write_davis
from ted.pipeline.tasks.masks.truth import score_sequence
from ted.propagate import PropagationSettings
from ted.store import open_cache
from training.tracking import track

FEATURES = ("position:0:stride4", "rgb:0:stride4")
SETTINGS = PropagationSettings(temperature=0.1, top_k=4, radius=4, context=3)


def test_scores_of_fusions_equal_those_of_files(tmp_path: Path) -> None:
    clip = render(SceneSpec(frames=5, size=(96, 96), radius=(14.0, 14.0), motion="bouncing", seed=3))
    write_davis(tmp_path / "data", "balls", clip.frames, clip.masks)
    video = davis_video(tmp_path / "data", "balls")
    settings = ExtractionSettings(frame_size=FrameSize(short_side=96))
    extract_features(tmp_path / "cache", [video], FEATURES, settings)
    cache = open_cache(tmp_path / "cache")
    choices = [parse_choice(feature) for feature in FEATURES]
    units = [cache.find(video.dataset, video.name, choice) for choice in choices]
    fusions = [(0.5, 0.5), (0.2, 0.8), (0.0, 1.0)]
    scores = track(units, fusions, video, SETTINGS)
    assert len({score.j for score in scores.values()}) == 3
    for number, weights in enumerate(fusions):
        out = tmp_path / str(number)
        parts = [(choice, weight) for choice, weight in zip(choices, weights, strict=True) if weight]
        propagate_video(cache, video, parts, SETTINGS, out, device="cpu")
        objects = score_sequence(video.name, video.annotations(), result_folder(out, video)).objects
        found = scores[weights]
        assert found.j == pytest.approx(100 * sum(item.j.mean for item in objects) / len(objects))
        assert found.f == pytest.approx(100 * sum(item.f.mean for item in objects) / len(objects))
