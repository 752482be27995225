"""Open the videos of a run from the paths of its sources."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...extract.frames import PAGE_SUFFIXES, VIDEO_SUFFIXES, SelectedFrames, UnreadableFrames
from ...store.errors import ConfigError, FrameError, LabelError, TedError
from .davis import davis_sequences, davis_video, is_davis_root
from .jhmdb import is_jhmdb_root, jhmdb_clips, jhmdb_video
from .kubric import is_kubric_root, is_kubric_video, kubric_video, kubric_videos
from .listing import list_images
from .mose import is_mose_root, mose_video, mose_videos
from .synth_tracks import is_synth_tracks, synth_track_video, synth_track_videos
from .tapvid import is_tapvid_file, tapvid_names, tapvid_video
from .user_video import file_video, folder_video
from .video import Video
from .vip import is_vip_root, vip_video, vip_videos
from .youtube_vos import is_youtube_vos_root, youtube_vos_video, youtube_vos_videos

__all__ = ["Selection", "Source", "open_source", "open_sources"]

# What a folder must hold to be the root of a dataset.
_ROOT_CONTENTS = (
    "DAVIS: JPEGImages, Annotations, ImageSets; YouTube-VOS: meta.json; MOSE: JPEGImages, Annotations; "
    "VIP: Images, Annotations/Category_ids; Kubric: rgba_*.png, segmentation_*.png; "
    "JHMDB: Rename_Images, joint_positions, splits; points of `ted synth`: Tracks"
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A path, and options to open it.

    Attributes
    ----------
    path
        The root of a dataset, a pickle of TAP-Vid, a folder of images, a video file, or an image of several pages.
    first_mask
        Mask of the first frame of a user's own video; datasets have their own.
    annotations
        Instead: a folder of masks of any frames, a table of boxes or points, or a file in a task's own format.
    truth
        Ground truth of a user's own video, in the same forms.
    tasks
        Names of the tasks that read the annotations in their own format.
    set_name
        List of a DAVIS or VIP root or of synthetic tracks (default ``val``), or split of a JHMDB root (default
        ``split1``).
    resolution
        Folder between ``JPEGImages`` and the sequences of a DAVIS root.
    """

    path: Path
    first_mask: Path | None = None
    annotations: Path | None = None
    truth: Path | None = None
    tasks: tuple[str, ...] = ()
    set_name: str | None = None
    resolution: str = "480p"


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


@dataclass(frozen=True, kw_only=True)
class _Root:
    """A dataset on disk: a folder, or a file.

    Attributes
    ----------
    kind
        Description for messages.
    matches
        Returns whether a path is such a dataset.
    names
        Returns the names of its videos.
    video
        Opens one video.
    """

    kind: str
    matches: Callable[[Path], bool]
    names: Callable[[Source], tuple[str, ...]]
    video: Callable[[Source, str], Video]


def _set_name(source: Source, default: str = "val") -> str:
    return default if source.set_name is None else source.set_name


# The first match counts: YouTube-VOS has a meta.json, and MOSE is DAVIS without lists.
_ROOTS = (
    _Root(
        kind="a pickle of TAP-Vid",
        matches=is_tapvid_file,
        names=lambda source: tapvid_names(source.path),
        video=lambda source, name: tapvid_video(source.path, name),
    ),
    _Root(
        kind="a folder of tracks of `ted synth`",
        matches=is_synth_tracks,
        names=lambda source: synth_track_videos(source.path, _set_name(source)),
        video=lambda source, name: synth_track_video(source.path, name, source.resolution),
    ),
    _Root(
        kind="a JHMDB root",
        matches=is_jhmdb_root,
        names=lambda source: tuple(jhmdb_clips(source.path, _set_name(source, "split1"))),
        video=lambda source, name: jhmdb_video(source.path, name, _set_name(source, "split1")),
    ),
    _Root(
        kind="a YouTube-VOS root",
        matches=is_youtube_vos_root,
        names=lambda source: youtube_vos_videos(source.path),
        video=lambda source, name: youtube_vos_video(source.path, name),
    ),
    _Root(
        kind="a MOSE root",
        matches=is_mose_root,
        names=lambda source: mose_videos(source.path),
        video=lambda source, name: mose_video(source.path, name),
    ),
    _Root(
        kind="a DAVIS root",
        matches=is_davis_root,
        names=lambda source: davis_sequences(source.path, _set_name(source), source.resolution),
        video=lambda source, name: davis_video(source.path, name, source.resolution),
    ),
    _Root(
        kind="a VIP root",
        matches=is_vip_root,
        names=lambda source: vip_videos(source.path, _set_name(source)),
        video=lambda source, name: vip_video(source.path, name),
    ),
    _Root(
        kind="a video of Kubric",
        matches=is_kubric_video,
        names=lambda source: (source.path.resolve().name,),
        video=lambda source, name: kubric_video(source.path),
    ),
    _Root(
        kind="a folder of videos of Kubric",
        matches=lambda path: not list_images(path) and is_kubric_root(path),
        names=lambda source: kubric_videos(source.path),
        video=lambda source, name: kubric_video(source.path / name),
    ),
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


def _root(path: Path) -> _Root | None:
    known = path.is_dir() or is_tapvid_file(path)
    return next((root for root in _ROOTS if root.matches(path)), None) if known else None


def _names(source: Source) -> tuple[str, ...]:
    """Return the names of a source's videos, from its lists and paths alone."""
    path = source.path
    if source.first_mask is not None and source.annotations is not None:
        raise ConfigError("there are both a mask of the first frame and other annotations: leave one of them out")
    if source.first_mask is not None and not source.first_mask.is_file():
        raise LabelError(f"there is no mask {source.first_mask}")
    for given in (source.annotations, source.truth):
        if given is not None and not (given.is_dir() or given.is_file()):
            raise LabelError(f"there is no folder of masks, or table of boxes or points, at {given}")
    root = _root(path)
    if root is not None:
        if any(given is not None for given in (source.first_mask, source.annotations, source.truth)):
            raise ConfigError(f"{path} is {root.kind}, which has its own annotations; it takes no others")
        return root.names(source)
    if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES | PAGE_SUFFIXES:
        return (path.stem,)
    if path.is_dir() and list_images(path):
        return (path.resolve().name,)
    if not path.exists():
        raise ConfigError(f"{path} does not exist{_suggestion(path)}")
    if path.is_dir():
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
    path, every, limit = source.path, selection.every, selection.limit
    given = source.first_mask, source.annotations
    root = _root(path)
    if root is not None:
        videos = _open_all(root, source, names)
    elif path.is_file():
        at_most = None if limit is None else max(limit - 1, 0) * every + 1
        videos = [file_video(path, *given, truth=source.truth, at_most=at_most, tasks=source.tasks) for _ in names]
    else:
        videos = [folder_video(path, *given, truth=source.truth, tasks=source.tasks) for _ in names]
    if selection.first_frame_only:
        other = next((video for video in videos if not {"masks", "parts"} & set(video.tasks)), None)
        if other is not None:
            raise ConfigError(f"only masks can be limited to the first frame, and {other.name!r} has {other.tasks[0]}")
        videos = [video.first_frame_only() for video in videos]
    if every == 1 and limit is None:
        return videos
    return [replace(video, frames=SelectedFrames(video.frames, every, limit)) for video in videos]


def _open_all(root: _Root, source: Source, names: Sequence[str]) -> list[Video]:
    """Open the videos of a dataset. One that cannot be opened becomes a video whose frames raise the error."""
    opened: list[Video | TedError] = []
    for name in names:
        try:
            opened.append(root.video(source, name))
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
