"""YouTube-VOS: JPEGImages/<video>, Annotations/<video>, and meta.json, which lists the frames of each object."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...propagate.targets.object_ids import VOID
from ...store.errors import ConfigError, FrameError
from .listing import is_plain_name, list_folders, list_masks
from .video import AnnotatedMask, Dataset, Source, Video, image_video

#: Name of a video of YouTube-VOS; names of MOSE have 8 digits.
_VIDEO = re.compile(r"[0-9a-f]{10}")


def _matches(root: Path) -> bool:
    """Tell whether a folder looks like a split of YouTube-VOS: by its meta.json, or by the names of its videos."""
    images = root / "JPEGImages"
    if not images.is_dir() or (root / "meta.json").is_file():
        return images.is_dir()
    names = () if (root / "ImageSets").exists() else list_folders(images)
    return bool(names) and all(map(_VIDEO.fullmatch, names))


def _video(source: Source, name: str) -> Video:
    """Open one video.

    Each object joins in the first of its frames, where it is annotated. Masks are written for the frames that are
    listed for any object, in the evaluation server's layout: ``Annotations/<video>/<frame>.png``.
    """
    root = source.path
    objects = _objects(root, name)
    folder, masks = root / "JPEGImages" / name, root / "Annotations" / name
    joining: dict[str, list[int]] = {}
    for number, frames in objects.items():
        joining.setdefault(frames[0], []).append(number)
    video = image_video(
        "youtube-vos", name, folder, list_masks(masks), object_frames=objects, result_parent="Annotations"
    )
    order = video.frames.names
    missing = sorted(joining.keys() - set(order))
    if missing:
        raise FrameError(
            f"object {joining[missing[0]][0]} of video {name!r} first appears in frame {missing[0]} according to "
            f"{root / 'meta.json'}, but there is no such frame in {folder}"
        )
    listed = {frame for frames in objects.values() for frame in frames}
    return replace(
        video,
        annotated_masks={
            frame: AnnotatedMask(path=masks / f"{frame}.png", object_ids=tuple(sorted(joining[frame])))
            for frame in order
            if frame in joining
        },
        result_names=tuple(frame for frame in order if frame in listed),
    )


def _objects(root: Path, name: str) -> dict[int, tuple[str, ...]]:
    """Return the names of each object's frames, by the object's number."""
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
    except FileNotFoundError as error:
        raise ConfigError(
            f"{root} has videos of YouTube-VOS, but no meta.json, which lists the frames of each object; copy the "
            "meta.json and the Annotations of the split (of every fifth frame) there"
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


@lru_cache(maxsize=1)
def _parsed(path: Path, _state: tuple[int, int, int]) -> Mapping[str, Any]:
    """Parse the list of thousands of videos once for all of them; again if the file's state changes."""
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


YOUTUBE_VOS = Dataset(
    kind="a YouTube-VOS root",
    matches=_matches,
    names=lambda source: tuple(_read_meta(source.path)),
    video=_video,
)
