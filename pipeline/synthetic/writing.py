"""Synthetic videos on disk: a DAVIS-2017 root, with further ground truth and statistics beside it."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...store.durable import explain_os_errors
from ...store.errors import ConfigError
from ..datasets.listing import is_plain_name
from ..runs.files import written_whole
from ..tasks.masks.png import write_mask
from .rendering import Clip, render
from .scene import SceneSpec
from .sets import set_specs
from .statistics import ClipStatistics, clip_statistics


@dataclass(frozen=True, kw_only=True)
class MadeVideo:
    """Names of a set and of its video, and the video's difficulty."""

    set_name: str
    name: str
    statistics: ClipStatistics


def make_sets(
    root: Path,
    sets: Sequence[str],
    videos: int,
    base: SceneSpec,
    *,
    window: float,
    progress: Callable[[int], None] = lambda videos: None,
) -> Iterator[MadeVideo]:
    """Render sets of videos into a DAVIS-2017 root.

    ``ImageSets/2017`` lists the videos of each set, and all of them as ``val``. ``Tracks`` holds further ground truth,
    ``statistics.csv`` one row per video. Existing videos are rendered again, to the same bytes.

    `base` specifies all videos (see `set_specs`); `window` is half the side of the search window in pixels, for the
    statistics. Yields each video once it is on disk, and calls `progress` with the number of videos just written.

    Raises
    ------
    ConfigError
        If a video cannot be rendered as specified; earlier ones stay on disk.
    CacheError
        If the operating system refuses to write.
    """
    made: list[MadeVideo] = []
    specs = {name: set_specs(name, videos, base) for name in sets}
    with explain_os_errors(f"write {root}"):
        for set_name, of_set in specs.items():
            write_list(root, set_name, list(of_set))
            for name, spec in of_set.items():
                clip = render(spec)
                measured = clip_statistics(clip, window)
                write_davis(root, name, clip.frames, clip.masks)
                write_truth(root, name, spec, clip, asdict(measured))
                made.append(MadeVideo(set_name=set_name, name=name, statistics=measured))
                progress(1)
                yield made[-1]
        write_list(root, "val", [video.name for video in made])
        _write_statistics(root / "statistics.csv", made)


def write_davis(
    root: Path, name: str, frames: npt.NDArray[np.uint8], masks: npt.NDArray[np.uint8], set_name: str = "val"
) -> None:
    """Write a video as a sequence of a DAVIS-2017 root, created if absent, and add it to a list of ``ImageSets/2017``.

    Frames (frame, height, width, 3), RGB, become JPEGs of quality 95; masks (frame, height, width), object numbers,
    palette PNGs.

    Raises
    ------
    ConfigError
        If the name cannot be that of a folder, or frames and masks differ in size.
    """
    if not is_plain_name(name):
        raise ConfigError(f"{name!r} cannot be the name of a sequence")
    if frames.shape[:-1] != masks.shape or not len(frames):
        raise ConfigError(f"frames of shape {frames.shape} and masks of shape {masks.shape} do not fit together")
    for index, (frame, mask) in enumerate(zip(frames, masks, strict=True)):
        _, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        with written_whole(root / "JPEGImages" / "480p" / name / f"{index:05d}.jpg") as path:
            path.write_bytes(data.tobytes())
        write_mask(root / "Annotations" / "480p" / name / f"{index:05d}.png", mask)
    listing = _listing(root, set_name)
    names = listing.read_text(encoding="utf-8").split("\n") if listing.exists() else []
    names = [line for line in names if line]
    if name not in names:
        write_list(root, set_name, [*names, name])


def write_list(root: Path, set_name: str, names: list[str]) -> None:
    """Write or replace the list of a set's sequences."""
    with written_whole(_listing(root, set_name)) as path:
        path.write_text("\n".join(names) + "\n", encoding="utf-8")


def write_truth(root: Path, name: str, spec: SceneSpec, clip: Clip, measured: Mapping[str, Any]) -> None:
    """Write the ground truth of a video that DAVIS has no files for.

    ``Tracks/<name>.json`` holds the specification, the statistics, ``names`` (object,), such as ``red ball``,
    ``centres`` (object, frame, 2), ``points`` (object, point, frame, 2), of which the first is the centre, and
    ``visible`` (object, point, frame). Coordinates are x and y in pixels, rounded to a hundredth; the centre of the
    first pixel is (0, 0).
    """
    content = {
        "spec": asdict(spec),
        "statistics": dict(measured),
        "names": list(clip.names),
        "centres": np.round(clip.centres, 2).tolist(),
        "points": np.round(clip.points, 2).tolist(),
        "visible": clip.visible.tolist(),
    }
    with written_whole(root / "Tracks" / f"{name}.json") as path:
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _listing(root: Path, set_name: str) -> Path:
    return root / "ImageSets" / "2017" / f"{set_name}.txt"


def _write_statistics(path: Path, made: Sequence[MadeVideo]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["set", "video", *asdict(made[0].statistics)])
    for video in made:
        values = (f"{value:.4f}" for value in asdict(video.statistics).values())
        writer.writerow([video.set_name, video.name, *values])
    with written_whole(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
