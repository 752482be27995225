"""YouTube-VOS, MOSE, VIP, Kubric, and masks of any frames of one's own videos."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ted.pipeline.datasets.sources import Selection, Source, open_source, open_sources
from ted.pipeline.tasks.masks.png import write_mask
from ted.store.errors import ConfigError, FrameError, LabelError

from ..roots import SIZE, boxes, write_frames, write_kubric, write_mose, write_vip, write_youtube_vos

NAMES = tuple(f"{index:05d}" for index in range(0, 30, 5))


@pytest.fixture
def youtube(tmp_path: Path) -> Path:
    """A video in which object 7 joins in the second frame, object 2 in the fourth, and one without late objects."""
    masks = {name: boxes(o1=5, o2=20, o7=35) for name in NAMES}
    objects = {"7": NAMES[1:3], "1": NAMES[:5], "2": NAMES[3:5]}
    root = write_youtube_vos(tmp_path / "train", "0a49f5265b", NAMES, masks, objects)
    return write_youtube_vos(root, "b", NAMES, {NAMES[0]: boxes(o1=5)}, {"1": NAMES})


# --- YouTube-VOS


def test_objects_of_youtube_vos_join_in_their_first_frames(youtube: Path) -> None:
    video, other = open_source(Source(path=youtube))
    assert (video.dataset, video.name, len(video.frames)) == ("youtube-vos", "0a49f5265b", 6)
    masks = video.read_annotated_masks()
    assert list(masks) == [0, 1, 3]
    np.testing.assert_array_equal(masks[0], boxes(o1=5))
    np.testing.assert_array_equal(masks[1], boxes(o7=35))
    np.testing.assert_array_equal(masks[3], boxes(o2=20))
    assert video.written_frames() == NAMES[:5]
    assert video.scored_frames() == {1: NAMES[1:5], 2: NAMES[4:5], 7: NAMES[2:3]}
    assert list(other.read_annotated_masks()) == [0]
    assert other.annotated_frames() == (0,)
    assert video.annotated_frames() == (0, 1, 3)


def test_selected_frames_of_youtube_vos(youtube: Path, caplog: pytest.LogCaptureFixture) -> None:
    (video,) = open_source(Source(path=youtube), Selection(videos=("0a49f5265b",), every=3))
    with caplog.at_level(logging.WARNING):
        masks = video.read_annotated_masks()
    assert list(masks) == [0, 1]  # of frames 0 and 3
    assert "00005" in caplog.text  # where object 7 would have joined
    assert video.scored_frames() == {1: (NAMES[3],), 2: ()}
    assert video.written_frames() == (NAMES[0], NAMES[3])


def test_an_object_that_is_not_in_its_first_mask_is_left_out(youtube: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_mask(youtube / "Annotations/0a49f5265b/00015.png", boxes(o1=5))
    (video,) = open_source(Source(path=youtube), Selection(videos=("0a49f5265b",)))
    with caplog.at_level(logging.WARNING):
        assert list(video.read_annotated_masks()) == [0, 1]
    assert "objects [2] are not in their first mask" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda meta: "{", "not valid JSON"),
        (lambda meta: b"\xff\xfe", "not valid JSON"),
        (lambda meta: "[" * 100_000, "not valid JSON"),
        (lambda meta: "[]", "lists no videos"),
        (lambda meta: '{"videos": {}}', "lists no videos"),
        (lambda meta: '{"videos": {"../b": {}}}', r"'\.\./b' is not the name of a video"),
        (lambda meta: '{"videos": {"b": []}}', "lists no objects of video 'b'"),
        (lambda meta: '{"videos": {"b": {"objects": {}}}}', "lists no objects of video 'b'"),
        (lambda meta: '{"videos": {"b": {"objects": {"0": {"frames": ["00000"]}}}}}', "'0' .* not an object's number"),
        (lambda meta: '{"videos": {"b": {"objects": {"x": {"frames": ["00000"]}}}}}', "'x' .* not an object's number"),
        (lambda meta: '{"videos": {"b": {"objects": {"255": {"frames": ["00000"]}}}}}', "1 to 254"),
        (lambda meta: '{"videos": {"b": {"objects": {"1": {"frames": []}}}}}', "no frames of object 1"),
        (lambda meta: '{"videos": {"b": {"objects": {"1": {"frames": [0]}}}}}', "no frames of object 1"),
        (lambda meta: '{"videos": {"b": {"objects": {"1": 3}}}}', "no frames of object 1"),
        (lambda meta: '{"videos": {"b": {"objects": {"1": {"frames": ["../a/00000"]}}}}}', "not the name of a frame"),
        (lambda meta: meta.replace("00005", "00006"), "first appears in frame 00006"),
        (lambda meta: meta.replace('"b"', '"c"'), "'c' has no folder"),
    ],
)
def test_a_wrong_meta_json_is_refused(youtube: Path, change: object, message: str) -> None:
    assert callable(change)
    path = youtube / "meta.json"
    content = change(path.read_text())
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises((ConfigError, FrameError), match=message):
        [len(video.frames) for video in open_source(Source(path=youtube))]


def test_youtube_vos_without_its_list_is_not_taken_for_mose(youtube: Path) -> None:
    """As the archives of all frames come."""
    (youtube / "meta.json").unlink()
    (youtube / "JPEGImages/b").rename(youtube / "JPEGImages/003234408d")
    with pytest.raises(ConfigError, match=r"has videos of YouTube-VOS, but no meta\.json.*copy the meta\.json"):
        open_source(Source(path=youtube))


def test_only_objects_of_the_first_frame(youtube: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As YouTube-Similar was scored for the paper."""
    (joining,) = open_source(Source(path=youtube), Selection(videos=("0a49f5265b",)))
    with caplog.at_level(logging.WARNING):
        joining.read_annotated_masks()
    assert "objects 2, 7 join after the first frame: followed from there" in caplog.text
    caplog.clear()
    (video,) = open_source(Source(path=youtube), Selection(videos=("0a49f5265b",), first_frame_only=True))
    with caplog.at_level(logging.WARNING):
        masks = video.read_annotated_masks()
    assert list(masks) == [0]
    np.testing.assert_array_equal(masks[0], boxes(o1=5))
    assert video.scored_frames() == {1: NAMES[1:5]}
    assert video.written_frames() == NAMES[:5]
    assert not caplog.text


def test_only_objects_of_the_first_frame_of_other_sources(tmp_path: Path) -> None:
    write_mose(tmp_path / "valid", "a", [boxes(o1=5), boxes(o1=5, o2=20), boxes(o1=5, o2=20)])
    first = Selection(first_frame_only=True)
    (joining,), (video,) = (open_source(Source(path=tmp_path / "valid"), choice) for choice in (None, first))
    assert (list(joining.read_annotated_masks()), list(video.read_annotated_masks())) == ([0, 1], [0])
    assert video.scored_frames() is None
    source = Source(path=tmp_path / "valid/JPEGImages/a", annotations=tmp_path / "valid/Annotations/a")
    assert list(open_source(source, first)[0].read_annotated_masks()) == [0]
    (tmp_path / "boxes.csv").write_text("1,1,5,5,10,10\n")
    with pytest.raises(ConfigError, match="only masks can be limited to the first frame, and 'a' has boxes"):
        open_source(Source(path=source.path, annotations=tmp_path / "boxes.csv"), first)


def test_missing_masks_of_youtube_vos(youtube: Path) -> None:
    (youtube / "Annotations/b/00000.png").unlink()
    (video,) = open_source(Source(path=youtube), Selection(videos=("b",)))
    with pytest.raises(LabelError, match=r"cannot read mask .*00000\.png"):
        video.read_annotated_masks()
    write_mask(youtube / "Annotations/b/00000.png", np.ones((40, 55), np.uint8))
    with pytest.raises(LabelError, match=r"55x40 .* 56x40"):
        video.read_annotated_masks()
    write_mask(youtube / "Annotations/b/00000.png", boxes(o2=5))
    with pytest.raises(LabelError, match="no mask to start from"):
        video.read_annotated_masks()


# --- MOSE, VIP, Kubric


def test_mose_is_every_folder(tmp_path: Path) -> None:
    for name in ("v10", "v9"):
        write_mose(tmp_path / "valid", name, [boxes(o1=5, o2=20)] * 3)
    (tmp_path / "valid/meta_valid.json").write_text("{}")
    videos = open_source(Source(path=tmp_path / "valid"))
    assert [(video.dataset, video.name, len(video.frames)) for video in videos] == [
        ("mose", "v9", 3),
        ("mose", "v10", 3),
    ]
    np.testing.assert_array_equal(videos[0].read_annotated_masks()[0], boxes(o1=5, o2=20))
    assert len(videos[0].annotations()) == 3
    (tmp_path / "valid/JPEGImages/empty").mkdir()
    empty, *others = open_source(Source(path=tmp_path / "valid"))
    with pytest.raises(FrameError, match="'empty' has no frames"):
        len(empty.frames)
    assert [len(video.frames) for video in others] == [3, 3]
    (tmp_path / "none/JPEGImages").mkdir(parents=True)
    with pytest.raises(FrameError, match="no videos"):
        open_source(Source(path=tmp_path / "none"))


def test_vip(tmp_path: Path) -> None:
    root = write_vip(tmp_path / "VIP_Fine", "videos1", [boxes(o2=5, o13=20)] * 2)
    with (root / "lists/val_videos.txt").open("a") as file:
        file.write("\n./Images/videos1\n")
    (video,) = open_source(Source(path=root))
    assert (video.dataset, video.name, video.tasks) == ("vip", "videos1", ("parts", "boxes"))
    np.testing.assert_array_equal(video.read_annotated_masks()[0], boxes(o2=5, o13=20))
    assert list(video.annotations()) == list(video.frames.names) == ["000000000001", "000000000026"]
    with pytest.raises(ConfigError, match=r"no set 'train' .*\(there: val\)"):
        open_source(Source(path=root, set_name="train"))
    for line, message in [("..", "line 1 .* not the name of a video"), ("", "is empty")]:
        (root / "lists/val_videos.txt").write_text(f"{line}\n")
        with pytest.raises(ConfigError, match=message):
            open_source(Source(path=root))
    (root / "lists/val_videos.txt").write_text("videos2\n")
    with pytest.raises(FrameError, match="'videos2' has no folder"):
        open_source(Source(path=root))


def test_kubric_videos_and_folders_of_them(tmp_path: Path) -> None:
    root = tmp_path / "kubric"
    for name in ("b10", "b2"):
        write_kubric(root / name, [boxes(o1=5, o2=20)] * 3)
    (root / "logs").mkdir()
    videos = open_source(Source(path=root))
    assert [(video.dataset, video.name) for video in videos] == [("kubric", "b2"), ("kubric", "b10")]
    (single,) = open_source(Source(path=root / "b10"))
    for video in (videos[1], single):
        assert video.frames.names == ("rgba_00000", "rgba_00001", "rgba_00002")
        rgba = np.asarray(Image.open(root / "b10/rgba_00001.png"))
        np.testing.assert_array_equal(video.frames.read(1), rgba[..., :3])
        np.testing.assert_array_equal(video.read_annotated_masks()[0], boxes(o1=5, o2=20))
        assert video.annotations()["rgba_00002"] == root / "b10/segmentation_00002.png"
    # Grayscale masks of 16 bits serve as well.
    Image.fromarray(boxes(o1=9).astype(np.uint16)).save(root / "b2/segmentation_00000.png")
    np.testing.assert_array_equal(open_source(Source(path=root / "b2"))[0].read_annotated_masks()[0], boxes(o1=9))
    (root / "b2/segmentation_00000.png").unlink()
    with pytest.raises(LabelError, match="no mask to start from"):
        open_source(Source(path=root / "b2"))[0].read_annotated_masks()


def test_roots_have_their_own_masks(tmp_path: Path) -> None:
    root = write_kubric(tmp_path / "v", [boxes(o1=5)])
    for given in ({"first_mask": root / "segmentation_00000.png"}, {"annotations": root}):
        with pytest.raises(ConfigError, match="a video of Kubric, which has its own"):
            open_source(Source(path=root, **given))


# --- masks of any frames


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    write_frames(tmp_path / "clip", [str(index) for index in range(12)])
    return tmp_path / "clip"


def test_masks_of_any_frames(clip: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    write_mask(masks / "10.png", boxes(o2=5))
    Image.fromarray((boxes(o1=9) > 0).astype(np.uint8) * 255).save(masks / "3.png")  # a binary mask
    (video,) = open_source(Source(path=clip, annotations=masks))
    given = video.read_annotated_masks()
    assert list(given) == [3, 10]
    np.testing.assert_array_equal(given[3], boxes(o1=9))
    np.testing.assert_array_equal(given[10], boxes(o2=5))
    assert list(video.annotations()) == ["3", "10"]  # the truth of frames that a result did not start from


def test_masks_that_fit_no_frame_are_refused(clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    masks = tmp_path / "masks"
    with pytest.raises(LabelError, match="there is no folder of masks"):
        open_source(Source(path=clip, annotations=masks))
    masks.mkdir()
    with pytest.raises(LabelError, match="there are no masks in"):
        open_source(Source(path=clip, annotations=masks))
    write_mask(masks / "00003.png", boxes(o2=5))
    with pytest.raises(LabelError, match=r"00003; masks are named like the frames, 0\.png to 11\.png"):
        open_source(Source(path=clip, annotations=masks))
    with pytest.raises(ConfigError, match="leave one of them out"):
        open_source(Source(path=clip, annotations=masks, first_mask=masks / "00003.png"))
    # Of a selection, what is not selected is left out; of nothing nothing can start.
    (masks / "00003.png").rename(masks / "3.png")
    (video,) = open_source(Source(path=clip, annotations=masks), Selection(every=2))
    with caplog.at_level(logging.WARNING), pytest.raises(LabelError, match="no mask to start from"):
        video.read_annotated_masks()
    assert "the mask of frame 3 is left out" in caplog.text


def test_an_empty_mask_of_a_later_frame_is_refused(clip: Path, tmp_path: Path) -> None:
    write_mask(tmp_path / "masks/0.png", boxes(o1=5))
    write_mask(tmp_path / "masks/4.png", np.zeros(SIZE, np.uint8))
    (video,) = open_source(Source(path=clip, annotations=tmp_path / "masks"))
    with pytest.raises(LabelError, match=r"4\.png: the mask holds no object"):
        video.read_annotated_masks()


# --- any list of videos


def test_meta_json_beside_other_sources(youtube: Path, clip: Path) -> None:
    chosen = open_sources([Source(path=youtube), Source(path=clip)], Selection(videos=("b", "clip")))
    assert [video.name for video in chosen] == ["b", "clip"]
    assert json.loads((youtube / "meta.json").read_text())["videos"].keys() == {"0a49f5265b", "b"}
