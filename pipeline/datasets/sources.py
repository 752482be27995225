"""Open the videos of a run from the paths of its sources."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...extract.frames import PAGE_SUFFIXES, VIDEO_SUFFIXES, SelectedFrames, UnreadableFrames
from ...store.errors import ConfigError, FrameError, LabelError, TedError
from .davis import DAVIS
from .jhmdb import JHMDB
from .kubric import KUBRIC, KUBRIC_VIDEO
from .lasot import LASOT
from .listing import list_images
from .mose import MOSE
from .mot import MOT
from .mots import MOTS
from .posetrack import POSETRACK
from .synth_tracks import SYNTH_TRACKS
from .tapvid import TAPVID
from .user_video import own_video
from .video import Dataset, Source, Video
from .vip import VIP
from .youtube_vos import YOUTUBE_VOS

__all__ = ["Selection", "Source", "open_source", "open_sources"]

# What a folder must hold to be the root of a dataset.
_ROOT_CONTENTS = (
    "DAVIS: JPEGImages, Annotations, ImageSets; YouTube-VOS: meta.json; MOSE: JPEGImages, Annotations; "
    "VIP: Images, Annotations/Category_ids; Kubric: rgba_*.png, segmentation_*.png; "
    "JHMDB: Rename_Images, joint_positions, splits; points of `ted synth`: Tracks; MOTChallenge: img1, gt; "
    "MOTS: instances, images; LaSOT: img, groundtruth.txt; PoseTrack: images, posetrack_data"
)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Videos, frames and annotations of the sources that a run uses.

    Attributes
    ----------
    videos
        Names of videos; empty for all.
    every
        Step between frames; 1 takes every frame.
    limit
        Largest number of frames of each video, counted after the step; None for all.
    first_frame_only
        Whether only the masks of the first annotated frame are used: objects that join later are left out.
    """

    videos: tuple[str, ...] = ()
    every: int = 1
    limit: int | None = None
    first_frame_only: bool = False


# The first match counts: YouTube-VOS has a meta.json, and MOSE is DAVIS without lists.
_DATASETS = (
    TAPVID,
    SYNTH_TRACKS,
    JHMDB,
    YOUTUBE_VOS,
    MOSE,
    DAVIS,
    VIP,
    KUBRIC_VIDEO,
    KUBRIC,
    POSETRACK,
    MOT,
    MOTS,
    LASOT,
)


def open_source(source: Source, selection: Selection | None = None) -> list[Video]:
    """Open the videos of one source, without reading a frame.

    A video that cannot be opened does not stop the others: reading its frames raises the error. The error is raised
    here if no video of the source can be opened.

    Returns
    -------
    list of Video
        In the order of the source; empty if none of its videos is selected.

    Raises
    ------
    ConfigError
        If the path is not a source.
    FrameError
        If no selected video has frames.
    LabelError
        If the annotations do not exist.
    """
    selection = selection or Selection()
    return _open(source, selection, [name for name in _names(source) if name in (selection.videos or (name,))])


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
        if name in (selection.videos or (name,)) and owner.setdefault(name, number) != number:
            raise ConfigError(
                f"two videos are named {name!r}: in {sources[owner[name]].path} and {sources[number].path}; "
                "rename one of them or run them apart"
            )
    return [video for source in sources for video in open_source(source, selection)]


def _dataset(path: Path) -> Dataset | None:
    known = path.is_dir() or TAPVID.matches(path)
    return next((dataset for dataset in _DATASETS if dataset.matches(path)), None) if known else None


def _names(source: Source) -> tuple[str, ...]:
    """Return the names of a source's videos, from its lists and paths alone."""
    path = source.path
    if source.first_mask is not None and source.annotations is not None:
        raise ConfigError("there are both a mask of the first frame and other annotations: leave one of them out")
    if source.first_mask is not None and not source.first_mask.is_file():
        raise LabelError(f"there is no mask {source.first_mask}")
    for given in (source.annotations, source.truth):
        if given is not None and not (given.is_dir() or given.is_file()):
            raise LabelError(
                f"there is no folder of masks, or table of boxes or points, at {given}{_suggestion(given)}"
            )
    dataset = _dataset(path)
    if dataset is not None:
        if any(given is not None for given in (source.first_mask, source.annotations, source.truth)):
            raise ConfigError(f"{path} is {dataset.kind}, which has its own annotations; it takes no others")
        return dataset.names(source)
    if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES | PAGE_SUFFIXES:
        return (path.stem,)
    if path.is_dir() and list_images(path):
        return (path.resolve().name,)
    if not path.exists():
        raise ConfigError(f"{path} does not exist{_suggestion(path)}")
    if path.is_dir():
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in VIDEO_SUFFIXES)
        if inside:
            raise ConfigError(f"the folder {path} has no images, but video files: name them, such as {inside[0]}")
        raise ConfigError(f"the folder {path} has no images, and is not the root of a known dataset ({_ROOT_CONTENTS})")
    raise ConfigError(
        f"{path} is not a video: the known endings are {' '.join(sorted(VIDEO_SUFFIXES | PAGE_SUFFIXES))}, "
        "and .pkl for TAP-Vid"
    )


def _suggestion(path: Path) -> str:
    """Return a question that names the most similar path beside one that does not exist, or empty text."""
    try:
        names = [other.name for other in path.parent.iterdir()]
    except OSError:
        return f": there is no folder {path.parent}"
    nearest = difflib.get_close_matches(path.name, names, n=1)
    return f". Did you mean {path.parent / nearest[0]}?" if nearest else ""


def _open(source: Source, selection: Selection, names: Sequence[str]) -> list[Video]:
    every, limit = selection.every, selection.limit
    dataset = _dataset(source.path)
    if dataset is not None:
        videos = _open_all(dataset, source, names)
    else:
        at_most = None if limit is None else max(limit - 1, 0) * every + 1
        videos = [own_video(source, at_most=at_most) for _ in names]
    if selection.first_frame_only:
        other = next((video for video in videos if not {"masks", "parts"} & set(video.tasks)), None)
        if other is not None:
            raise ConfigError(f"only masks can be limited to the first frame, and {other.name!r} has {other.tasks[0]}")
        videos = [video.first_frame_only() for video in videos]
    if every == 1 and limit is None:
        return videos
    return [replace(video, frames=SelectedFrames(video.frames, every, limit)) for video in videos]


def _open_all(dataset: Dataset, source: Source, names: Sequence[str]) -> list[Video]:
    """Open the videos of a dataset. One that cannot be opened becomes a video whose frames raise the error."""
    opened: list[Video | TedError] = []
    for name in names:
        try:
            opened.append(dataset.video(source, name))
        except TedError as error:
            opened.append(error)
    whole = next((video for video in opened if isinstance(video, Video)), None)
    if whole is None and opened:
        assert isinstance(opened[0], TedError)
        raise opened[0]
    videos = []
    for name, video in zip(names, opened, strict=True):
        if isinstance(video, TedError):
            assert whole is not None
            frames = UnreadableFrames(FrameError(str(video)))
            video = replace(whole, name=name, frames=frames, annotated_masks={}, frame_masks={}, object_frames={})
        videos.append(video)
    return videos
