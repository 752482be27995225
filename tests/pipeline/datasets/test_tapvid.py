"""Reading TAP-Vid's pickles, without running what they hold."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ted.pipeline.datasets.numpy_pickle import read_numpy_pickle
from ted.pipeline.datasets.point_queries import QueryMode, Tracks, choose_queries
from ted.pipeline.datasets.sources import Selection, Source, open_sources
from ted.pipeline.datasets.tapvid import TrackVideo
from ted.store.errors import ConfigError, FrameError, LabelError

from ..point_inputs import SIZE, moving_square, tapvid_clip, write_pickle


def videos(path: Path, selection: Selection | None = None) -> list[TrackVideo]:
    return [video for video in open_sources([Source(path=path)], selection) if isinstance(video, TrackVideo)]


# --- pickles


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol_are_read(tmp_path: Path, protocol: int) -> None:
    rng = np.random.default_rng(protocol)
    content = {
        "float": rng.random((3, 4)),
        "column order": np.asfortranarray(rng.random((3, 4)).astype(np.float32)),
        "bool": rng.random(5) < 0.5,
        "nested": [(rng.integers(0, 9, 3), b"\xff\x00", "text", 1, None)],
    }
    found = read_numpy_pickle(write_pickle(tmp_path / "a.pkl", content, protocol))
    np.testing.assert_equal(found, content)


class Hostile:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call = call, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_pickle_executes_nothing(tmp_path: Path, protocol: int) -> None:
    target = tmp_path / "made"
    for call in (
        Hostile(Path.touch, target),
        Hostile(open, str(target), "w"),
        Hostile(eval, f"open({str(target)!r}, 'w')"),
        Hostile(np.savetxt, str(target), [1]),
        Hostile(np.load, str(target), None, True),
        Hostile(getattr, target, "touch"),
    ):
        # The payload works where it is not refused: the test would notice.
        if call.call[0] is open:
            pickle.loads(pickle.dumps(call, protocol=protocol)).close()
            assert target.exists()
            target.unlink()
        clip = {"video": np.zeros((2, 4, 4, 3), np.uint8), "points": call, "occluded": np.zeros((1, 2), bool)}
        path = write_pickle(tmp_path / "hostile.pkl", {"a": clip}, protocol)
        with pytest.raises(LabelError, match=r"hostile\.pkl asks for .* to be called.*Nothing was called"):
            videos(path)
        assert not target.exists()


def test_a_hostile_codec_and_other_opcodes_are_refused(tmp_path: Path) -> None:
    for data in (
        b"c_codecs\nencode\n(Vx\nVzlib\ntR.",
        b"cos\nsystem\n(Vtrue\ntR.",
        b"(ios\nsystem\n.",
        b"\x82\x01.",  # the registry of extensions
        b"Pname\n.",  # a persistent object
    ):
        path = tmp_path / "a.pkl"
        path.write_bytes(data)
        with pytest.raises(LabelError, match=r"a\.pkl"):
            read_numpy_pickle(path)


def test_damaged_pickles_say_so(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "a.pkl", {"a": tapvid_clip(3)})
    whole = path.read_bytes()
    for data in (b"", whole[:50], whole[:-20], b"no pickle", np.random.default_rng(0).bytes(200)):
        path.write_bytes(data)
        with pytest.raises(LabelError, match=r"a\.pkl is damaged"):
            read_numpy_pickle(path)


def object_array(state: tuple[Any, ...], raw: bytes, name: str = "numpy._core.multiarray") -> bytes:
    """Return a pickle of an array whose type is an object's, over raw bytes."""

    class Type:
        def __reduce__(self) -> Any:
            return np.dtype, ("O8", False, True), state

    class Array:
        def __reduce__(self) -> Any:
            rebuild = np.zeros(1).__reduce__()[0]
            return rebuild, (np.ndarray, (0,), b"b"), (1, (len(raw) // 8,), Type(), False, raw)

    return pickle.dumps(Array(), protocol=2).replace(b"numpy._core.multiarray", name.encode())


@pytest.mark.parametrize("name", ["numpy._core.multiarray", "numpy.core.multiarray"])
def test_arrays_of_objects_over_raw_bytes_are_refused(tmp_path: Path, name: str) -> None:
    """Reading them would follow the author's pointers."""
    path = tmp_path / "a.pkl"
    raw = (0xDEADBEEF).to_bytes(8, "little") * 4
    for state in (
        (3, "|", None, None, None, -1, -1, 63),
        (3, "|", None, None, None, -1, -1, 0),
        (3, "<", None, ("f",), {"f": (np.dtype("f8"), 0)}, 8, 1, 0),
    ):
        path.write_bytes(object_array(state, raw, name))
        with pytest.raises(LabelError, match=r"a\.pkl asks for an array of type"):
            read_numpy_pickle(path)


@pytest.mark.parametrize("kind", ["O", "V8", "M8[ns]", "i4,O", [("f", "i4")]])
def test_arrays_of_other_than_numbers_and_text_are_refused(tmp_path: Path, kind: Any) -> None:
    path = write_pickle(tmp_path / "a.pkl", {"a": np.zeros(3, np.dtype(kind))}, 2)
    with pytest.raises(LabelError, match=r"a\.pkl asks for"):
        read_numpy_pickle(path)


def test_arrays_whose_shape_does_not_fit_their_bytes_are_refused(tmp_path: Path) -> None:
    data = pickle.dumps(np.arange(6, dtype="u1").reshape(2, 3), protocol=2)
    for one, other in ((b"K\x02K\x03", b"K\x02K\xff"), (b"K\x02K\x03", b"J\xff\xff\xff\xffK\x03")):
        assert one in data
        (tmp_path / "a.pkl").write_bytes(data.replace(one, other))
        with pytest.raises(LabelError, match="damaged"):
            read_numpy_pickle(tmp_path / "a.pkl")


FUZZ = r"""
import pickle, random, sys
from pathlib import Path
import numpy as np
from ted.pipeline.datasets.sources import Source, open_sources
from ted.store.errors import TedError

folder, seed = Path(sys.argv[1]), int(sys.argv[2])
rng = random.Random(seed)
clip = {"video": np.zeros((2, 4, 4, 3), np.uint8), "points": np.zeros((1, 2, 2)), "occluded": np.zeros((1, 2), bool)}
wholes = [pickle.dumps({"a": clip, "b": dict(clip, video=[b"x"] * 2)}, protocol) for protocol in range(6)]
codes = b"cRbB}](.0a2uetlNKJ\x85\x86\x87\x88q\x8c\x93\x94rhjso\x81\x8f\x92iP"
names = [b"numpy\nndarray\n", b"numpy\ndtype\n", b"numpy._core.multiarray\n_reconstruct\n", b"os\nsystem\n",
         b"numpy._core.numeric\n_frombuffer\n", b"X\x02\0\0\0O8", b"X\x02\0\0\0u1", b"_codecs\nencode\n"]
refused = 0
for number in range(1500):
    path = folder / f"{number}.pkl"
    data = bytearray(rng.choice(wholes))
    if rng.random() < 0.3:
        data = bytearray(b"\x80\x04" + b"".join(
            rng.choice([bytes([rng.choice(codes)]), b"c" + rng.choice(names[:5]), rng.choice(names)])
            for _ in range(rng.randrange(1, 30))) + b".")
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data))
        data[at : at + rng.randrange(3)] = rng.choice([rng.randbytes(2), bytes([rng.choice(codes)]), rng.choice(names)])
    path.write_bytes(data)
    try:
        for video in open_sources([Source(path=path)]):
            video.frames.read(0), video.frames.digest()
            video.tracks.read(video.frames.names, video.frames.size)
    except TedError:
        refused += 1
    path.unlink()
print(refused)
"""


@pytest.mark.parametrize("seed", range(2))
def test_no_pickle_crashes_or_raises_anything_else(tmp_path: Path, seed: int) -> None:
    """In a process of its own, which a wrong pointer would kill."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FUZZ, str(tmp_path), str(seed)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 1000


# --- videos


@pytest.mark.parametrize("encoded", [False, True])
def test_videos_and_tracks_are_read(tmp_path: Path, encoded: bool) -> None:
    path = write_pickle(tmp_path / "a.pkl", {"one": tapvid_clip(7, 0, encoded), "two": tapvid_clip(4, 1, encoded)})
    one, two = videos(path)
    assert (one.dataset, one.name, two.name) == ("tapvid", "one", "two")
    assert (len(one.frames), one.frames.size, one.frames.names[6]) == (7, SIZE, "00006")
    frames, joints = moving_square(7, 0)
    for index in (0, 6):
        np.testing.assert_array_equal(one.frames.read(index), frames[index])
    tracks = one.tracks.read(one.frames.names, one.frames.size)
    np.testing.assert_allclose(tracks.xy, joints.transpose(1, 2, 0) + 0.5, atol=1e-4)
    assert tracks.occluded.sum(1).tolist() == [0, 2, 7, 0]
    selected, _ = videos(path, Selection(every=3, limit=2))
    np.testing.assert_array_equal(selected.tracks.read(selected.frames.names, SIZE).xy, tracks.xy[:, [0, 3]])


def test_frames_are_told_apart_by_their_digest(tmp_path: Path) -> None:
    clip = tapvid_clip(4)
    one, two = videos(write_pickle(tmp_path / "a.pkl", {"one": clip, "two": tapvid_clip(4, 1)}))
    elsewhere = videos(write_pickle(tmp_path / "b.pkl", [clip]))[0]
    assert elsewhere.name == "b_00000"
    assert one.frames.digest() == elsewhere.frames.digest()
    assert one.frames.digest() != two.frames.digest()
    assert one.frames.digest([0, 1]) != one.frames.digest([1, 0])
    clip["video"] = clip["video"].reshape(4, SIZE[1], SIZE[0], 3)  # the same bytes
    assert videos(write_pickle(tmp_path / "c.pkl", [clip]))[0].frames.digest() != one.frames.digest()


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "a.pkl", {"one": tapvid_clip(4)})
    assert len(videos(path)[0].frames) == 4
    write_pickle(path, {"one": tapvid_clip(5)})
    assert len(videos(path)[0].frames) == 5


def read_all(path: Path) -> list[Tracks]:
    return [video.tracks.read(video.frames.names, video.frames.size) for video in videos(path)]


def changed(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in (tapvid_clip(4) | values).items() if value is not None}


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ({}, LabelError, "at least one"),
        (3, LabelError, "not int"),
        ({"a": changed(points=None)}, LabelError, "must be a dict with video, points, occluded"),
        ({"../a": changed()}, ConfigError, "cannot be the name"),
        ({"a": changed(video=np.zeros((4, 5, 5, 3)))}, FrameError, "float64"),
        ({"a": changed(video=[])}, FrameError, "at least one"),
        ({"a": changed(video=["text"] * 4)}, FrameError, "found: list"),
        ({"a": changed(points=np.zeros((4, 3, 2)))}, LabelError, r"must be \(track, 4, 2\)"),
        ({"a": changed(occluded=np.zeros((3, 4), bool))}, LabelError, r"\(track, 4\)"),
        ({"a": changed(points=np.full((4, 4, 2), np.nan))}, LabelError, "not finite"),
        ({"a": changed(points=np.full((4, 4, 2), 7.5))}, LabelError, "from 7.5 to 7.5: .* divide pixels"),
        ({"a": changed(points=np.full((4, 4, 2), -0.1))}, LabelError, "divide pixels"),
        ({"a": changed(points=[[1], [1, 2]])}, LabelError, "are not arrays"),
        ({"a": changed(video=[b"no image"] * 4)}, FrameError, "cannot decode frame 0"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: Any, error: type[Exception], message: str) -> None:
    path = write_pickle(tmp_path / "a.pkl", content)
    with pytest.raises(error, match=message):
        read_all(path)


# --- queries


def plain_queries(occluded: Any, mode: QueryMode) -> list[tuple[int, int]]:
    """(frame, track) of each query, in words of the benchmark."""
    if mode == "first":
        return [(list(hidden).index(False), track) for track, hidden in enumerate(occluded) if not all(hidden)]
    frames = range(0, occluded.shape[1], 5)
    return [(frame, track) for frame in frames for track in range(len(occluded)) if not occluded[track, frame]]


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_queries_are_those_of_the_benchmark(mode: QueryMode) -> None:
    occluded = np.random.default_rng(0).random((30, 12)) < 0.7
    occluded[3] = True
    queries = choose_queries(Tracks(xy=np.zeros((30, 12, 2)), occluded=occluded), mode)
    found = list(zip(queries.frames.tolist(), queries.tracks.tolist(), strict=True))
    assert found == plain_queries(occluded, mode)
    groups = list(queries.by_frame())
    assert [frame for frame, _ in groups] == sorted({frame for frame, _ in found})
    assert sorted(index for _, indices in groups for index in indices) == list(range(len(found)))
    assert all((queries.frames[indices] == frame).all() for frame, indices in groups)


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_no_track_or_none_visible_is_no_query(mode: QueryMode) -> None:
    for count in (0, 2):
        tracks = Tracks(xy=np.zeros((count, 3, 2)), occluded=np.ones((count, 3), bool))
        queries = choose_queries(tracks, mode)
        assert not len(queries.frames)
        assert not list(queries.by_frame())
