"""From the paths that a user gives to the videos of a run."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...extract.frames import VIDEO_SUFFIXES, SelectedFrames
from ...store.errors import ConfigError, LabelError
from .davis import davis_sequences, davis_video, is_davis_root
from .folder import folder_video
from .jhmdb import is_jhmdb_root, jhmdb_clips, jhmdb_video
from .listing import list_images
from .tapvid import PICKLE_SUFFIXES, tapvid_names, tapvid_video
from .video import Video
from .video_file import video_file

__all__ = ["Selection", "Source", "open_source", "open_sources"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A path, and what has to be known to open it.

    Attributes
    ----------
    path
        A DAVIS or JHMDB root, a pickle of TAP-Vid, a folder of images or a video file.
    first_mask
        Mask of the first frame, for a folder or a video file; datasets have their own.
    set_name
        Which list of a root; by default ``val`` of DAVIS, ``split1`` of JHMDB.
    resolution
        Which size of a DAVIS root.
    """

    path: Path
    first_mask: Path | None = None
    set_name: str | None = None
    resolution: str = "480p"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which videos of the sources, and which of their frames, a run works on.

    Attributes
    ----------
    videos
        Names of videos; empty for all.
    every
        Step between frames; 1 takes every frame.
    limit
        Most frames to take of each video, counted after the step; None for all.
    """

    videos: tuple[str, ...] = ()
    every: int = 1
    limit: int | None = None


def open_source(source: Source, selection: Selection | None = None) -> list[Video]:
    """Open the videos of one source, without reading a frame.

    Returns
    -------
    list of Video
        In the order of the source; empty when none of its videos is selected.

    Raises
    ------
    ConfigError
        When the path is of none of these kinds.
    FrameError
        When a selected video has no frames.
    LabelError
        When the first mask does not exist.
    """
    selection = selection or Selection()
    return _open(source, selection, [name for name in _names(source) if _wanted(name, selection)])


def open_sources(sources: Sequence[Source], selection: Selection | None = None) -> list[Video]:
    """Open the videos of a run.

    Raises
    ------
    ConfigError
        As `open_source`; also for a selected name that no source has, and for two videos of the same name.
    FrameError, LabelError
        As `open_source`.
    """
    selection = selection or Selection()
    names = [(number, name) for number, source in enumerate(sources) for name in _names(source)]
    known = [name for _, name in names]
    for wanted in selection.videos:
        if wanted not in known:
            nearest = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5) or known[:10]
            raise ConfigError(f"there is no video {wanted!r}; nearest: {', '.join(dict.fromkeys(nearest))}")
    owner: dict[str, int] = {}
    for number, name in names:
        if _wanted(name, selection) and owner.setdefault(name, number) != number:
            raise ConfigError(
                f"two videos are named {name!r}: in {sources[owner[name]].path} and {sources[number].path}; "
                "rename one of them or run them apart"
            )
    return [video for source in sources for video in open_source(source, selection)]


def _wanted(name: str, selection: Selection) -> bool:
    return not selection.videos or name in selection.videos


def _names(source: Source) -> tuple[str, ...]:
    """Names of a source's videos, from its lists and paths alone."""
    path = source.path
    if source.first_mask is not None and not source.first_mask.is_file():
        raise LabelError(f"there is no mask {source.first_mask}")
    if path.is_dir() and is_davis_root(path):
        if source.first_mask is not None:
            raise ConfigError(f"{path} is a DAVIS root, which has its own masks; a first mask cannot be given for it")
        return davis_sequences(path, _set_name(source, "val"))
    points = "JHMDB root" if is_jhmdb_root(path) else "pickle of TAP-Vid" if _is_pickle(path) else None
    if points is not None and source.first_mask is not None:
        raise ConfigError(f"{path} is a {points}, whose points are followed; a first mask cannot be given for it")
    if is_jhmdb_root(path):
        return tuple(jhmdb_clips(path, _set_name(source, "split1")))
    if _is_pickle(path):
        return tapvid_names(path)
    if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES:
        return (path.stem,)
    if path.is_dir() and list_images(path):
        return (path.resolve().name,)
    found = "a folder without images" if path.is_dir() else "a file of another kind" if path.exists() else "nothing"
    raise ConfigError(
        f"{path} is {found}: a source is a DAVIS root (a folder with JPEGImages/, Annotations/ and ImageSets/), "
        "a JHMDB root (Rename_Images/, joint_positions/ and splits/), a pickle of TAP-Vid (.pkl), "
        f"a folder of images, or a video file ({' '.join(sorted(VIDEO_SUFFIXES))})"
    )


def _open(source: Source, selection: Selection, names: Sequence[str]) -> list[Video]:
    path, every, limit = source.path, selection.every, selection.limit
    videos: list[Video]
    if _is_pickle(path):
        videos = [tapvid_video(path, name) for name in names]
    elif is_jhmdb_root(path):
        classes = jhmdb_clips(path, _set_name(source, "split1"))
        videos = [jhmdb_video(path, name, classes) for name in names]
    elif path.is_file():
        at_most = None if limit is None else max(limit - 1, 0) * every + 1
        videos = [video_file(path, source.first_mask, at_most=at_most) for _ in names]
    elif is_davis_root(path):
        videos = [davis_video(path, name, source.resolution) for name in names]
    else:
        videos = [folder_video(path, source.first_mask) for _ in names]
    if every == 1 and limit is None:
        return videos
    return [replace(video, frames=SelectedFrames(video.frames, every, limit)) for video in videos]


def _set_name(source: Source, default: str) -> str:
    return default if source.set_name is None else source.set_name


def _is_pickle(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in PICKLE_SUFFIXES
