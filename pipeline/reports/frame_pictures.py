"""Telling frames as small pictures: results drawn over frames, beside the ground truth."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...store import safe_name
from ..datasets.video import Video
from ..tasks.registry import open_frames

#: Largest width in pixels, and JPEG quality.
_WIDTH, _QUALITY = 320, 80
#: Largest number of results side by side.
MOST_RESULTS = 4

_Results = Mapping[str, Mapping[str, Path]]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of a size in pixels that the page itself holds, as a ``data:`` URI; `alt` describes it in words."""

    caption: str
    alt: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class FrameView:
    """Pictures of one frame of a video: the ground truth, if there is any, and each result.

    `kind` is ``"apart"`` where the results differ most, ``"best"`` or ``"worst"``; empty without ground truth.
    """

    video: str
    frame: str
    kind: str
    pictures: tuple[Picture, ...]


def frame_pictures(videos: Sequence[Video], results: _Results, count: int) -> list[FrameView]:
    """Choose frames and draw the results over them.

    Frames are ranked by their scores (see `ResultFrames`). Of several results, the frames are shown in which the first
    two differ most, else the best frames; and the worst frames of the first. Without ground truth, the last frames of
    the first videos are shown.

    `results` holds the folder of each video's results by `safe_name` of the video, for each name of results, best
    first; `count` is the largest number of frames of each kind.

    Raises
    ------
    LabelError
        If results cannot be read, or do not fit the frames.
    FrameError
        If frames cannot be read.
    """
    shown = dict(list(results.items())[:MOST_RESULTS])
    first = next(iter(shown.values()), {})
    found = {video.name: video for video in videos if safe_name(video.name) in first}
    scores, *others = ([_scores(found, folders) for folders in list(shown.values())[:2]]) or [{}]
    if scores:
        apart = {
            video: {frame: abs(value - other[video][frame]) for frame, value in frames.items() if frame in other[video]}
            for other in others
            for video, frames in scores.items()
            if video in other
        }
        differ = any(value for frames in apart.values() for value in frames.values())
        kind, ranked = ("apart", apart) if differ else ("best", scores)
        top = spread(ranked, count, best=True)
        worst = [frame for frame in spread(scores, count, best=False) if frame not in top]
        chosen = [(kind, *frame) for frame in top] + [("worst", *frame) for frame in worst]
    else:
        some = list(found.items())[: max(1, count)] if count else []
        chosen = [("", name, video.frames.names[-1]) for name, video in some]
    return [
        FrameView(video=name, frame=frame, kind=kind, pictures=tuple(_pictures(found[name], frame, shown)))
        for kind, name, frame in chosen
    ]


def spread(scores: Mapping[str, Mapping[str, float]], count: int, *, best: bool) -> list[tuple[str, str]]:
    """Choose (video, frame) with the best or worst scores, from as many videos as possible.

    Frames of one video are at least a tenth of its length apart, because neighbours look alike.
    """
    sign = -1.0 if best else 1.0
    ordered = sorted(
        (sign * value, rank, index, frame, video)
        for rank, (video, frames) in enumerate(scores.items())
        for index, (frame, value) in enumerate(frames.items())
    )
    most = -(-count // max(1, len(scores)))
    taken: dict[str, list[int]] = {video: [] for video in scores}
    chosen: list[tuple[str, str]] = []
    for _, _, index, frame, video in ordered:
        apart = len(scores[video]) / 10
        if len(chosen) < count and len(taken[video]) < most and all(abs(index - i) > apart for i in taken[video]):
            taken[video].append(index)
            chosen.append((video, frame))
    return chosen


def _scores(videos: Mapping[str, Video], folders: Mapping[str, Path]) -> dict[str, dict[str, float]]:
    """Return the scores of the frames of each video that has results and ground truth."""
    scores = {}
    for name, video in videos.items():
        if safe_name(name) in folders:
            frames = open_frames(video, folders[safe_name(name)])
            scores[name] = {frame: score for frame in frames.ranked if (score := frames.score(frame)) is not None}
    return {name: found for name, found in scores.items() if found}


def _pictures(video: Video, frame: str, results: _Results) -> list[Picture]:
    # Grey, so that colours are those of the objects' numbers alone.
    pixels = _small_grey(video.frames.read(video.frames.names.index(frame)))
    title = f"frame {frame} of {video.name}"
    drawn: list[Picture] = []
    for name, folders in results.items():
        folder = folders.get(safe_name(video.name))
        if folder is None:
            continue
        shown = open_frames(video, folder)
        true = None if drawn else shown.draw_truth(pixels, frame)
        if true is not None:
            drawn.append(_picture(true, "truth", f"the true {shown.noun} over {title}"))
        found = shown.draw(pixels, frame)
        if found is None:
            continue
        caption, alt = name, f"the {shown.noun} of {name} over {title}"
        score = shown.score(frame)
        if score is not None:
            measured = f"{shown.metric} {score:.3f}"
            caption, alt = f"{caption}: {measured}", f"{alt}, with {measured}"
        drawn.append(_picture(found, caption, alt))
    return drawn


def _small_grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    share = min(1.0, _WIDTH / width)
    size = max(1, round(width * share)), max(1, round(height * share))
    small = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)


def _picture(pixels: NDArray[np.uint8], caption: str, alt: str) -> Picture:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY, optimize=True)
    uri = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
    return Picture(caption=caption, alt=alt, uri=uri, width=pixels.shape[1], height=pixels.shape[0])
