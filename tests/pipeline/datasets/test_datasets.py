"""Opening sources, selecting videos and frames."""

import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from ted.pipeline.datasets.masks_io import read_mask
from ted.pipeline.datasets.sources import Selection, Source, open_source, open_sources
from ted.pipeline.datasets.video import Video
from ted.pipeline.synthetic.rendering import render
from ted.pipeline.synthetic.scene import SceneSpec
from ted.pipeline.synthetic.writing import write_davis
from ted.pipeline.tasks.masks.png import write_mask
from ted.store.errors import ConfigError, FrameError, LabelError

SPEC = SceneSpec(frames=5, size=(40, 56), radius=(8, 8), motion="bouncing")


@pytest.fixture(scope="module")
def rendered() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    clip = render(SPEC)
    return clip.frames, clip.masks


@pytest.fixture
def root(tmp_path: Path, rendered: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]) -> Path:
    """A DAVIS root of three sequences."""
    for name in ("bear", "two words", "v1.5"):
        write_davis(tmp_path / "davis", name, *rendered)
    return tmp_path / "davis"


def frames_of(root: Path, sequence: str) -> Path:
    return root / "JPEGImages" / "480p" / sequence


def first_mask(video: Video) -> npt.NDArray[np.uint8]:
    ((frame, mask),) = video.read_annotated_masks().items()
    assert frame == 0
    return mask


def write_clip(path: Path, count: int = 5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (56, 40))
    for index in range(count):
        writer.write(np.full((40, 56, 3), 40 * index, dtype=np.uint8))
    writer.release()
    return path


# --- DAVIS


def test_davis_root(root: Path, rendered: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]) -> None:
    videos = open_sources([Source(path=root)])
    assert [(video.dataset, video.name) for video in videos] == [
        ("davis", "bear"),
        ("davis", "two words"),
        ("davis", "v1.5"),
    ]
    for video in videos:
        assert len(video.frames) == 5
        assert video.frames.names == ("00000", "00001", "00002", "00003", "00004")
        assert video.frames.size == (40, 56)
        np.testing.assert_array_equal(first_mask(video), rendered[1][0])
        assert list(video.annotations()) == list(video.frames.names)
        np.testing.assert_array_equal(read_mask(video.annotations()["00003"]), rendered[1][3])


def test_davis_mini(shared: Path) -> None:
    videos = open_sources([Source(path=shared / "data/davis-mini")])
    assert [(video.name, len(video.frames), video.frames.size) for video in videos] == [
        ("blackswan", 50, (480, 854)),
        ("camel", 40, (480, 854)),
        ("dogs-jump", 66, (240, 432)),
    ]
    assert [int(first_mask(video).max()) for video in videos] == [1, 1, 3]
    assert [len(video.annotations()) for video in videos] == [50, 40, 66]


def test_opening_decodes_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(tmp_path / "clip.avi")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(cv2, "imdecode", refuse)
    monkeypatch.setattr(av, "open", refuse)
    monkeypatch.setattr(Image, "open", refuse)
    sources = [Source(path=root), Source(path=clip), Source(path=frames_of(root, "bear") / ".." / "v1.5")]
    with pytest.raises(ConfigError):
        open_sources(sources)  # v1.5 twice
    assert len(open_sources(sources[:2], Selection(every=2, limit=2))) == 4


def test_other_sets_and_resolutions(root: Path) -> None:
    (root / "ImageSets/2017/mine.txt").write_text("\ufeffv1.5\r\n\r\n  bear \r\nv1.5\n", encoding="utf-8")
    videos = open_source(Source(path=root, set_name="mine"))
    assert [video.name for video in videos] == ["v1.5", "bear"]
    with pytest.raises(ConfigError, match=r"no set 'train' .*\(there: mine, val\)"):
        open_source(Source(path=root, set_name="train"))
    for name in ("../2017/val", "", "a/b"):
        with pytest.raises(ConfigError, match="no set"):
            open_source(Source(path=root, set_name=name))
    with pytest.raises(FrameError, match=r"'bear' has no folder .*Full-Resolution"):
        open_source(Source(path=root, resolution="Full-Resolution"))


@pytest.mark.parametrize("line", ["..", ".", "../bear", "/etc", "bear/..", "a\\b", "C:bear", "be\x00ar", "be\tar"])
def test_set_lists_cannot_lead_elsewhere(root: Path, line: str) -> None:
    (root / "ImageSets/2017/val.txt").write_text(f"bear\n{line}\n")
    with pytest.raises(ConfigError, match=r"line 2 of .*val\.txt is not the name of a sequence"):
        open_source(Source(path=root))


def test_broken_davis_roots(root: Path) -> None:
    listing = root / "ImageSets/2017/val.txt"
    for content in ("", "\n  \n"):
        listing.write_text(content)
        with pytest.raises(ConfigError, match=r"val\.txt is empty"):
            open_source(Source(path=root))
    listing.write_bytes(b"caf\xe9\n")
    with pytest.raises(ConfigError, match=r"cannot read list .*val\.txt"):
        open_source(Source(path=root))
    listing.write_text("bear\nwolf\n")
    wolf = Selection(videos=("wolf",))
    with pytest.raises(FrameError, match=r"'wolf' has no folder"):
        open_source(Source(path=root), wolf)
    frames_of(root, "wolf").mkdir()
    with pytest.raises(FrameError, match=r"'wolf' has no frames"):
        open_source(Source(path=root), wolf)


def test_a_video_that_cannot_be_opened_stops_no_other(root: Path) -> None:
    """Its error is raised when its frames are first asked for, whatever is asked."""
    (root / "ImageSets/2017/val.txt").write_text("wolf\nbear\n")
    wolf, bear = open_source(Source(path=root), Selection(every=2, limit=2))
    assert (wolf.dataset, wolf.name, wolf.tasks) == ("davis", "wolf", bear.tasks)
    assert len(bear.frames) == 2
    for use in (
        lambda: len(wolf.frames),
        lambda: wolf.frames.names,
        lambda: wolf.frames.size,
        lambda: wolf.frames.digest(),
        lambda: wolf.frames.read(0),
        wolf.read_annotated_masks,
        wolf.annotated_frames,
    ):
        with pytest.raises(FrameError, match=r"'wolf' has no folder"):
            use()


# --- DAVIS-2016, decimals, files of operating systems


def test_lists_of_davis_2016(root: Path) -> None:
    (root / "ImageSets/2017").rename(root / "ImageSets/480p")
    lines = [
        f"/JPEGImages/480p/{name}/0000{i}.jpg /Annotations/480p/{name}/0000{i}.png"
        for name in ("v1.5", "bear")
        for i in range(5)
    ]
    (root / "ImageSets/480p/val.txt").write_text("\n".join(lines))
    assert [video.name for video in open_source(Source(path=root))] == ["v1.5", "bear"]
    with pytest.raises(ConfigError, match=r"no set 'train' .*\(there: val\)"):
        open_source(Source(path=root, set_name="train"))
    for line in ("bear", "/JPEGImages/480p/../00000.jpg", "00000.jpg x"):
        (root / "ImageSets/480p/val.txt").write_text(line)
        with pytest.raises(ConfigError, match=r"line 1 of .*val\.txt must have the paths of a frame and its mask"):
            open_source(Source(path=root))
    shutil.move(root / "ImageSets/480p", root / "ImageSets/2016")
    (root / "ImageSets/2016/val.txt").write_text("bear\n")
    assert [video.name for video in open_source(Source(path=root))] == ["bear"]


@pytest.mark.parametrize(
    "names",
    [
        ["1", "1.25", "1.5", "1.75", "2"],
        ["0.5", "1.5", "1.50001", "10"],
        ["-1.5", "-1", "0", "2"],
        ["frame_1", "frame_1.25", "frame_1.5"],
        ["1700000000.25", "1700000000.5", "1700000001"],
        ["cam1.8", "cam1.9", "cam1.10"],
        ["12.30.9", "12.30.10"],
        ["a-2", "a-10", "b1"],
        ["9", "10", "11a", "100"],
    ],
)
def test_numbers_in_names_are_ordered_by_value(tmp_path: Path, names: list[str]) -> None:
    for name in sorted(names):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
    (video,) = open_source(Source(path=tmp_path))
    assert list(video.frames.names) == names


def test_files_of_operating_systems_are_skipped(root: Path) -> None:
    plain = [(video.name, video.frames.names, video.annotations()) for video in open_source(Source(path=root))]
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        for name in ("._00000.jpg", "._val.txt", ".DS_Store", "Thumbs.db", "desktop.ini", "._00000.png"):
            (folder / name).write_bytes(b"\0\5\x16\7")
        for name in ("@eaDir/00000.jpg", "__MACOSX", "#recycle"):
            (folder / name).mkdir(parents=True)
            (folder / name / "SYNOPHOTO_THUMB_S.jpg").write_bytes(b"x")
    assert plain == [(video.name, video.frames.names, video.annotations()) for video in open_source(Source(path=root))]
    shutil.rmtree(root / "ImageSets")
    shutil.move(root / "JPEGImages/480p", root / "frames")
    shutil.rmtree(root / "JPEGImages")
    (root / "frames").rename(root / "JPEGImages")
    mose = open_source(Source(path=root))
    assert [(video.dataset, video.name) for video in mose] == [("mose", name) for name, _, _ in plain]
    (clip,) = open_source(Source(path=root / "JPEGImages/bear"))
    assert len(clip.frames) == 5


# --- Images of several pages


def pages(count: int = 4) -> list[Image.Image]:
    """Return pictures of few colours, which a palette keeps."""
    return [Image.fromarray(np.full((40, 56, 3), (60 * i, 200 - 40 * i, 90), np.uint8)) for i in range(count)]


@pytest.mark.parametrize("name", ["a.tif", "a.gif", "a.webp", "a.png"])
def test_pages_of_an_image_are_frames(tmp_path: Path, name: str) -> None:
    first, *rest = pages()
    options = {"lossless": True} if name == "a.webp" else {}
    first.save(tmp_path / name, save_all=True, append_images=rest, **options)
    (video,) = open_source(Source(path=tmp_path / name))
    assert (video.dataset, video.name, video.frames.names) == ("video", "a", ("00000", "00001", "00002", "00003"))
    assert video.frames.size == (40, 56)
    for index in (0, 3, 1):
        np.testing.assert_array_equal(video.frames.read(index), np.asarray(pages()[index]))
    (part,) = open_source(Source(path=tmp_path / name), Selection(every=2, limit=1))
    assert part.frames.digest() == video.frames.digest([0]) != video.frames.digest()
    # In a folder of frames, the other pages would be lost.
    if name != "a.gif":  # which is no frame's suffix
        (folder,) = open_source(Source(path=tmp_path))
        for use in (folder.frames.digest, lambda: folder.frames.read(0)):
            with pytest.raises(FrameError, match=rf"{name} has 4 pages or animation frames.*give the file itself"):
                use()


def test_an_image_of_one_page_is_no_video(tmp_path: Path) -> None:
    pages()[0].save(tmp_path / "a.png")
    (video,) = open_source(Source(path=tmp_path / "a.png"))
    with pytest.raises(FrameError, match=r"a\.png is a single image: give the folder of the frames"):
        len(video.frames)


def test_pages_of_16_bits_and_of_other_sizes(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (2, 40, 56, 3), dtype=np.uint16)
    assert cv2.imwritemulti(str(tmp_path / "a.tif"), list(values[..., ::-1]))
    (video,) = open_source(Source(path=tmp_path / "a.tif"))
    np.testing.assert_array_equal(video.frames.read(1), np.round(values[1] / 257).astype(np.uint8))
    first = pages()[0]
    first.save(tmp_path / "b.tif", save_all=True, append_images=[first.resize((20, 20))])
    (video,) = open_source(Source(path=tmp_path / "b.tif"))
    with pytest.raises(FrameError, match=r"page 1 of .* is 20x20 pixels .* first is 56x40"):
        video.frames.read(1)


def test_the_preview_inside_a_photo_is_no_page(tmp_path: Path) -> None:
    """Phones write JPEG files of several pictures (MPO)."""
    first, second = pages(2)
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    (video,) = open_source(Source(path=tmp_path))
    assert video.frames.digest()
    assert np.abs(video.frames.read(0).astype(int) - np.asarray(first)).max() < 8


def test_sequence_without_a_first_annotation_can_be_extracted_only(root: Path) -> None:
    masks = root / "Annotations/480p/bear"
    (masks / "00000.png").unlink()
    (video,) = open_source(Source(path=root), Selection(videos=("bear",)))
    assert video.frames.read(0).shape == (40, 56, 3)
    assert list(video.annotations()) == ["00001", "00002", "00003", "00004"]
    with pytest.raises(LabelError, match="'bear' has no mask to start from"):
        first_mask(video)
    shutil.rmtree(root / "Annotations")
    (video,) = open_source(Source(path=root), Selection(videos=("bear",)))
    assert not video.annotated_masks
    assert video.annotations() == {}


def test_first_mask_of_another_size_is_refused_with_both_sizes(root: Path) -> None:
    write_mask(root / "Annotations/480p/bear/00000.png", np.ones((40, 55), dtype=np.uint8))
    (video,) = open_source(Source(path=root), Selection(videos=("bear",)))
    with pytest.raises(LabelError, match=r"00000\.png is 55x40 .* 56x40"):
        first_mask(video)


# --- folders and video files


def test_folder_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "my video.v2"
    folder.mkdir()
    for number in (1, 2, 9, 10, 11, 100):
        Image.new("RGB", (56, 40), (number, 0, 0)).save(folder / f"frame {number}.5.png")
    for other in ("notes.txt", ".hidden.png", "._frame 1.5.png"):
        (folder / other).write_text("no image")
    mask = write_mask(folder / "mask.png", np.ones((40, 56), dtype=np.uint8))
    (video,) = open_sources([Source(path=folder, first_mask=mask)])
    assert (video.dataset, video.name) == ("folder", "my video.v2")
    assert [video.frames.read(i)[0, 0, 0] for i in range(len(video.frames))] == [1, 2, 9, 10, 11, 100]
    assert video.frames.names[0] == "frame 1.5"
    assert first_mask(video).all()
    assert video.annotations() == {"frame 1.5": mask}


def test_folder_given_as_a_relative_path_has_a_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(frames_of(root, "bear"))
    (video,) = open_sources([Source(path=Path())])
    assert video.name == "bear"
    with pytest.raises(LabelError, match="no mask"):
        first_mask(video)


def test_video_file(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "mask.png", np.eye(40, 56, dtype=np.uint8))
    (video,) = open_sources([Source(path=write_clip(tmp_path / "my clip.1.AVI"), first_mask=mask)])
    assert (video.dataset, video.name, len(video.frames)) == ("video", "my clip.1", 5)
    np.testing.assert_array_equal(first_mask(video), np.eye(40, 56))
    assert video.annotations() == {"00000": mask}


@pytest.mark.parametrize("kind", ["davis", "folder", "video"])
def test_selection_of_frames(root: Path, tmp_path: Path, kind: str) -> None:
    path = {"davis": root, "folder": frames_of(root, "bear"), "video": tmp_path / "bear.avi"}[kind]
    if kind == "video":
        write_clip(path)
    (whole,) = open_source(Source(path=path), Selection(videos=("bear",)))
    (chosen,) = open_source(Source(path=path), Selection(videos=("bear",), every=2, limit=2))
    assert chosen.frames.names == ("00000", "00002")
    np.testing.assert_array_equal(chosen.frames.read(1), whole.frames.read(2))
    assert chosen.frames.digest() == whole.frames.digest([0, 2])
    assert list(chosen.annotations()) == (["00000", "00002"] if kind == "davis" else [])
    for wrong in (Selection(every=0), Selection(limit=0), Selection(limit=-3)):
        with pytest.raises(ConfigError, match="at least 1"):
            open_source(Source(path=path), wrong)


# --- several sources, wrong sources


def test_unknown_videos_are_refused_with_the_nearest(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"no video 'baer'; nearest: bear$"):
        open_sources([Source(path=root)], Selection(videos=("v1.5", "baer")))
    with pytest.raises(ConfigError, match=r"no video 'xyz'; nearest: bear, two words, v1\.5$"):
        open_sources([Source(path=root)], Selection(videos=("xyz",)))


def test_videos_are_selected_over_all_sources(root: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi")
    videos = open_sources([Source(path=clip), Source(path=root)], Selection(videos=("two words", "clip")))
    assert [video.name for video in videos] == ["clip", "two words"]


def test_two_videos_of_one_name_are_refused(root: Path, tmp_path: Path) -> None:
    clips = [write_clip(tmp_path / folder / "x.avi") for folder in ("a", "b")]
    with pytest.raises(ConfigError, match=r"two videos are named 'x': in .*a/x\.avi and .*b/x\.avi"):
        open_sources([Source(path=clip) for clip in clips])
    source = Source(path=clips[0])
    with pytest.raises(ConfigError, match="two videos are named 'x'"):
        open_sources([source, source])
    sources = [Source(path=root), Source(path=frames_of(root, "bear"))]
    with pytest.raises(ConfigError, match="two videos are named 'bear'"):
        open_sources(sources)
    assert [video.name for video in open_sources(sources, Selection(videos=("v1.5",)))] == ["v1.5"]


def test_paths_that_are_no_source_say_what_one_is(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "walk.mp4").touch()
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a b.MOV").touch()
    for path, message in [
        (tmp_path / "clips", r"clips has no images, but video files: name them, such as .*a b\.MOV$"),
        (tmp_path / "zebra", r"zebra does not exist$"),
        (tmp_path / "wlak.mp4", r"wlak\.mp4 does not exist\. Did you mean .*walk\.mp4\?$"),
        (tmp_path / "gone" / "walk.mp4", r"walk\.mp4 does not exist: there is no folder .*gone$"),
        (tmp_path / "empty", "empty has no images, and is not the root of a known dataset .DAVIS: JPEGImages"),
        (root / "JPEGImages", "JPEGImages has no images"),
        (tmp_path / "notes.txt", r"notes\.txt is not a video: the known endings are .*\.mp4"),
    ]:
        with pytest.raises(ConfigError, match=message):
            open_sources([Source(path=path)])


def test_folders_of_masks_that_are_nearly_right_are_named(root: Path, tmp_path: Path) -> None:
    inside = tmp_path / "true masks" / "bear"
    inside.mkdir(parents=True)
    write_mask(inside / "00000.png", np.ones((40, 56), dtype=np.uint8))
    with pytest.raises(LabelError, match=r"but in folders there, such as .*true masks/bear: name one$"):
        open_sources([Source(path=frames_of(root, "bear"), truth=inside.parent)])
    with pytest.raises(LabelError, match=r"at .*true%20masks\. Did you mean .*true masks\?$"):
        open_sources([Source(path=frames_of(root, "bear"), annotations=tmp_path / "true%20masks")])
    with pytest.raises(LabelError, match=r"00000\.png is not text: .*; --mask takes one mask"):
        open_sources([Source(path=frames_of(root, "bear"), annotations=inside / "00000.png")])


def test_first_masks_that_cannot_be_used_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"no mask .*gone\.png"):
        open_sources([Source(path=frames_of(root, "bear"), first_mask=tmp_path / "gone.png")])
    mask = write_mask(tmp_path / "mask.png", np.ones((40, 56), dtype=np.uint8))
    with pytest.raises(ConfigError, match="has its own annotations"):
        open_sources([Source(path=root, first_mask=mask)])
