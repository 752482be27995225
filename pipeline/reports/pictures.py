"""The best and the worst frames as small pictures: results over frames, beside the truth."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...store.layout import safe_name
from ..datasets.video import Video
from ..tasks.frame_kinds import open_frames

__all__ = ["FrameView", "Picture", "show_frames", "spread"]

_WIDTH = 320
_QUALITY = 80
#: Results beside each other on one frame: more would not be seen side by side.
MOST_RESULTS = 4


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture in the page itself.

    Attributes
    ----------
    caption, alt
        What it is, for those who see it and those who do not.
    uri
        ``data:`` with a JPEG.
    width, height
        In pixels.
    """

    caption: str
    alt: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class FrameView:
    """One frame of a video, several times.

    Attributes
    ----------
    video, frame
        Names.
    kind
        ``"best"`` or ``"worst"``, or empty where there is no truth to tell.
    pictures
        The truth, if there is one, and each result.
    """

    video: str
    frame: str
    kind: str
    pictures: tuple[Picture, ...]


def show_frames(videos: Sequence[Video], results: Mapping[str, Mapping[str, Path]], count: int) -> list[FrameView]:
    """Choose and draw frames.

    The best and the worst frames are those of the first results, by their score in the frame (see `ShownFrames`). Where
    there is no truth, the last frames of the first videos are shown.

    Parameters
    ----------
    videos
        Frames and truth.
    results
        By name of the results, the best first: the folders of their videos by `safe_name` of the video.
    count
        Best frames at most, and as many worst ones.

    Raises
    ------
    LabelError
        For results that cannot be read, or do not fit their frames.
    FrameError
        For frames that cannot be read.
    """
    shown = dict(list(results.items())[:MOST_RESULTS])
    first = next(iter(shown.values()), {})
    there = {video.name: video for video in videos if safe_name(video.name) in first}
    scores = {}
    for name, video in there.items():
        frames = open_frames(video, first[safe_name(name)])
        found = {frame: score for frame in frames.ranked if (score := frames.score(frame)) is not None}
        if found:
            scores[name] = found
    if scores:
        chosen = [("best", *place) for place in spread(scores, count, best=True)]
        chosen += [("worst", *place) for place in spread(scores, count, best=False) if ("best", *place) not in chosen]
    else:
        some = list(there.items())[: max(1, count)] if count else []
        chosen = [("", name, video.frames.names[-1]) for name, video in some]
    return [
        FrameView(video=name, frame=frame, kind=kind, pictures=tuple(_pictures(there[name], frame, shown)))
        for kind, name, frame in chosen
    ]


def spread(scores: Mapping[str, Mapping[str, float]], count: int, *, best: bool) -> list[tuple[str, str]]:
    """Choose (video, frame) with the best or worst scores, from as many videos as possible.

    Frames of one video keep a tenth of it apart: neighbours look alike.
    """
    turn = -1.0 if best else 1.0
    ordered = sorted(
        (turn * value, at, index, frame, video)
        for at, (video, frames) in enumerate(scores.items())
        for index, (frame, value) in enumerate(frames.items())
    )
    share = -(-count // max(1, len(scores)))
    taken: dict[str, list[int]] = {video: [] for video in scores}
    chosen: list[tuple[str, str]] = []
    for _, _, index, frame, video in ordered:
        apart = len(scores[video]) / 10
        if len(chosen) < count and len(taken[video]) < share and all(abs(index - i) > apart for i in taken[video]):
            taken[video].append(index)
            chosen.append((video, frame))
    return chosen


def _pictures(video: Video, frame: str, results: Mapping[str, Mapping[str, Path]]) -> list[Picture]:
    pixels = _small(video.frames.read(video.frames.names.index(frame)))
    place = f"frame {frame} of {video.name}"
    drawn: list[Picture] = []
    for name, folders in results.items():
        folder = folders.get(safe_name(video.name))
        if folder is None:
            continue
        shown = open_frames(video, folder)
        true = None if drawn else shown.draw_truth(pixels, frame)
        if true is not None:
            drawn.append(_picture(true, "truth", f"the true {shown.noun} over {place}"))
        found = shown.draw(pixels, frame)
        if found is None:
            continue
        caption, alt = name, f"the {shown.noun} of {name} over {place}"
        score = shown.score(frame)
        if score is not None:
            measured = f"{shown.measure} {score:.3f}"
            caption, alt = f"{caption}: {measured}", f"{alt}, with {measured}"
        drawn.append(_picture(found, caption, alt))
    return drawn


def _small(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    share = min(1.0, _WIDTH / width)
    size = max(1, round(width * share)), max(1, round(height * share))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _picture(pixels: NDArray[np.uint8], caption: str, alt: str) -> Picture:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY, optimize=True)
    uri = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
    return Picture(caption=caption, alt=alt, uri=uri, width=pixels.shape[1], height=pixels.shape[0])
