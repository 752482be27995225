"""Writing movies."""

import resource
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from ted.extract.frames import VideoFrames
from ted.pipeline.pictures.movie import write_movie
from ted.store.errors import CacheError, ConfigError

from ...extract.clips import blocks, inside

Picture = npt.NDArray[np.uint8]


def frame(height: int = 60, width: int = 80, seed: int = 0) -> Picture:
    return blocks(height, width, seed)


@pytest.fixture
def limit_files() -> Iterator[object]:
    """Return a function that limits the size of files, as a full disk does, for this test."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [(60, 80), (61, 83)])
def test_movie_comes_back(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = [frame(*size, seed=i) for i in range(5)]
    path = write_movie(tmp_path / "out" / "a b.mp4", iter(frames), fps=5)
    movie = VideoFrames(path)
    assert len(movie) == 5
    assert movie.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    for index, expected in enumerate(frames):
        got = movie.read(index)[: size[0], : size[1]].astype(float)
        differences = [np.abs(got - other).mean() for other in frames]
        assert int(np.argmin(differences)) == index
        assert differences[index] < 12, expected.shape
    assert list(path.parent.iterdir()) == [path]
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 5


def test_movie_takes_one_frame_at_a_time(tmp_path: Path) -> None:
    alive = 0

    class Counted(np.ndarray):  # type: ignore[type-arg]
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def frames() -> Iterator[Picture]:
        nonlocal alive
        for index in range(8):
            alive += 1
            assert alive <= 2
            yield frame(seed=index).view(Counted)

    write_movie(tmp_path / "a.mp4", frames())


def test_movies_that_cannot_be_written_leave_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"

    def broken() -> Iterator[Picture]:
        yield frame()
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_movie(path, broken())
    with pytest.raises(ConfigError, match=r"a\.mp4 has no frames"):
        write_movie(path, [])
    with pytest.raises(ConfigError, match="differ in size"):
        write_movie(path, [frame(60, 80), frame(80, 60)])
    with pytest.raises(ConfigError, match=r"written as \.mp4, \.webp, \.mov, \.webm, not 'a\.avi'"):
        write_movie(tmp_path / "a.avi", [frame()])
    for fps in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="positive number"):
            write_movie(path, [frame()], fps=fps)
    assert not list(tmp_path.iterdir())


def test_an_animated_webp_by_another_decoder(tmp_path: Path) -> None:
    """Pillow's libwebp: size, number and duration of frames, endless, and their content."""
    frames = [frame(61, 83, seed=i) for i in range(4)]
    path = write_movie(tmp_path / "a.webp", frames, fps=5)
    with Image.open(path) as image:
        assert (image.format, image.size, image.n_frames, image.info["loop"]) == ("WEBP", (83, 61), 4, 0)
        for index, expected in enumerate(frames):
            image.seek(index)
            found = np.asarray(image.convert("RGB")).astype(float)
            assert image.info["timestamp"] in (200 * index, 200 * (index + 1))  # of the begin, or of the end
            differences = [np.abs(found - other).mean() for other in frames]
            assert int(np.argmin(differences)) == index
            assert differences[index] < 12, expected.shape


def test_movies_play_in_browsers(tmp_path: Path) -> None:
    """H.264, 4:2:0, with the index before the frames, in the tagged colours."""
    frames = [frame(64, 80, seed=i) for i in range(3)]
    path = write_movie(tmp_path / "a.mp4", frames, fps=29.97)
    with av.open(str(path)) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == pytest.approx(29.97)
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (1, 1)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    movie = VideoFrames(path)
    for index, expected in enumerate(frames):
        assert np.abs(movie.read(index).astype(int) - expected)[inside(64, 80)].mean() < 4


@pytest.mark.parametrize("name", ["12:30.mp4", "caf\udce9.mp4"])
def test_any_file_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(VideoFrames(write_movie(Path(name), [frame()]))) == 1


def test_a_full_disk_is_an_error_at_any_moment(
    tmp_path: Path, limit_files: object, capfd: pytest.CaptureFixture[str]
) -> None:
    assert callable(limit_files)
    noise = [np.random.default_rng(seed).integers(0, 256, (96, 128, 3), dtype=np.uint8) for seed in range(6)]
    size = write_movie(tmp_path / "whole.mp4", noise).stat().st_size
    for limit in (0, 10, 48, 1000, size // 2, size - 700, size - 1):
        limit_files(limit)
        with pytest.raises(CacheError, match=r"cannot write .*a\.mp4: .*File too large"):
            write_movie(tmp_path / "a.mp4", noise)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.mp4"]
    assert capfd.readouterr().err == ""


def test_frames_that_cannot_be_read_back_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ted.pipeline.pictures.movie._count_frames", lambda *_: 1)
    with pytest.raises(ConfigError, match="1 of its 2 frames"):
        write_movie(tmp_path / "a.mp4", [frame(), frame()])
    assert not list(tmp_path.iterdir())
