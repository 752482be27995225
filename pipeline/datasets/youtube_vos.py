"""YouTube-VOS: JPEGImages/<video>, Annotations/<video>, and meta.json, which says in which frames each object is."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...extract.frames import ImageFrames
from ...propagate.targets.object_ids import VOID
from ...store.errors import ConfigError, FrameError
from .listing import is_plain_name, list_images, list_masks
from .video import AnnotatedMask, Video

__all__ = ["is_youtube_vos_root", "youtube_vos_video", "youtube_vos_videos"]


def is_youtube_vos_root(root: Path) -> bool:
    """Whether a folder looks like a split of YouTube-VOS."""
    return (root / "JPEGImages").is_dir() and (root / "meta.json").is_file()


def youtube_vos_videos(root: Path) -> tuple[str, ...]:
    """Names of the videos in ``meta.json``, in its order.

    Raises
    ------
    ConfigError
        When it cannot be read, or a name is not that of a folder.
    """
    return tuple(_read_meta(root))


def youtube_vos_video(root: Path, name: str) -> Video:
    """Open one video.

    Each object is given in the first of its frames, and joins there. Masks are written for the frames that are listed
    for some object, as the evaluation server takes them: ``Annotations/<video>/<frame>.png``.

    Raises
    ------
    ConfigError
        When ``meta.json`` describes the video's objects otherwise than it should.
    FrameError
        When the video's folder is missing, or has no frames, or not those in which objects appear.
    """
    objects = _objects(root, name)
    folder = root / "JPEGImages" / name
    if not folder.is_dir():
        raise FrameError(f"video {name!r} has no folder {folder}; check the root and its meta.json")
    images = list_images(folder)
    if not images:
        raise FrameError(f"video {name!r} has no frames: no images in {folder}")
    order = [image.stem for image in images]
    joining: dict[str, list[int]] = {}
    for number, frames in objects.items():
        joining.setdefault(frames[0], []).append(number)
    missing = sorted(joining.keys() - set(order))
    if missing:
        raise FrameError(
            f"object {joining[missing[0]][0]} of video {name!r} first appears in frame {missing[0]}, says "
            f"{root / 'meta.json'}, but there is no such frame in {folder}"
        )
    masks = list_masks(root / "Annotations" / name)
    listed = {frame for frames in objects.values() for frame in frames}
    return Video(
        dataset="youtube-vos",
        name=name,
        frames=ImageFrames(images),
        annotated_masks={
            frame: AnnotatedMask(
                path=root / "Annotations" / name / f"{frame}.png", object_ids=tuple(sorted(joining[frame]))
            )
            for frame in order
            if frame in joining
        },
        frame_masks={frame: masks[frame] for frame in order if frame in masks},
        object_frames=objects,
        result_names=tuple(frame for frame in order if frame in listed),
        result_parent="Annotations",
    )


def _objects(root: Path, name: str) -> dict[int, tuple[str, ...]]:
    """Return the frames of each object of a video, the objects by their numbers."""
    path = root / "meta.json"
    entry = _read_meta(root).get(name)
    objects = entry.get("objects") if isinstance(entry, Mapping) else None
    if not isinstance(objects, Mapping) or not objects:
        raise ConfigError(f"{path} lists no objects of video {name!r}")
    frames_of: dict[int, tuple[str, ...]] = {}
    for key, values in objects.items():
        if not (key.isascii() and key.isdecimal() and 0 < int(key) < VOID):
            raise ConfigError(f"{path}: {key!r} of video {name!r} is not an object's number, 1 to {VOID - 1}")
        frames = values.get("frames") if isinstance(values, Mapping) else None
        if not isinstance(frames, list) or not frames or not all(isinstance(frame, str) for frame in frames):
            raise ConfigError(f"{path} lists no frames of object {key} of video {name!r}")
        strange = [frame for frame in frames if not is_plain_name(frame)]
        if strange:
            raise ConfigError(f"{path}: {strange[0]!r} of object {key} of video {name!r} is not the name of a frame")
        frames_of[int(key)] = tuple(sorted(frames))
    return dict(sorted(frames_of.items()))


def _read_meta(root: Path) -> Mapping[str, Any]:
    path = root / "meta.json"
    try:
        status = path.stat()
        return _parsed(path, (status.st_ino, status.st_size, status.st_mtime_ns))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


@lru_cache(maxsize=1)
def _parsed(path: Path, _state: tuple[int, int, int]) -> Mapping[str, Any]:
    """Parse the list of thousands of videos once, and not for each of them; again if the file's state changes."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid JSON: {error}") from error
    videos = content.get("videos") if isinstance(content, Mapping) else None
    if not isinstance(videos, Mapping) or not videos:
        raise ConfigError(f"{path} lists no videos: it should be the meta.json of a split of YouTube-VOS")
    strange = [name for name in videos if not is_plain_name(name)]
    if strange:
        raise ConfigError(f"{path}: {strange[0]!r} is not the name of a video")
    return videos
