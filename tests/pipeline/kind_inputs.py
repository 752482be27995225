"""A small source of each kind that is no mask of objects, and features of it that need no network."""

from pathlib import Path

import numpy as np

from .conftest import Cli
from .point_inputs import tapvid_clip, write_jhmdb, write_pickle
from .roots import boxes, write_vip, write_youtube_vos

FEATURES = ("--video-feature", "position:0:stride8", "--image-feature", "rgb:0:stride4")


def extract(cli: Cli, source: Path, cache: Path, *more: object) -> None:
    """Put colours and positions into the cache, on grids of their own."""
    features = ("--feature", "position:0:stride8", "--feature", "rgb:0:stride4")
    result = cli("extract", source, "--cache", cache, *features, *(more or ("--frame-size", "64x96")))
    assert result.code == 0, result.err


def jhmdb(folder: Path) -> Path:
    return write_jhmdb(folder / "jhmdb", {"one": 5, "two": 4})


def tapvid(folder: Path) -> Path:
    return write_pickle(folder / "clips.pkl", {"one": tapvid_clip(7), "two": tapvid_clip(6, seed=1)})


def vip(folder: Path) -> Path:
    for name in ("a", "b"):
        write_vip(folder / "VIP_Fine", name, [boxes(o2=5 + index, o13=30 - 4 * index) for index in range(4)])
    return folder / "VIP_Fine"


def youtube_vos(folder: Path) -> Path:
    """A video of two objects, of which the second joins in the third frame, and one of one object."""
    names = [f"{5 * index:05d}" for index in range(5)]
    first = {name: boxes(o1=5 + 3 * index) for index, name in enumerate(names)}
    both = {name: np.where(boxes(o2=40), 2, mask) if name >= names[2] else mask for name, mask in first.items()}
    write_youtube_vos(folder / "yt", "a", names, both, {"1": names, "2": names[2:]})
    return write_youtube_vos(folder / "yt", "b", names[:4], first, {"1": names[:4]})
