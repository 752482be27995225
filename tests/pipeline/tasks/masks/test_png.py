"""Colours of objects and masks as palette PNGs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ted.pipeline.datasets.masks_io import read_mask
from ted.pipeline.pictures.palette import display_palette
from ted.pipeline.tasks.masks.png import davis_palette, write_mask
from ted.store.errors import CacheError, LabelError


def test_palette_is_that_of_the_davis_annotations(shared: Path) -> None:
    for path in (shared / "data/davis-mini/Annotations/480p").glob("*/00000.png"):
        with Image.open(path) as image:
            assert image.getpalette() == davis_palette().ravel().tolist()


def test_palette_is_that_of_pascal_voc() -> None:
    palette = davis_palette()
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    # Published colours of background, aeroplane, bicycle, bird, ..., tv monitor and void.
    known = {0: "000000", 1: "800000", 2: "008000", 3: "808000", 4: "000080", 8: "400000", 15: "c08080", 20: "004080"}
    assert {number: palette[number].tobytes().hex() for number in known} == known
    assert palette[255].tolist() == [224, 224, 192]


def test_display_colours_differ_for_every_colour_vision() -> None:
    """Objects 1 to 7 stay apart for protan, deutan and tritan vision, as Machado et al. (2009) simulate it."""
    palette = display_palette()
    assert len({tuple(colour) for colour in palette.tolist()}) == 256
    assert not palette[0].any()
    linear = (palette[1:8] / 255.0) ** 2.2
    simulated = {
        "normal": np.eye(3),
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }
    for vision, matrix in simulated.items():
        seen = (linear @ np.array(matrix).T).clip(0, 1) ** (1 / 2.2)
        distances = np.linalg.norm(seen[:, None] - seen, axis=-1)[np.triu_indices(7, k=1)]
        assert distances.min() > 0.1, vision
        assert distances[0] > 0.5, vision  # the first two objects


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint16])
def test_written_masks_come_back(tmp_path: Path, dtype: type[np.integer]) -> None:
    ids = np.arange(256, dtype=dtype).reshape(8, 32)
    path = write_mask(tmp_path / "new folder" / "a 1.5.png", ids)
    np.testing.assert_array_equal(read_mask(path), ids)
    with Image.open(path) as image:
        assert (image.mode, image.getpalette()) == ("P", davis_palette().ravel().tolist())
    assert [file.name for file in path.parent.iterdir()] == ["a 1.5.png"]


def test_sliced_masks_and_other_palettes(tmp_path: Path) -> None:
    ids = np.arange(48).reshape(6, 8)[::2, ::-1]
    palette = davis_palette()[::-1]
    write_mask(tmp_path / "a.png", ids, palette)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), ids)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), palette[ids])


def test_masks_that_do_not_fit_are_refused_and_leave_no_file(tmp_path: Path) -> None:
    for wrong in (np.full((2, 2), 256), np.full((2, 2), -1), np.zeros((2, 2)), np.zeros(4, dtype=np.uint8)):
        with pytest.raises(LabelError, match=r"a\.png"):
            write_mask(tmp_path / "a.png", wrong)
    assert not list(tmp_path.iterdir())


def test_failing_to_write_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_mask(tmp_path / "a.png", np.ones((4, 4), dtype=np.uint8))
    before = path.read_bytes()

    def full_disk(_image: Image.Image, target: Path, **_: object) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(CacheError, match=r"cannot write .*a\.png: the disk is full"):
        write_mask(path, np.zeros((4, 4), dtype=np.uint8))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
