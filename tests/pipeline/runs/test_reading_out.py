"""Attention maps that hold the truth, written by hand, read out and scored by the commands."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ted.pipeline.datasets.jhmdb import JointVideo
from ted.pipeline.datasets.masks_io import read_mask
from ted.pipeline.datasets.sources import Source, open_sources
from ted.pipeline.datasets.table_video import mask_boxes
from ted.pipeline.datasets.tapvid import TrackVideo
from ted.pipeline.datasets.video import Video
from ted.pipeline.tasks.registry import task_of
from ted.pipeline.tasks.running import describe_targets
from ted.propagate.targets.boxes import encode_boxes
from ted.propagate.targets.points import encode_points
from ted.store import INTERPOLATION, ArtifactSpec, open_cache

from ..conftest import Cli
from ..kind_inputs import youtube_vos
from ..point_inputs import tapvid_clip, write_jhmdb, write_pickle

Maps = NDArray[np.floating]  # (frame, target, y, x)


def maps_of_masks(video: Video) -> Maps:
    """One-hot masks, a cell for each pixel."""
    masks = np.stack([read_mask(path) for path in video.annotations().values()])
    return np.stack([masks == number for number in range(1, masks.max() + 1)], axis=1).astype(np.float32)


def maps_of_boxes(video: Video) -> Maps:
    masks = [read_mask(path) for path in video.annotations().values()]
    ids = tuple(range(1, int(masks[0].max()) + 1))
    return np.stack([encode_boxes(mask_boxes(mask, ids), video.frames.size, (24, 32)).numpy() for mask in masks])


def maps_of_points(video: Video) -> Maps:
    assert isinstance(video, TrackVideo)
    truth = video.tracks.read(video.frames.names, video.frames.size)
    order = [0, 3, 1]  # those that are annotated in frame 0, then the one that is annotated in frame 2
    maps = [
        encode_points(np.where(hidden[:, None], np.nan, xy), video.frames.size, (16, 24)).numpy()
        for xy, hidden in zip(truth.xy[order].swapaxes(0, 1), truth.occluded[order].T, strict=True)
    ]
    return np.stack(maps)


def maps_of_joints(video: Video) -> Maps:
    """The cell of each joint, a cell for each pixel: those of joints begin at the pixels' corners."""
    assert isinstance(video, JointVideo)
    x, y = video.joints.read(video.frames.names).astype(int)  # (joint, frame) each
    maps = np.zeros((x.shape[1], len(x), *video.frames.size), np.float32)
    frames, joints = np.indices(maps.shape[:2])
    maps[frames, joints, y.T, x.T] = 1
    return maps


def open_video(source: Path) -> Video:
    return open_sources([Source(path=source)])[0]


def store_maps(cache: Path, video: Video, maps: Maps, target: str | None = None, *, done: int = 0, **more: Any) -> Path:
    """Store cross-attention that is the maps in another order of the cells, and self-attention that undoes it.

    `done` is the number of frames that are written, of an incomplete unit; `more` are fields of the request.
    """
    frames, targets, *grid = maps.shape
    cells = grid[0] * grid[1]
    order = np.random.default_rng(0).permutation(cells)
    sources = np.stack([order, np.full(cells, -1)], axis=1)
    weights = np.tile(np.array([0.7, 0], np.float32), (cells, 1))
    described = describe_targets(task_of(video, target).start(video), (grid[0], grid[1]))
    request = {
        "backbone": "made",
        "frames": video.frames.digest(),
        "grid": grid,
        "frame_size": list(video.frames.size),
        "cross": True,
        "targets": described["targets"],
        "conditioning": {"annotations": described["annotations"]},
        **more,
    }
    spec = ArtifactSpec(
        kind=INTERPOLATION.name,
        dataset=video.dataset,
        video=video.name,
        request=request,
        sizes={"frame": frames, "cell": cells, "slot": 2, "target": targets, "step": 3, "roll": 2},
    )
    with open_cache(cache, create=True).artifact_writer(spec) as writer:
        for frame in range(done or frames):
            shuffled = np.empty((targets, cells), np.float32)
            shuffled[:, order] = maps[frame].reshape(targets, cells)
            arrays = {"sources": sources, "weights": weights, "cross": shuffled}
            writer.write(frame, {**arrays, "losses": np.full(3, frame), "errors": np.full(2, 2 * frame)})
        writer.commit()
        if not done:
            writer.finish({})
    return spec.folder(cache)


@pytest.fixture
def square(tmp_path: Path) -> Path:
    """Clips of one pickle of TAP-Vid."""
    return write_pickle(tmp_path / "clips.pkl", {"one": tapvid_clip(4)})


@pytest.mark.parametrize("task", ["masks", "boxes", "points", "joints"])
def test_perfect_maps_get_perfect_scores(
    task: str, cli: Cli, davis_source: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    sources: dict[str, Callable[[], Path]] = {
        "points": lambda: request.getfixturevalue("square"),
        "joints": lambda: write_jhmdb(tmp_path / "jhmdb", {"one": 3}),
    }
    source = sources.get(task, lambda: davis_source)()
    options = (source, "--videos", "one", *(("--target", "boxes") if task == "boxes" else ()))
    makers = {"masks": maps_of_masks, "boxes": maps_of_boxes, "points": maps_of_points, "joints": maps_of_joints}
    video, cache, out = open_video(source), tmp_path / "cache", tmp_path / "out"
    maps = makers[task](video)
    store_maps(cache, video, maps, task)
    done = cli("readout", *options, "--cache", cache, "--out", out, "--json")
    assert done.code == 0, done.err
    row = json.loads(done.out)["videos"][0]
    frames = len(maps)
    mean = sum(range(1, frames)) / (frames - 1)  # over the pairs, without the first frame
    assert row["losses"] == pytest.approx([mean] * 3)
    assert row["roll_out_errors"] == pytest.approx([2 * mean] * 2)

    def scores(folder: Path) -> dict[str, float]:
        shown = cli("evaluate", source, "--videos", "one", "--results", folder, "--json")
        assert shown.code == 0, shown.err
        values = json.loads(shown.out)
        return values["means"] if task == "masks" else values["mean"]

    keys = {
        "masks": {"J&F-Mean": 1, "J-Mean": 1, "F-Mean": 1},
        "boxes": {"IoU": 1, "Success": 20 / 21, "Precision": 1},
        "points": {"average_jaccard": 1, "occlusion_accuracy": 1},
        "joints": {"PCK@0.1": 100, "PCK@0.2": 100},
    }
    found = scores(out)
    assert {name: found[name] for name in keys[task]} == pytest.approx(keys[task])
    # Without self-attention, the cells are in another order.
    assert cli("readout", *options, "--cache", cache, "--out", tmp_path / "cross", "--mode", "cross").code == 0
    first = next(iter(keys[task]))
    assert scores(tmp_path / "cross")[first] < 0.9 * keys[task][first]


def test_objects_begin_where_they_are_annotated(cli: Cli, tmp_path: Path) -> None:
    source, cache, out = youtube_vos(tmp_path), tmp_path / "cache", tmp_path / "out"
    video = open_video(source)
    maps = maps_of_masks(video)
    maps[:2, 1] = maps[3:4, 0]  # before its first annotation, the second object's map lies on the first object
    store_maps(cache, video, maps)
    done = cli("readout", source, "--videos", "a", "--cache", cache, "--out", out)
    assert done.code == 0, done.err
    assert "absent" not in done.err
    for frame, path in video.annotations().items():
        written = next(out.rglob(f"a/{frame}.png"))
        np.testing.assert_array_equal(read_mask(written), read_mask(path), err_msg=frame)


def test_settings_are_scored_as_their_results_would_be(cli: Cli, davis_source: Path, tmp_path: Path) -> None:
    video, cache, out = open_video(davis_source), tmp_path / "cache", tmp_path / "out"
    maps = maps_of_masks(video)
    maps = maps * np.linspace(0.4, 1, maps.shape[3], dtype=np.float32)  # which thresholds cut
    store_maps(cache, video, maps)
    options = ("readout", davis_source, "--videos", "one", "--cache", cache)
    shown = cli(*options, "--threshold", "0.3,0.9", "--power", "1,2", "--json")
    assert shown.code == 0, shown.err
    rows = json.loads(shown.out)["settings"]
    assert [(row["power"], row["threshold"]) for row in rows[:1]] == [(1, 0.3)]
    assert len(rows) == 4
    assert not out.exists()
    worse = next(row for row in rows if (row["power"], row["threshold"]) == (1, 0.9))
    assert cli(*options, "--threshold", 0.9, "--out", out).code == 0
    scored = json.loads(cli("evaluate", davis_source, "--videos", "one", "--results", out, "--json").out)
    assert worse["scores"] == scored["means"]
    text = cli(*options, "--threshold", "0.3,0.9")
    assert text.out.splitlines()[1].startswith("threshold=0.3")
    assert "--threshold 0.3" in text.out.splitlines()[-1]


def test_results_are_made_once_and_read_by_other_commands(cli: Cli, square: Path, tmp_path: Path) -> None:
    video, cache, out = open_video(square), tmp_path / "cache", tmp_path / "out"
    maps = maps_of_points(video)
    maps[3, 0] *= 0.3  # the first point fades in the last frame
    store_maps(cache, video, maps)
    options = ("readout", square, "--cache", cache, "--out", out)
    first = cli(*options)
    assert first.code == 0, first.err
    assert "absent" not in first.err
    assert "there before" in cli(*options).err
    refused = cli(*options, "--place", "max")
    assert refused.code != 0
    assert "--overwrite" in refused.err
    assert "point 1 absent in 1 frame" in cli(*options, "--scale", "first", "--overwrite").err
    assert cli(*options, "--place", "max", "--overwrite").code == 0
    record = json.loads((out / "one" / "ted.json").read_text())
    assert record["settings"]["place"] == "max"
    assert record["interpolation"]["unit"].startswith(f"{video.dataset}/one interpolation@")
    for command in (
        ("show", "points", square, "--results", out, "--out", tmp_path / "seen"),
        ("report", out, "--out", tmp_path / "page.html"),
    ):
        done = cli(*command)
        assert done.code == 0, done.err


def test_self_attention_alone_carries_the_label(cli: Cli, square: Path, tmp_path: Path) -> None:
    """Without cross-attention, each cell takes the label of the cell above and left of it: the square moves so."""
    video, cache, out = open_video(square), tmp_path / "cache", tmp_path / "out"
    maps = maps_of_points(video)[:, :1]
    frames, _, height, width = maps.shape
    y, x = np.divmod(np.arange(height * width), width)
    sources = (np.maximum(y - 1, 0) * width + np.maximum(x - 1, 0))[:, None]
    request = {"frames": video.frames.digest(), "grid": [height, width], "frame_size": list(video.frames.size)}
    spec = ArtifactSpec(
        kind=INTERPOLATION.name,
        dataset=video.dataset,
        video=video.name,
        request={**request, "cross": False, "targets": []},
        sizes={"frame": frames, "cell": height * width, "slot": 1, "target": 1, "step": 1, "roll": 1},
    )
    with open_cache(cache, create=True).artifact_writer(spec) as writer:
        for frame in range(frames):
            arrays = {"sources": sources, "weights": np.ones(sources.shape), "cross": np.zeros((1, height * width))}
            writer.write(frame, {**arrays, "losses": np.zeros(1), "errors": np.zeros(1)})
        writer.finish({})
    assert cli("readout", square, "--cache", cache, "--out", out).code == 0
    scores = json.loads(cli("evaluate", square, "--results", out, "--json").out)
    assert scores["mean"]["average_jaccard"] == pytest.approx(1)
    wrong = cli("readout", square, "--cache", cache, "--out", out, "--mode", "product")
    assert wrong.code != 0
    assert "needs cross-attention" in wrong.err


def test_bad_input_is_answered_with_what_to_do(cli: Cli, square: Path, tmp_path: Path) -> None:
    video, cache, out = open_video(square), tmp_path / "cache", tmp_path / "out"
    maps = maps_of_points(video)

    def error(*more: object) -> str:
        done = cli("readout", square, "--cache", cache, "--out", out, *more)
        assert done.code != 0
        assert not list(out.glob("*"))
        return done.err

    cache.mkdir()
    assert "no attention maps" in (found := error())
    assert "`ted interpolate` writes them" in found
    store_maps(cache, video, maps, done=2)
    assert "it lacks 2 pairs of frames (00001 -> 00002, 00002 -> 00003); run the same `ted interpolate`" in error()
    assert "other frames" in (found := error("--limit", 3))
    assert "--every and --limit as for `ted interpolate`" in found
    one = store_maps(cache, video, maps, seed=1)
    two = store_maps(cache, video, maps, seed=2, tuning={"rate": 0.1})
    found = error()
    assert "several sets" in found
    assert f"interpolation@{one.name} (complete, seed 1, tuning.rate none)" in found
    assert f"interpolation@{two.name} (complete, seed 2, tuning.rate 0.1)" in found
    assert "have seed 3" in error("--prefer", "seed=3")
    for wanted in (f"digest={one.name}", "tuning.rate=0.1"):
        assert cli("readout", square, "--cache", cache, "--out", tmp_path / wanted, "--prefer", wanted).code == 0
    record = json.loads((tmp_path / f"digest={one.name}" / "one" / "ted.json").read_text())
    assert record["interpolation"]["unit"].endswith(one.name)
    for wrong in (("--threshold", 1), ("--power", 0), ("--mode", "all"), ("--prefer", "seed"), ("--top-n", "none")):
        assert str(wrong[1]) in error(*wrong)


def test_maps_for_other_targets_are_refused(cli: Cli, davis_source: Path, tmp_path: Path) -> None:
    video, cache = open_video(davis_source), tmp_path / "cache"
    store_maps(cache, video, maps_of_boxes(video), "boxes")
    done = cli("readout", davis_source, "--videos", "one", "--cache", cache, "--out", tmp_path / "out")
    assert done.code != 0
    assert "for other targets than object 1, object 2 as annotated here" in done.err
    assert '["box 1", "box 2"]' in done.err
