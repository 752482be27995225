"""Datasets of tracking, MOTChallenge, MOTS and LaSOT: what is read of them, and what is refused with file and line."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ted.pipeline.datasets.mot import MotVideo
from ted.pipeline.datasets.mots import MotsVideo
from ted.pipeline.datasets.sources import Selection, Source, open_source
from ted.pipeline.datasets.table_video import TableVideo
from ted.pipeline.datasets.video import Video
from ted.store.errors import TedError

from ..mot_inputs import SIZE, mots_lines, moving, rows_of, write_images, write_lasot, write_mot, write_mots


def opened(path: Path, set_name: str | None = None, **selection: int) -> Video:
    (video,) = open_source(Source(path=path, set_name=set_name), Selection(**selection))
    return video


def test_boxes_of_motchallenge_join_where_they_enter(tmp_path: Path) -> None:
    write_mot(tmp_path)
    video = opened(tmp_path)
    assert isinstance(video, MotVideo)
    assert (video.dataset, video.name, video.tasks, len(video.frames)) == ("mot", "MOT17-02", ("boxes",), 5)
    annotated, truth = video.read_table(), video.read_truth()
    assert {frame: np.flatnonzero(np.isfinite(rows).all(1)).tolist() for frame, rows in annotated.rows.items()} == {
        0: [0],
        2: [1],
    }
    assert (truth.ids, sorted(truth.rows)) == ((1, 2), [0, 1, 2, 3, 4])
    assert truth.rows[3][0].tolist() == [16, 8, 16, 16]
    boxes, distractors = video.read_uncounted()[4]
    assert (boxes.tolist(), distractors.tolist()) == ([[2, 30, 10, 10]], [True])
    # A sequence and a folder of sequences are sources, too; every second frame: object 2 enters in the second of them.
    assert opened(tmp_path / "train" / "MOT17-02").name == opened(tmp_path / "train").name == "MOT17-02"
    every = opened(tmp_path, every=2)
    assert isinstance(every, MotVideo)
    assert (sorted(every.read_table().rows), sorted(every.read_uncounted())) == ([0, 1], [0, 1, 2])


def test_a_box_outside_of_the_frame_is_true_but_no_annotation(tmp_path: Path) -> None:
    lines = ["1,5,-20,3,9,9,1,1,1", "2,5,-4,3,9,9,1,1,1", "3,5,1,3,9,9,1,1,1"]
    write_mot(tmp_path, truth="\n".join(lines))
    video = opened(tmp_path)
    assert isinstance(video, MotVideo)
    assert {frame: rows.tolist() for frame, rows in video.read_table().rows.items()} == {1: [[-4, 3, 9, 9]]}
    assert sorted(video.read_truth().rows) == [0, 1, 2]


def test_a_test_set_has_frames_without_annotations(tmp_path: Path) -> None:
    write_images(tmp_path / "test" / "MOT17-01" / "img1", 2)
    (tmp_path / "test" / "MOT17-01" / "seqinfo.ini").write_text("[Sequence]\nseqLength=2\n")
    assert opened(tmp_path, "test").tasks == ()
    with pytest.raises(TedError, match="no sequences of MOTChallenge in a folder 'train'"):
        opened(tmp_path)


def _line(number: int, text: str) -> Callable[[Path], object]:
    lines = rows_of(moving())
    lines[number - 1] = text
    return lambda folder: (folder / "gt" / "gt.txt").write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_line(3, "2,1,3"), r"line 3 of .*gt.txt has 3 values, too few"),
        (_line(2, "1,1,nan,3,4,5,1,1,1"), "line 2 of .*gt.txt has 'nan' for x"),
        (_line(2, "1,1,2,3,4,5,inf,1,1"), "line 2 of .*gt.txt has 'inf' for column 7"),
        (_line(4, "2,1,2,3,-4,5,1,1,1"), "line 4 of .*gt.txt has a box of -4 x 5"),
        (_line(4, "6,1,2,3,4,5,1,1,1"), "line 4 of .*gt.txt has frame 6: .* 1 to 5"),
        (_line(3, "1,1,2,3,4,5,1,1,1"), "line 3 of .*gt.txt annotates object 1 in frame 1 twice; .* line 1"),
        (lambda folder: (folder / "gt/gt.txt").write_text("1,1,2,3,4,5,0,1,1"), "gt.txt has no box that counts"),
        (lambda folder: (folder / "img1/000003.png").unlink(), "img1 lacks frame 3: 000004.png is in its place"),
        (lambda folder: (folder / "img1/000005.png").unlink(), "img1 has 4 images, but .*seqinfo.ini says 5"),
        (lambda folder: (folder / "seqinfo.ini").write_text("seqLength=5"), "seqinfo.ini has no seqLength"),
    ],
)  # fmt: skip
def test_damaged_sequences_of_boxes(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    write_mot(tmp_path)
    damage(tmp_path / "train" / "MOT17-02")
    with pytest.raises(TedError, match=message):
        opened(tmp_path).annotated_frames()


def mots_source(tmp_path: Path, form: str) -> Path:
    if form == "png":
        return write_mots(tmp_path)
    if form == "text":
        frames = moving()
        write_images(tmp_path / "images" / "0002", len(frames))
        (tmp_path / "instances_txt").mkdir()
        (tmp_path / "instances_txt" / "0002.txt").write_text(mots_lines(frames))
        return tmp_path
    return write_mot(tmp_path, "MOTS20-02", truth=mots_lines(moving()))


@pytest.mark.parametrize("form", ["png", "text", "challenge"])
def test_masks_of_mots_in_three_forms(tmp_path: Path, form: str) -> None:
    video = opened(mots_source(tmp_path, form))
    assert isinstance(video, MotsVideo)
    assert (video.dataset, video.annotated_frames()) == ("mots", (0, 2))
    masks = video.read_annotated_masks()
    frames = moving()
    assert np.array_equal(masks[0], frames[0] == 2001)
    assert np.array_equal(masks[2], 2 * (frames[2] == 2002))
    names = video.frames.names
    expected = (frames[4] == 2001) + 2 * (frames[4] == 2002)
    assert np.array_equal(video.true_masks().read(names[4], SIZE), expected)
    assert np.array_equal(video.ignored(names[1]), frames[1] == 10000)
    assert video.scored_frames() == {1: names[1:], 2: names[3:]}
    assert video.first_frame_only().annotated_frames() == (0,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2001 2 48 64", "gt.txt"),  # read as boxes, of one value
        ("1 2001 2 48 64 000\n1 2001 2 48\n", "line 2 of .*gt.txt is not: frame id class height width run-lengths"),
        ("9 2001 2 48 64 000\n", "line 1 of .*gt.txt has frame 9; there are 1 to 5"),
        ("1 2001 2 48 64 ~~~\n", "line 1 of .*gt.txt has run lengths that are not"),
        ("1 2001 2 48 65 000\n", r"line 1 of .*gt.txt has run lengths of \(height, width\) \(48, 65\)"),
        (mots_lines(moving()[:1]) + "1 2005 2 48 64 " + mots_lines(moving()[:1]).split()[5], "line 3 .* overlaps"),
        (mots_lines(moving()[:1]) * 2, "line 3 of .*gt.txt has object 2001 of frame 1 a second time"),
        ("1 20010 2 48 64 000\n", "line 1 of .*gt.txt has the id 20010"),
    ],
)
def test_damaged_masks_of_mots(tmp_path: Path, text: str, message: str) -> None:
    write_mot(tmp_path, "MOTS20-02", truth=text)
    with pytest.raises(TedError, match=message):
        opened(tmp_path).read_annotated_masks()


def test_a_size_that_a_text_declares_allocates_nothing(tmp_path: Path) -> None:
    write_mot(tmp_path, "MOTS20-02", truth="1 2001 2 999999999 999999999 000\n")
    video = opened(tmp_path)
    with pytest.raises(TedError, match=r"line 1 of .*gt.txt has run lengths of .*999999999"):
        video.true_masks().read(video.frames.names[0])


def test_damaged_instances_of_mots(tmp_path: Path) -> None:
    path = write_mots(tmp_path) / "instances/0002/000002.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:60])
    with pytest.raises(TedError, match=r"000002.png is truncated"):
        opened(tmp_path).read_annotated_masks()
    Image.fromarray(np.full(SIZE, 20000, np.uint16)).save(path)
    with pytest.raises(TedError, match=r"000002.png must have one channel of 1000"):
        opened(tmp_path).read_annotated_masks()
    path.rename(path.with_name("000009.png"))
    with pytest.raises(TedError, match=r"000009.png has no frame of that name"):
        opened(tmp_path)


LASOT = [f"{4 + 3 * at},8,16,16" for at in range(4)]


def test_lasot_has_one_object_its_text_and_frames_that_hide_it(tmp_path: Path) -> None:
    write_lasot(tmp_path, [*LASOT, "0,0,0,0"], absent=[3])
    for source in (tmp_path, tmp_path / "cat", tmp_path / "cat" / "cat-1"):
        video = opened(source)
        assert isinstance(video, TableVideo)
        assert (video.dataset, video.name, video.text) == ("lasot", "cat-1", "a grey cat that jumps")
    assert sorted(video.read_table().rows) == [0]
    assert {frame: rows[0, 0] for frame, rows in video.read_truth().rows.items()} == {0: 4, 1: 7, 3: 13}
    (tmp_path / "testing_set.txt").write_text("cat-1\ncat-7\n")
    assert opened(tmp_path, "testing").name == "cat-1"
    with pytest.raises(TedError, match="no set 'other'"):
        opened(tmp_path, "other")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*LASOT[:2], "1,2,3"], "line 3 of .*groundtruth.txt must have x,y,w,h"),
        ([*LASOT[:2], "", LASOT[3]], "line 4 of .*groundtruth.txt must have x,y,w,h: one line for each frame"),
        (["NaN,1,2,3", *LASOT[1:]], "line 1 of .*groundtruth.txt has 'NaN' for column 1"),
        ([*LASOT[:3], "1,2,-3,4"], "line 4 of .*groundtruth.txt has a box of -3 x 4"),
        (["0,0,0,0"] * 4, "groundtruth.txt has no box of a visible object"),
    ],
)
def test_damaged_lasot(tmp_path: Path, lines: list[str], message: str) -> None:
    write_lasot(tmp_path, lines)
    with pytest.raises(TedError, match=message):
        opened(tmp_path)


def test_lasot_that_lacks_frames_or_flags(tmp_path: Path) -> None:
    folder = write_lasot(tmp_path, LASOT) / "cat" / "cat-1"
    (folder / "out_of_view.txt").write_text("0,0,2,0")
    with pytest.raises(TedError, match=r"out_of_view.txt must have 0 or 1 for each of the 4 frames, found: '2'"):
        opened(tmp_path)
    (folder / "out_of_view.txt").unlink()
    (folder / "img" / "00000004.png").unlink()
    (folder / "full_occlusion.txt").unlink()
    with pytest.raises(TedError, match=re.escape("groundtruth.txt has 4 lines, but ") + ".* has 3 images"):
        opened(tmp_path)
