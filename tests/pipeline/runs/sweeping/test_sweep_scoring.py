"""Scores in memory are those of the masks as files; the tables and pictures made of them."""

import csv
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from ted.pipeline.choices.presets import DEFAULT, get_preset
from ted.pipeline.metrics.jf import Statistics
from ted.pipeline.runs.sweeping import plots, tables
from ted.pipeline.runs.sweeping.request import make_space, preset_setting
from ted.pipeline.runs.sweeping.results import SweepResult, VideoResult
from ted.pipeline.runs.sweeping.space import Setting
from ted.pipeline.runs.sweeping.summary import best_lines
from ted.pipeline.runs.sweeping.tables import write_tables
from ted.pipeline.tasks.masks.evaluating import MaskEvaluator
from ted.pipeline.tasks.masks.png import write_mask
from ted.pipeline.tasks.masks.scores import MASKS, MaskScore, ObjectScore
from ted.pipeline.tasks.masks.truth import SequenceTruth, score_sequence
from ted.pipeline.tasks.scoring import official as names_of
from ted.propagate.targets.mask_target import MaskTarget
from ted.propagate.targets.masks import decode_mask

SIZE = (36, 52)
FRAMES = tuple(f"{number:05d}" for number in range(9))


def label(rng: np.random.Generator) -> torch.Tensor:
    rough = torch.from_numpy(rng.random((1, 3, 3, 4), dtype=np.float32))
    return torch.nn.functional.interpolate(rough, size=(9, 13), mode="bilinear")[0].softmax(0)


def mask(soft: torch.Tensor) -> NDArray[np.uint8]:
    return decode_mask(soft, (1, 2), frame_size=(32, 48), size=SIZE)


@pytest.fixture
def annotations(tmp_path: Path) -> dict[str, Path]:
    """Every second frame has a true mask, some of it void."""
    rng = np.random.default_rng(0)
    annotations = {}
    for name in FRAMES[::2]:
        ids = mask(label(rng))
        ids[:3] = 255
        ids[-1, -1] = 2  # object 2 is in the first mask
        annotations[name] = write_mask(tmp_path / "truth" / f"{name}.png", ids)
    return annotations


@pytest.fixture
def grader(annotations: dict[str, Path]) -> MaskEvaluator:
    target = MaskTarget(masks={0: np.full(SIZE, 1, np.uint8) + np.eye(*SIZE, dtype=np.uint8)})
    return MaskEvaluator(truth=SequenceTruth("v", annotations), frame_names=FRAMES, target=target)


def test_scores_in_memory_are_those_of_files(
    grader: MaskEvaluator, annotations: dict[str, Path], tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    labels = [(frame, [label(rng) for _ in range(3)]) for frame in range(1, len(FRAMES))]
    seconds: dict[str, float] = {}
    found = grader.score([iter(labels)], 3, (32, 48), seconds)
    assert set(seconds) == {"decoding", "metrics"}
    means = set()
    for number in range(3):
        for frame, of_settings in labels:
            write_mask(tmp_path / f"{number}" / f"{FRAMES[frame]}.png", mask(of_settings[number]))
        files = score_sequence("v", annotations, tmp_path / f"{number}")
        assert [(item.j, item.f) for item in files.objects] == [(item.j, item.f) for item in found[number].objects]
        assert {item.frames for item in found[number].objects} == {3}
        means.add(found[number].objects[0].j.mean)
    assert len(means) == 3


def test_nothing_is_asked_for_behind_the_last_scored_frame(grader: MaskEvaluator) -> None:
    rng = np.random.default_rng(1)

    def labels() -> Iterator[tuple[int, list[torch.Tensor]]]:
        for frame in range(1, len(FRAMES)):
            assert frame <= 6  # 00008 is annotated, and the last
            yield frame, [label(rng)]

    assert len(grader.score([labels()], 1, (32, 48), {})) == 1


def test_j_alone_is_the_same_j(grader: MaskEvaluator, annotations: dict[str, Path]) -> None:
    rng = np.random.default_rng(1)
    labels = [(frame, [label(rng)]) for frame in range(1, len(FRAMES))]
    (both,) = grader.score([labels], 1, (32, 48), {})
    (alone,) = replace(grader, truth=SequenceTruth("v", annotations, contours=False)).score([labels], 1, (32, 48), {})
    assert [item.j for item in alone.objects] == [item.j for item in both.objects]
    assert {item.f for item in alone.objects} == {None}
    assert alone.objects[0].columns["jf"] is None


# --- tables and pictures


LISTS = {
    "video_features": ("i2vgen-xl:300,600:up_blocks[1],up_blocks[2]",),
    "image_features": (),
    "alpha": ("0:1:0.25",),
    "temperature": ("0.05,0.2",),
    "top_k": (),
    "radius": (),
    "context": (),
}
PRESET = get_preset("davis-efficient")
SETTINGS = tuple(make_space(LISTS, PRESET, renormalize=True).settings())


def quality(setting: Setting, video: int) -> float:
    found = 0.8 - (setting.alpha - 0.5) ** 2 - setting.propagation.temperature / 10 - video / 20
    if (video_feature := setting.feature("video")) is not None:
        found -= setting.alpha * (abs(video_feature.timestep - 600) / 3000 + 0.1 * ("1" in video_feature.tap))
    return found


def scores(setting: Setting, video: int, objects: int, *, f: bool = True) -> MaskScore:
    found = []
    for number in range(1, objects + 1):
        j = quality(setting, video) - 0.01 * number
        part = Statistics(mean=j + 0.1, recall=1.0, decay=math.nan)
        found.append(
            ObjectScore(
                object_id=number,
                frames=5,
                j=Statistics(mean=j, recall=0.9, decay=0.25),
                f=part if f else None,
            )
        )
    return MaskScore(objects=tuple(found))


def result(settings: Sequence[Setting] = SETTINGS, *, f: bool = True) -> SweepResult:
    choices = {str(choice) for setting in settings for choice, _ in setting.parts}
    videos = [
        VideoResult(
            dataset="davis",
            video=name,
            units={choice: choice.replace(":", "@01234567:", 1) for choice in choices},
            scores={setting: scores(setting, number, number + 1, f=f) for setting in settings},
        )
        for number, name in enumerate(("camel", "dogs, jump"))
    ]
    return SweepResult(metric_spec=MASKS, settings=settings, videos=videos)


def test_means_are_over_objects_as_the_official_ones(
    grader: MaskEvaluator, annotations: dict[str, Path], tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    sequences, videos = [], []
    setting = SETTINGS[0]
    for name in ("a", "b"):
        labels = [(frame, [label(rng)]) for frame in range(1, len(FRAMES))]
        for frame, (soft,) in labels:
            write_mask(tmp_path / name / f"{FRAMES[frame]}.png", mask(soft))
        sequences.append(score_sequence(name, annotations, tmp_path / name))
        (found,) = grader.score([labels], 1, (32, 48), {})
        videos.append(VideoResult(dataset="d", video=name, units={}, scores={setting: found}))
    (means,) = SweepResult(metric_spec=MASKS, settings=[setting], videos=videos).ranking
    official = names_of(MASKS, MaskScore.means(sequences))
    names = ("J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")
    assert list(means.measures.values()) == [official[name] for name in names]
    assert (means.videos, means.objects, means.score) == (2, 4, official["J&F-Mean"])


def test_tables_hold_every_video_object_and_setting(tmp_path: Path) -> None:
    write_tables(result(), tmp_path)
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * len(SETTINGS)
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [list(line) for line in lines] == [list(row) for row in rows]
    for row, line in zip(rows, lines, strict=True):
        assert [value if value is not None else "" for value in line.values()] == [
            type(value)(text) if not isinstance(value, bool | None) else {"True": True, "": ""}[text]
            for text, value in zip(row.values(), line.values(), strict=True)
        ]
    first = lines[0]
    assert (first["dataset"], first["video"], first["object"], first["frames"]) == ("davis", "camel", 1, 5)
    assert (first["alpha"], first["video_feature"], first["image_feature"]) == (0, "", "adm:51:output_blocks[7]")
    assert (first["video_unit"], first["image_unit"]) == ("", "adm@01234567:51:output_blocks[7]")
    assert first["jf"] == (first["j"] + first["f"]) / 2
    assert first["f_decay"] is None
    assert rows[0]["f_decay"] == ""


def test_the_best_is_propagated_along_the_same_features() -> None:
    preset, given = get_preset("davis-best").preferences, [("clip_overlap", "8")]
    for preferred, prefer in (
        ([], ""),
        (get_preset(DEFAULT).preferences, ""),  # what `ted propagate` prefers anyhow
        ([("ensemble", "1"), *preset], ""),
        ([*given, *preset], " --prefer clip_overlap=8 --prefer ensemble=4"),
    ):
        assert replace(result(), preferred=preferred).options(SETTINGS[0]) == SETTINGS[0].options + prefer


def test_settings_are_ranked_and_the_best_described(tmp_path: Path) -> None:
    write_tables(result(), tmp_path)
    with (tmp_path / "settings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(SETTINGS)
    ranked = [float(row["jf"]) for row in rows]
    assert ranked == sorted(ranked, reverse=True)
    expected = max(SETTINGS, key=lambda setting: quality(setting, 0))
    best = json.loads((tmp_path / "best.json").read_text())
    assert best["ranked_by"] == "J&F"
    assert best["overall"]["options"] == expected.options
    assert best["overall"]["objects"] == 3
    j = fmean([quality(expected, 0) - 0.01, quality(expected, 1) - 0.01, quality(expected, 1) - 0.02])
    assert best["overall"]["jf"] == pytest.approx(j + 0.05, abs=1e-12)
    assert best["videos"]["dogs, jump"]["objects"] == 2
    lines = best_lines(result(), limit=4)
    assert lines[0].split() == ["video_feature", "alpha", "temperature", "J&F", "J", "F"]
    assert lines[1].split()[1:3] == ["0.5", "0.05"]
    assert len(lines) == 7
    assert lines[-1].endswith(expected.options)


def test_a_video_without_all_scores_counts_in_no_mean(tmp_path: Path) -> None:
    whole = result()
    lame = VideoResult(
        dataset="davis", video="lame", units={}, scores={SETTINGS[0]: whole.videos[0].scores[SETTINGS[0]]}
    )
    partial = SweepResult(metric_spec=MASKS, settings=SETTINGS, videos=[*whole.videos, lame], failures={"lame": "why"})
    assert [(item.setting, item.score) for item in partial.ranking] == [
        (item.setting, item.score) for item in whole.ranking
    ]
    assert "lame" not in partial.by_video
    write_tables(partial, tmp_path)
    assert json.loads((tmp_path / "best.json").read_text())["failures"] == {"lame": "why"}
    assert (tmp_path / "results.csv").read_text().count("lame") == 1
    nothing = SweepResult(metric_spec=MASKS, settings=SETTINGS, videos=[lame])
    write_tables(nothing, tmp_path)
    assert json.loads((tmp_path / "best.json").read_text())["overall"] is None
    assert best_lines(nothing) == [
        "INCOMPLETE: 1 of 1 videos are not in these means:",
        f"  lame: has scores under 1 of {len(SETTINGS)} settings",
        "no video has a score under every setting",
    ]
    assert plots.write_plots(nothing, tmp_path) == []


def test_every_parameter_that_varies_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    paths = plots.write_plots(result(), tmp_path, default=preset_setting(PRESET))
    assert sorted(path.name for path in paths) == [
        "heat-alpha-temperature.png",
        "heat-alpha-video-tap.png",
        "heat-alpha-video-timestep.png",
        "heat-temperature-video-tap.png",
        "heat-temperature-video-timestep.png",
        "heat-video-timestep-video-tap.png",
        "over-alpha.png",
        "over-temperature.png",
        "over-video-timestep.png",
        "videos.png",
    ]
    for path in paths:
        with Image.open(path) as image:
            assert len(set(np.asarray(image.convert("L")).ravel().tolist())) > 20
    assert [path.name for path in plots.write_plots(result(SETTINGS[:1], f=False), tmp_path)] == ["videos.png"]


def test_without_matplotlib_a_note_says_how_to_get_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tables, "can_draw", lambda: False)
    files = tables.write_outputs(result(), tmp_path, options={"alpha": [0.5]}, timing={"labels": 1.5}, plots=True)
    assert "pip install matplotlib" in caplog.text
    assert {path.suffix for path in files} == {".csv", ".jsonl", ".json", ".toml"}
    assert (tmp_path / "sweep.toml").read_text().split() == ["[sweep]", "alpha", "=", "[", "0.5,", "]"]
