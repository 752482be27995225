"""Synthetic videos as sequences of a DAVIS root."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ted.pipeline.datasets.masks_io import read_mask
from ted.pipeline.datasets.sources import Source, open_sources
from ted.pipeline.synthetic.rendering import render
from ted.pipeline.synthetic.scene import SceneSpec
from ted.pipeline.synthetic.writing import write_davis
from ted.store.errors import ConfigError


def drawn(seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    clip = render(SceneSpec(frames=12, size=(72, 96), radius=(12, 12), seed=seed))
    return clip.frames, clip.masks


def test_written_as_davis_and_read_back(tmp_path: Path) -> None:
    rendered = {name: drawn(seed) for seed, name in enumerate(["balls 1", "balls.2"])}
    for name in [*rendered, "balls 1"]:
        write_davis(tmp_path, name, *rendered[name])
    assert (tmp_path / "ImageSets/2017/val.txt").read_text() == "balls 1\nballs.2\n"
    videos = open_sources([Source(path=tmp_path)])
    assert [video.name for video in videos] == list(rendered)
    for video in videos:
        frames, masks = rendered[video.name]
        assert list(video.annotations()) == [f"{i:05d}" for i in range(12)]
        for index, path in enumerate(video.annotations().values()):
            np.testing.assert_array_equal(read_mask(path, video.frames.size), masks[index])
            # JPEG with quality 95 changes pixels a little.
            assert np.abs(video.frames.read(index).astype(float) - frames[index]).mean() < 5


def test_unusable_names_and_arrays_are_refused(tmp_path: Path) -> None:
    frames, masks = drawn(0)
    for name in ("..", "a/b", ""):
        with pytest.raises(ConfigError, match="name of a sequence"):
            write_davis(tmp_path, name, frames, masks)
    with pytest.raises(ConfigError, match="do not fit together"):
        write_davis(tmp_path, "a", frames[:-1], masks)
    assert not list(tmp_path.iterdir())
