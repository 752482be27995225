"""Results of which no frame can be scored are errors, not tables of NaN."""

from pathlib import Path

import numpy as np
import pytest

from ted.pipeline.datasets.sources import Source, open_sources
from ted.pipeline.tasks.boxes.results import BoxResult
from ted.pipeline.tasks.boxes.task import BoxTask
from ted.pipeline.tasks.joints.results import JointResult
from ted.pipeline.tasks.joints.task import JointTask
from ted.pipeline.tasks.masks.png import write_mask
from ted.pipeline.tasks.parts.task import PartTask
from ted.pipeline.tasks.points.results import TrackResult
from ted.pipeline.tasks.points.task import PointTask
from ted.store.errors import ConfigError

from ..conftest import Cli
from ..inputs import frames_folder
from ..kind_inputs import jhmdb, tapvid
from ..point_inputs import moving_square
from ..roots import boxes, write_vip


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def test_boxes_whose_true_box_is_the_annotated_one(cli: Cli, tmp_path: Path) -> None:
    clip = frames_folder(tmp_path / "clip", moving_square(3)[0])
    (tmp_path / "boxes.csv").write_text("1,1,8,8,32,32\n")
    (video,) = open_sources([Source(path=clip, annotations=tmp_path / "boxes.csv")])
    given = np.array([[True, False, False]])
    BoxResult(
        frames=video.frames.names, numbers=np.arange(1, 4), ids=np.array([1]), boxes=np.ones((1, 3, 4)),
        mass=np.ones((1, 3)), given=given,
    ).write(folder := made(tmp_path / "results/clip"))  # fmt: skip
    with pytest.raises(ConfigError, match="no true box in a frame to which boxes are propagated"):
        BoxTask().score_video(video, folder)
    command = ("evaluate", clip, "--annotations", tmp_path / "boxes.csv", "--results", tmp_path / "results")
    refused = cli(*command)
    assert (refused.code, "no true box in a frame" in refused.err, "nan" in refused.out) == (2, True, False)
    assert not (tmp_path / "results/boxes_results-val.csv").exists()


def test_joints_that_were_never_found(tmp_path: Path) -> None:
    video = open_sources([Source(path=jhmdb(tmp_path))])[0]
    names = video.frames.names
    JointResult(frames=names, joints=tuple("abcd"), points=np.full((len(names), 4, 2), -1.0)).write(
        folder := made(tmp_path / "one")
    )
    with pytest.raises(ConfigError, match="no frame with true joints in which any joint was found"):
        JointTask().score_video(video, folder)


def test_points_that_are_queried_in_the_last_frame(tmp_path: Path) -> None:
    video = open_sources([Source(path=tapvid(tmp_path))])[0]
    count = len(video.frames)
    TrackResult(
        frames=video.frames.names, mode="first", query_frames=np.array([count - 1]), tracks=np.array([0]),
        places=np.zeros((1, count, 2)), mass=np.ones((1, count)), visible=np.ones((1, count), bool),
    ).write(folder := made(tmp_path / "one"))  # fmt: skip
    with pytest.raises(ConfigError, match="no frame in which a queried point is scored"):
        PointTask().score_video(video, folder)


def test_parts_without_a_class(tmp_path: Path) -> None:
    masks = [np.full_like(boxes(o2=5), 200)] * 2
    (video,) = open_sources([Source(path=write_vip(tmp_path / "vip", "a", masks))])
    folder = made(tmp_path / "results/a")
    for name in video.frames.names:
        write_mask(folder / f"{name}.png", boxes(o2=5))
    with pytest.raises(ConfigError, match="no pixel of the true masks of video 'a' has a class"):
        PartTask().score_video(video, folder)
