"""PoseTrack: several people with 17 joints each, who enter in any frame and are labelled in some."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ted.pipeline.datasets.jhmdb import POSE_JOINTS, JointVideo
from ted.pipeline.datasets.sources import Selection, Source, open_source
from ted.pipeline.metrics.pck import joint_distances
from ted.pipeline.tasks.joints.frames import joint_frames
from ted.pipeline.tasks.joints.results import JointResult
from ted.pipeline.tasks.joints.task import JointTask
from ted.pipeline.tasks.registry import read_score
from ted.store.errors import LabelError

from ..conftest import Cli
from ..mot_inputs import SIZE, write_posetrack

EARS = [POSE_JOINTS.index(name) for name in ("left ear", "right ear")]


def person(frame: int, track: int, shift: float = 0) -> dict[str, object]:
    """A person of 17 joints on a slanted grid; ears are not labelled, nor is the nose of track 7 in its first frame."""
    joints = np.array([[8 + at % 5 * 6 + shift + frame, 6 + at // 5 * 8 + at % 3, 1] for at in range(17)], float)
    joints[EARS] = 0
    if track == 7 and frame == 2:
        joints[0] = 0
    return {"image": frame, "track_id": track, "keypoints": joints.ravel().tolist(), "bbox": [1, 2, 3, 4]}


def root(tmp_path: Path) -> Path:
    people = [*(person(frame, 3) for frame in (0, 2, 4)), *(person(frame, 7, 20) for frame in (2, 3, 4))]
    return write_posetrack(tmp_path / "PoseTrack21", "000342_mpii_test", 5, people)


def opened(path: Path, **selection: int) -> JointVideo:
    (video,) = open_source(Source(path=path), Selection(**selection))
    assert isinstance(video, JointVideo)
    return video


def test_joints_begin_where_they_are_first_labelled(tmp_path: Path) -> None:
    video = opened(root(tmp_path))
    assert (video.dataset, video.name, len(video.frames)) == ("posetrack", "000342_mpii_test", 5)
    truth = video.joints.read(video.frames.names)
    assert truth.shape == (2, 34, 5)
    assert truth[:, 1, 2].tolist() == [16, 7]  # head bottom of person 3
    assert np.isfinite(truth[0]).sum(1).tolist() == [3, 3, 3, 0, 0, *[3] * 12, 2, 3, 3, 0, 0, *[3] * 12]
    first = video.joints.first(video.frames.names)
    assert {frame: int(np.isfinite(rows).all(1).sum()) for frame, rows in first.items()} == {0: 15, 2: 14, 3: 1}
    assert video.joints.labels(34)[17:19] == ("7 nose", "7 head bottom")
    run = JointTask().start(video)
    assert sorted(frames for frames, _ in run.targets) == [(0,), (2,), (3,)]
    assert sorted(JointTask().annotated_frames(opened(root(tmp_path / "half"), every=2))) == [(0,), (1,), (2,)]


def test_people_are_scored_by_the_same_pck_joint_by_joint(tmp_path: Path) -> None:
    """Person 3 is perfect, person 7 is shifted by a quarter of its size, and lost in the last frame."""
    video = opened(root(tmp_path))
    truth = video.joints.read(video.frames.names)
    points = np.nan_to_num(truth.transpose(2, 1, 0), nan=3.0)
    size = 0.6 * np.hypot(*np.ptp(truth[:, 17:, 3][:, np.isfinite(truth[0, 17:, 3])], axis=1))
    points[3, 17:, 0] += 0.25 * size
    points[4, 17:] = -1
    folder = tmp_path / "results" / video.name
    folder.mkdir(parents=True)
    names = video.frames.names
    JointResult(frames=names, joints=video.joints.labels(34), points=points).write(folder)
    score = JointTask().score_video(video, folder)
    values = score.means([score])
    # Labelled after the first time: 2 frames of person 3's joints; of person 7's frames 3 and 4, the nose's 4.
    assert score.pck.counted.tolist() == [2, 3, 3, 0, 0, *[3] * 12]
    assert score.pck.labelled == 15 * 2 + 14 * 2 + 1
    assert values["found"] == pytest.approx(100 * 44 / 59)
    assert values["pck_0.2"] == pytest.approx(100 * (1 + 14 * 2 / 3) / 15)
    assert values["pck_0.3"] == pytest.approx(100)
    again = read_score(json.loads(json.dumps(score.to_json())))
    assert again.means([again]) == values
    drawn = joint_frames(video, folder)
    assert drawn.legend([names[0]]) == {1: "person 3", 2: "person 7"}
    assert drawn.score(names[2]) == pytest.approx(100)


def test_labels_that_are_missing_do_not_change_the_distances_of_others() -> None:
    truth = np.random.default_rng(0).random((2, 6, 4)) * 50
    predicted = truth + 2
    without = truth.copy()
    without[:, 5] = np.nan
    part = joint_distances(truth[:, :5], predicted[:, :5])
    np.testing.assert_array_equal(joint_distances(without, predicted)[:5], part)
    assert np.isnan(joint_distances(without, predicted)[5]).all()


def test_people_from_targets_to_pck(cli: Cli, tmp_path: Path) -> None:
    """Each target keeps the label of its annotated frame; joints do not exist before it."""
    source = root(tmp_path)
    video = opened(source)
    run, names = JointTask().start(video), video.frames.names
    for number, ((begin,), target) in enumerate(run.targets):
        (annotated,) = target.encode((12, 16)).values()
        for frame in range(begin, len(names)):
            run.collect(number, frame, target.decode(frame, annotated.label, SIZE), annotated.label)
    folder = tmp_path / "results" / video.name
    folder.mkdir(parents=True)
    run.write(folder)
    lines = (folder / "joints.csv").read_text().splitlines()
    assert lines[2] == "000000,3 head bottom,14.000,7.000,"
    assert "000001,7 head bottom,,," in lines  # not there yet
    answer = json.loads(cli("evaluate", source, "--results", folder.parent, "--json").out)
    assert list(answer["joints"]) == list(POSE_JOINTS)
    assert answer["mean"]["PCK@0.5"] > 90
    assert answer["mean"]["found"] == 100


def _edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def damage(path: Path) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_text("{"), "is no JSON file of PoseTrack"),
        (lambda path: path.write_text("[" * 100_000), "is no JSON file of PoseTrack"),
        (lambda path: path.write_text("[]"), "is no JSON file of PoseTrack"),
        (_edit(lambda c: c.update(annotations=5)), "is no JSON file of PoseTrack, .* no list"),
        (_edit(lambda c: c.update(annotations=None)), "is no JSON file of PoseTrack, .* no list"),
        (_edit(lambda c: c["images"][1].update(id=c["images"][0]["id"])), "two images have one id"),
        (_edit(lambda c: c["annotations"][1].update(track_id="x")), "annotation 1 of .* has the track_id x"),
        (_edit(lambda c: c["annotations"][1].pop("track_id")), "annotation 1 of .* lacks 'track_id'"),
        (_edit(lambda c: c["annotations"][1].update(image_id=9)), "annotation 1 of .* has the image_id 9"),
        (_edit(lambda c: c["annotations"][2].update(image_id=100)), "annotation 2 .* track_id 3 a second time"),
        (_edit(lambda c: c["annotations"][0]["keypoints"].pop()), "annotation 0 of .* has 50 keypoints"),
        (_edit(lambda c: c["annotations"][0]["keypoints"].__setitem__(0, float("nan"))), "annotation 0 .* not finite"),
        (_edit(lambda c: c["annotations"][0]["keypoints"].__setitem__(0, "x")), "annotation 0 of .* could not convert"),
        (_edit(lambda c: c["annotations"].clear()), "labels no joint"),
        (_edit(lambda c: c["annotations"].append(5)), "annotation 6 of"),
    ],
)  # fmt: skip
def test_damaged_files(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    path = root(tmp_path) / "posetrack_data" / "val" / "000342_mpii_test.json"
    damage(path)
    video = opened(tmp_path / "PoseTrack21")
    with pytest.raises(LabelError, match=message):
        JointTask().start(video)
