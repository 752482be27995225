"""The points of synthetic videos as a source: their true places, on the frames, and the features, of the masks."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ted.pipeline.datasets.sources import Selection, Source, open_sources
from ted.pipeline.datasets.tapvid import TrackVideo
from ted.pipeline.synthetic.rendering import render
from ted.pipeline.synthetic.scene import SceneSpec
from ted.pipeline.synthetic.sets import set_specs
from ted.pipeline.synthetic.writing import make_sets
from ted.pipeline.tasks.points.results import TrackResult
from ted.store.errors import ConfigError, LabelError

from ..conftest import Cli
from ..inputs import frames_folder
from ..point_inputs import moving_square

COUNT = 10
BASE = SceneSpec(frames=COUNT, size=(96, 128), radius=(9.0, 11.0))


@pytest.fixture
def synth(tmp_path: Path) -> Path:
    list(make_sets(tmp_path / "synth", ("near", "crossing"), 2, BASE, window=16))
    return tmp_path / "synth"


def videos(synth: Path, selection: Selection | None = None, **options: Any) -> list[TrackVideo]:
    found = open_sources([Source(path=synth / "Tracks", **options)], selection)
    assert all(isinstance(video, TrackVideo) for video in found)
    return found  # type: ignore[return-value]


def test_points_are_where_they_were_drawn(synth: Path) -> None:
    specs = {name: spec for of in ("near", "crossing") for name, spec in set_specs(of, 2, BASE).items()}
    found = videos(synth)
    assert [video.name for video in found] == list(specs)
    for video in found:
        clip = render(specs[video.name])
        tracks = video.tracks.read(video.frames.names, video.frames.size)
        assert tracks.xy.shape == (2 * 9, COUNT, 2)
        # In the file the first pixel has its centre at 0, and numbers have two decimals.
        np.testing.assert_allclose(tracks.xy, clip.points.reshape(-1, COUNT, 2) + 0.5, atol=0.00501)
        np.testing.assert_array_equal(tracks.occluded, ~clip.visible.reshape(-1, COUNT))
        # What is visible lies on its object's mask, in the pixel that contains it.
        x, y = np.floor(tracks.xy).astype(int).transpose(2, 0, 1)
        owner = np.repeat([1, 2], 9)[:, None]
        on_it = clip.masks[np.arange(COUNT), y, x] == owner
        assert (on_it == ~tracks.occluded).mean() > 0.98  # but for points on the edge of a pixel
    assert [video.name for video in videos(synth, set_name="crossing")] == ["crossing-0000", "crossing-0001"]


def test_the_video_is_that_of_the_masks(synth: Path) -> None:
    (masks, *_), (points, *_) = open_sources([Source(path=synth)]), videos(synth)
    assert (points.dataset, points.name, points.frames.names) == (masks.dataset, masks.name, masks.frames.names)
    assert points.frames.digest() == masks.frames.digest()
    (video,) = videos(synth, Selection(videos=("near-0001",), every=2, limit=2))
    chosen = video.tracks.read(video.frames.names, video.frames.size)
    (whole,) = (item for item in videos(synth) if item.name == "near-0001")
    every = whole.tracks.read(whole.frames.names, whole.frames.size)
    np.testing.assert_array_equal(chosen.xy, every.xy[:, [0, 2]])
    np.testing.assert_array_equal(chosen.occluded, every.occluded[:, [0, 2]])


def test_the_folder_is_known_from_within_and_frames_are_frames(synth: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(synth / "Tracks")
    assert len(open_sources([Source(path=Path())])) == 4
    clip = frames_folder(synth / "clip", moving_square(2)[0])
    (clip / "about.json").write_text("{}")
    (video,) = open_sources([Source(path=clip)])
    assert not isinstance(video, TrackVideo)


def test_features_of_the_root_serve_its_points(cli: Cli, synth: Path, tmp_path: Path) -> None:
    cache = ("--cache", tmp_path / "cache")
    features = ("--feature", "position:0:stride4", "--feature", "rgb:0:stride4")
    assert cli("extract", synth, *cache, *features, "--frame-size", "96x128").code == 0
    used = ("--video-feature", "position:0:stride4", "--image-feature", "rgb:0:stride4", "--alpha", 0.3, "--context", 2)
    out = tmp_path / "results"
    done = cli("propagate", synth / "Tracks", *cache, *used, "--out", out, "--radius", 6)
    assert done.code == 0, done.err
    assert TrackResult.read(out / "near-0000").places.shape == (18, COUNT, 2)
    scores = json.loads(cli("evaluate", synth / "Tracks", "--results", out, "--json").out)
    assert set(scores["videos"]) == {"near-0000", "near-0001", "crossing-0000", "crossing-0001"}
    assert 0.1 < scores["mean"]["average_pts_within_thresh"] < 1
    shown = cli("show", "points", synth / "Tracks", "--results", out, "--videos", "near-0000", "--out", tmp_path / "p")
    assert shown.code == 0, shown.err


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_the_truth_scores_one(cli: Cli, synth: Path, tmp_path: Path, mode: Any) -> None:
    from ted.pipeline.datasets.point_queries import choose_queries

    for video in videos(synth):
        tracks = video.tracks.read(video.frames.names, video.frames.size)
        queries = choose_queries(tracks, mode)
        (folder := tmp_path / "results" / video.name).mkdir(parents=True)
        places = tracks.xy[queries.tracks]
        TrackResult(
            frames=video.frames.names,
            mode=mode,
            query_frames=queries.frames,
            tracks=queries.tracks,
            places=places,
            mass=np.ones(places.shape[:2]),
            visible=~tracks.occluded[queries.tracks],
        ).write(folder)
    scores = json.loads(cli("evaluate", synth / "Tracks", "--results", tmp_path / "results", "--json").out)
    assert scores["query_mode"] == mode
    assert {value for value in scores["mean"].values() if value is not None} == {1}


def change(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no tracks of `ted synth`"),
        ("[1]", "has no tracks of `ted synth`"),
        ("[" * 100_000, "has no tracks of `ted synth`"),
        ({"points": [[[[1, 2], [3]]]]}, "has no tracks of `ted synth`"),
        ({"points": [1, 2]}, r"points must be \(object, point, frame, 2\)"),
        ({"visible": [[[1] * COUNT] * 9] * 2}, "found: .* int64"),
        ({"points": [[[[1, 2]]]], "visible": [[[True]]]}, "has 1 frame, but the video has others"),
        ({"points": [[[[1, float("nan")]] * COUNT]], "visible": [[[True] * COUNT]]}, "not finite"),
        ({"spec": {"size": [64, 64]}}, "has frames of 64x64 pixels, but the video's are 128x96"),
    ],
)
def test_what_is_no_truth_is_refused(synth: Path, content: str | dict[str, Any], message: str) -> None:
    path = synth / "Tracks" / "near-0000.json"
    if isinstance(content, str):
        path.write_text(content)
    else:
        change(path, **content)
    video = videos(synth)[0]
    with pytest.raises(LabelError, match=message):
        video.tracks.read(video.frames.names, video.frames.size)
    path.unlink()
    with pytest.raises(LabelError, match="has no tracks"):
        replace(video).tracks.read(video.frames.names, video.frames.size)


def test_sets_without_tracks_are_refused(synth: Path) -> None:
    with pytest.raises(ConfigError, match=r"no set 'random' .*there: crossing, near, val"):
        videos(synth, set_name="random")
    for path in (synth / "Tracks").glob("near-*"):
        path.unlink()
    assert len(videos(synth)) == 2
    with pytest.raises(ConfigError, match="no video of set 'near' has tracks"):
        videos(synth, set_name="near")
