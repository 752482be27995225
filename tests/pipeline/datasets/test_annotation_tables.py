"""Tables of boxes and points: what is read, and what is refused, with the line."""

from pathlib import Path

import pytest

from ted.pipeline.datasets.annotation_tables import find_annotation_table, read_annotation_table
from ted.store.errors import LabelError


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_boxes_of_motchallenge(tmp_path: Path) -> None:
    text = "\ufeff1, 7, 10.5, 20, 30, 4e1, 1, -1, -1, -1\r\n\r\n12.0,3,-5,.5,6,7\r\n4,7,1,2,3,4,0,1,0.3\r\n"
    table = read_annotation_table(write(tmp_path / "gt.txt", text))
    assert table.kind == "boxes"
    # The last row says that it does not count.
    assert [(row.line, row.frame, row.id, row.values) for row in table.rows] == [
        (1, "1", 7, (10.5, 20, 30, 40)),
        (3, "12", 3, (-5, 0.5, 6, 7)),
    ]


def test_a_header_names_columns_in_any_order(tmp_path: Path) -> None:
    table = read_annotation_table(write(tmp_path / "a.csv", 'H,Width,note,y,x,id,Frame\n4,3,"a,b",2,1,9,5\n'))
    assert (table.kind, table.rows[0].frame, table.rows[0].id) == ("boxes", "5", 9)
    assert table.rows[0].values == (1, 2, 3, 4)


def test_whether_a_row_counts(tmp_path: Path) -> None:
    cells = ("1", "TRUE", "0.5", "", "0", "0.0", "false")
    rows = "".join(f"{frame},1,2,3,{cell}\n" for frame, cell in enumerate(cells))
    table = read_annotation_table(write(tmp_path / "points.csv", f"frame,id,x,y,visible\n{rows}"))
    assert [row.frame for row in table.rows] == ["0", "1", "2", "3"]


def test_points_as_results_have_them(tmp_path: Path) -> None:
    text = "frame,point,track,x,y,visible,mass\n00000,0,4,1.5,2.5,1,1.0\n00001,0,4,,,0,0.1\n00002,0,4,1,2,0,0.3\n"
    table = read_annotation_table(write(tmp_path / "tracks.csv", text))
    assert table.kind == "points"
    assert [(row.frame, row.id, row.values) for row in table.rows] == [("00000", 4, (1.5, 2.5))]
    plain = read_annotation_table(write(tmp_path / "points.csv", "frame,id,x,y\nimg_7,0,3,4\n"))
    assert [(row.frame, row.id, row.values) for row in plain.rows] == [("img_7", 0, (3, 4))]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is not text"),
        (b"1,1,2,3,4,5\xff\n", "is not text"),
        ("1,1,2,3,4,5\0\n", "is not text"),
        ("10,20,30,40\n", "line 1 of .* GOT-10k and LaSOT, .* put the number of the frame"),
        ("1 1 10 20 30 40\n", "line 1 .* must be numbers"),
        ("1\t1\t10\t20\t30\t40\n", "line 1 .* must be numbers"),
        ("1,1,10,20,30\n", "line 1 .* has 5 comma-separated values"),
        ("1,1,2,3,4,5\n1,2,3\n", "line 2 .* has 3 values, too few for frame, id, x, y, w, h"),
        ("1,1,nan,3,4,5\n", "line 1 .* has 'nan' for x, .* leave the line out"),
        ("1,1,2,inf,4,5\n", "line 1 .* has 'inf' for y"),
        ("1,1,2,-1e999,4,5\n", "'-1e999' for y: more than a million"),
        ("1,1,2,3,1e7,5\n", "'1e7' for w: more than a million"),
        ("1,1,2,3,-4,5\n", "line 1 .* has a box of -4 x 5: width and height must be positive"),
        ("1,1,2,3,4,0\n", "must be positive"),
        ("1,1,2,3,4,5\n\n1,2,3,=1+1,5,6\n", r"line 3 .* has '=1\+1' for y"),
        ("=cmd|' /C calc'!A0,1,2,3,4,5\n", "line 1 .* must be numbers"),
        ("1,-1,2,3,4,5\n", "has the id '-1': .* files of detections"),
        ("1,1.5,2,3,4,5\n", "has '1.5' for id, which must be a whole number"),
        ("1.5,1,2,3,4,5\n", "has '1.5' for frame, which must be a whole number"),
        ("1e300,1,2,3,4,5\n", "has '1e300' for frame, .* a billion at most"),
        ("1,1_0,2,3,4,5\n", "'1_0' for id"),
        ("1,١,2,3,4,5\n", "for id, which must be a whole number"),
        ("1,1,2,3,4,\x1b[2J\n", r"has '\\x1b\[2J' for h"),
        ("1,1,2,3,4,5,0\n", "has no boxes"),
        ("frame,id,x,y\n", "has no points"),
        ("frame,id,x,y\n0,1,,\n", "has no points"),
        ("frame,id,x,y\n0,1,2,\n", "line 2 .* has '' for y"),
        ("1,1,2,3,4,5,1\n2,1,2,3,4,5,nan\n", "line 2 .* has 'nan' for conf, which must be a number"),
        ("frame,id,x,y,visible\n0,1,2,3,no\n", "line 2 .* has 'no' for visible, which must be a number"),
        ("frame,id,x,y,visible\n0,1,2,3,False\n", "has no points"),
        ("frame,x,y\n0,1,2\n", "line 1 .* without id"),
        ("frame,id,x,y,w\n0,1,2,3,4\n", "line 1 .* without h"),
        ("frame,joint,x,y\n00001,neck,2,3\n", "line 1 .* without id"),
        ("frame,id,x,x,y\n0,1,2,3,4\n", "names the column 'x' twice"),
        ('frame,id,x,y\n0,1,"2,3\n', "line 2 .* cannot be read as comma-separated values"),
        ("frame,id,x,y\n0,1," + "9" * 200_000 + ",1\n", "line 2 .* cannot be read"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = write(tmp_path / "boxes.csv", content)
    with pytest.raises(LabelError, match=message) as refused:
        read_annotation_table(path)
    assert str(path) in str(refused.value)
    assert len(str(refused.value)) < 500 + len(str(path))


def test_which_file_of_a_folder_is_meant(tmp_path: Path) -> None:
    assert find_annotation_table(tmp_path) is None
    write(tmp_path / "readme.txt", "1")
    assert find_annotation_table(tmp_path) is None
    path = write(tmp_path / "gt.txt", "1")
    assert find_annotation_table(tmp_path) == find_annotation_table(path) == path
    write(tmp_path / "points.csv", "1")
    with pytest.raises(LabelError, match=r"several tables \(gt.txt, points.csv\)"):
        find_annotation_table(tmp_path)
