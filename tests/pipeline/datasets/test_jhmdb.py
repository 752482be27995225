"""Reading JHMDB roots."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from ted.pipeline.datasets.jhmdb import JOINTS, JointVideo
from ted.pipeline.datasets.sources import Selection, Source, open_sources
from ted.store.errors import ConfigError, FrameError, LabelError

from ..point_inputs import moving_square, write_jhmdb, write_joints


def videos(root: Path, selection: Selection | None = None, **source: str) -> list[JointVideo]:
    found = open_sources([Source(path=root, **source)], selection)  # type: ignore[arg-type]
    assert all(isinstance(video, JointVideo) for video in found)
    return [video for video in found if isinstance(video, JointVideo)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_jhmdb(tmp_path / "jhmdb", {"one (1)": 5, "two#2": 3})


def test_the_test_clips_are_read_with_their_joints(root: Path) -> None:
    one, two = videos(root)
    assert (one.dataset, one.name, two.name) == ("jhmdb", "one (1)", "two#2")
    frames, joints = moving_square(5, 0)
    assert one.frames.names == ("00001", "00002", "00003", "00004", "00005")
    np.testing.assert_array_equal(one.frames.read(3), frames[3])
    np.testing.assert_allclose(one.joints.read(one.frames.names), joints)


def test_joints_follow_the_selected_frames(root: Path) -> None:
    (one,) = videos(root, Selection(videos=("one (1)",), every=2, limit=2))
    assert one.frames.names == ("00001", "00003")
    np.testing.assert_allclose(one.joints.read(one.frames.names), moving_square(5, 0)[1][:, :, [0, 2]])


def test_a_file_may_cover_only_the_first_frames(root: Path) -> None:
    joints = moving_square(5, 0)[1]
    write_joints(root, "one (1)", joints[:, :, :3])
    one, _ = videos(root)
    np.testing.assert_allclose(one.joints.read(one.frames.names), joints[:, :, :3])
    with pytest.raises(LabelError, match="joints for 3 frames, but not for frame 00004"):
        one.joints.read(one.frames.names[3:])
    write_joints(root, "one (1)", joints[:, :, :1])  # which MATLAB writes with two axes
    np.testing.assert_allclose(one.joints.read(one.frames.names), joints[:, :, :1])


def test_lists_of_other_splits_and_wrong_lists(root: Path) -> None:
    splits = root / "splits"
    (splits / "jump_test_split2.txt").write_text("two#2.avi 2\n\none (1).avi 1\n")
    assert [video.name for video in videos(root, set_name="split2")] == ["two#2"]
    with pytest.raises(ConfigError, match=r"sets there: split1, split2"):
        videos(root, set_name="split3")
    (splits / "run_test_split1.txt").write_text("two#2.avi 2")
    with pytest.raises(ConfigError, match="listed twice: for 'jump'"):
        videos(root)
    (splits / "run_test_split1.txt").write_text("../two.avi 2")
    with pytest.raises(ConfigError, match=r"line 1 of .*run_test_split1"):
        videos(root)
    (splits / "run_test_split1.txt").write_text("missing.avi 2")
    (missing,) = [video for video in videos(root) if video.name == "missing"]
    with pytest.raises(FrameError, match="'missing' has no folder"):
        len(missing.frames)
    (splits / "._jump_test_split1.txt").write_bytes(b"\0\5\x16\7")  # of macOS
    assert len(videos(root)) == 3
    (splits / "._jump_test_split1.txt").unlink()
    for path in splits.iterdir():
        path.write_text("one (1).avi 1\n")
    with pytest.raises(ConfigError, match="name no test clip"):
        videos(root)
    with pytest.raises(ConfigError, match="a JHMDB root, which has its own"):
        open_sources([Source(path=root, first_mask=splits / "jump_test_split1.txt")])


def test_damaged_joints_say_so(root: Path) -> None:
    one, _ = videos(root)
    path = one.joints.path
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    cases = [b"", whole[:100], whole[: len(whole) // 2], rng.bytes(300)]
    for data in cases:
        path.write_bytes(data)
        with pytest.raises(LabelError, match=r"joint_positions\.mat"):
            one.joints.read(one.frames.names)
    for content in ({"pos_img": np.zeros((3, 15, 5))}, {"other": np.ones(3)}, {"pos_img": np.full((2, 4, 5), np.nan)}):
        savemat(path, content)
        with pytest.raises(LabelError, match="pos_img"):
            one.joints.read(one.frames.names)
    path.unlink()
    with pytest.raises(LabelError, match="does not exist"):
        one.joints.read(one.frames.names)


def test_a_real_root(shared: Path) -> None:
    root = shared / "data" / "jhmdb-mini"
    if not root.is_dir():
        pytest.skip(f"needs {root}")
    clips = videos(root)
    assert [(video.name.split("_")[0], len(video.frames)) for video in clips] == [
        ("Frisbee", 37),
        ("Goal", 40),
        ("RATRACE", 25),
    ]
    for video in clips:
        joints = video.joints.read(video.frames.names)
        assert joints.shape == (2, len(JOINTS), len(video.frames))
        assert video.frames.size == (240, 320)
        # The head is above the ankles, the joints are in the frame.
        assert (joints[1, JOINTS.index("face")] < joints[1, JOINTS.index("left ankle")]).mean() > 0.9
        assert 0 <= joints.min() < joints[0].max() < 320
