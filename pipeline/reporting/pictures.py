"""The best and the worst frames as small pictures: masks over frames, beside the truth."""

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...store.layout import safe_name
from ..datasets.masks_io import VOID, read_mask
from ..datasets.video import Video
from ..metrics.jf import contour_accuracy, region_similarity
from ..show.overlay import overlay_mask

__all__ = ["FrameView", "Picture", "frame_scores", "show_frames", "spread"]

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

    The best and the worst frames are those of the first results, by the mean over the objects of J&F in the frame;
    the first annotated frame, which is given, and the last do not count, as in the official evaluation. Where there is
    no truth, the last frames of the first videos are shown.

    Parameters
    ----------
    videos
        Frames and truth.
    results
        By name of the results, the best first: the folders of masks by `safe_name` of the video.
    count
        Best frames at most, and as many worst ones.

    Raises
    ------
    LabelError
        For masks that cannot be read, or do not fit their frames.
    FrameError
        For frames that cannot be read.
    """
    shown = dict(list(results.items())[:MOST_RESULTS])
    first = next(iter(shown.values()), {})
    there = {video.name: video for video in videos if safe_name(video.name) in first}
    scores = {}
    for name, video in there.items():
        found = frame_scores(video.annotations(), first[safe_name(name)])
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


def frame_scores(truth: Mapping[str, Path], masks: Path) -> dict[str, float]:
    """Score each frame: the mean over its objects of (J + F) / 2.

    Parameters
    ----------
    truth
        Annotations by name of the frame, in order.
    masks
        Folder of the results.

    Returns
    -------
    dict
        By name of the frame, without the first and the last annotated one; frames without a result are left out.
    """
    names = list(truth)
    numbers = _given(truth)
    scores = {}
    for name in names[1:-1]:
        path = masks / f"{name}.png"
        if path.is_file():
            true = _objects(truth[name])
            scores[name] = _score(true, read_mask(path, (true.shape[0], true.shape[1])), numbers)
    return {name: score for name, score in scores.items() if score is not None}


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
    pixels = video.frames.read(video.frames.names.index(frame))
    annotations = video.annotations()
    truth, numbers = annotations.get(frame), _given(annotations)
    place = f"frame {frame} of {video.name}"
    drawn = []
    if truth is not None:
        drawn.append(_draw(pixels, _objects(truth), "truth", f"the true masks over {place}"))
    for name, folders in results.items():
        path = folders.get(safe_name(video.name), Path()) / f"{frame}.png"
        if path.is_file():
            ids = read_mask(path, video.frames.size)
            alt = f"the masks of {name} over {place}"
            caption = name
            score = None if truth is None else _score(_objects(truth), ids, numbers)
            if score is not None:
                caption, alt = f"{name}: J&F {score:.3f}", f"{alt}, with J&F {score:.3f}"
            drawn.append(_draw(pixels, ids, caption, alt))
    return drawn


def _given(truth: Mapping[str, Path]) -> set[int]:
    """Return the objects of the first annotation, as the official evaluation counts them: up to its largest number."""
    first = next(iter(truth.values()), None)
    return set() if first is None else set(range(1, int(_objects(first).max()) + 1))


def _score(true: NDArray[np.uint8], predicted: NDArray[np.uint8], given: Collection[int]) -> float | None:
    """Return the mean over the objects, those given first and those that joined, of (J + F) / 2; None without any."""
    numbers = sorted({*given, *np.unique(true).tolist()} - {0})
    pairs = [(true == number, predicted == number) for number in numbers]
    return fmean((region_similarity(*pair) + contour_accuracy(*pair)) / 2 for pair in pairs) if pairs else None


def _draw(pixels: NDArray[np.uint8], ids: NDArray[np.uint8], caption: str, alt: str) -> Picture:
    height, width = pixels.shape[:2]
    small = min(1.0, _WIDTH / width)
    size = max(1, round(width * small)), max(1, round(height * small))
    frame = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    masks = cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False)
    file = io.BytesIO()
    Image.fromarray(overlay_mask(frame, masks)).save(file, "JPEG", quality=_QUALITY, optimize=True)
    uri = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
    return Picture(caption=caption, alt=alt, uri=uri, width=size[0], height=size[1])


def _objects(path: Path) -> NDArray[np.uint8]:
    ids = read_mask(path)
    ids[ids == VOID] = 0
    return ids
