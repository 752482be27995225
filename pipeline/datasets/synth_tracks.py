"""Point tracks of `ted synth`'s videos, used like those of TAP-Vid: ``Tracks/<video>.json`` in a DAVIS root."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...store.errors import ConfigError, LabelError
from ..choices.hints import plural
from .davis import davis_sequences, davis_video
from .listing import list_files, list_images
from .point_queries import Tracks
from .tapvid import TrackVideo
from .video import Dataset, Source


@dataclass(frozen=True, kw_only=True)
class SynthTracks:
    """The true tracks of a synthetic video."""

    path: Path  # the JSON file that `ted.pipeline.synthetic.writing.write_truth` wrote

    def read(self, names: Sequence[str], size: tuple[int, int]) -> Tracks:
        """Return the tracks of all points of all objects, object by object; see `TrackSource`.

        In the file the centre of the first pixel is at (0, 0), here at (0.5, 0.5).
        """
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            height, width = content["spec"]["size"]
            points = np.array(content["points"], dtype=np.float64)
            visible = np.array(content["visible"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise LabelError(f"{self.path} has no tracks of `ted synth`: {error!r}") from error
        if points.ndim != 4 or points.shape[3] != 2 or visible.shape != points.shape[:3] or visible.dtype != np.bool_:
            raise LabelError(
                f"{self.path}: points must be (object, point, frame, 2) and visible (object, point, frame); found: "
                f"{points.shape} and {visible.dtype} {visible.shape}"
            )
        if (height, width) != size:
            raise LabelError(
                f"{self.path} has frames of {width}x{height} pixels, but the video's are {size[1]}x{size[0]}"
            )
        index = [int(name) if name.isdecimal() else points.shape[2] for name in names]
        if max(index, default=0) >= points.shape[2]:
            raise LabelError(f"{self.path} has {plural(points.shape[2], 'frame')}, but the video has others")
        if not np.isfinite(points).all():
            raise LabelError(f"{self.path} has points that are not finite")
        frames = points.shape[2]
        return Tracks(xy=points.reshape(-1, frames, 2)[:, index] + 0.5, occluded=~visible.reshape(-1, frames)[:, index])


def _matches(path: Path) -> bool:
    """Tell whether a folder is ``Tracks`` of a root of `ted synth`."""
    beside = (path.absolute().parent / "JPEGImages").is_dir()
    return beside and bool(list_files(path, ".json")) and not list_images(path)


def _names(source: Source) -> tuple[str, ...]:
    """Return the videos of a set that have tracks, in the order of its list; raises ConfigError if there are none."""
    path, set_name = source.path, source.set_or("val")
    names = tuple(
        name for name in davis_sequences(path.absolute().parent, set_name) if (path / f"{name}.json").is_file()
    )
    if not names:
        raise ConfigError(f"no video of set {set_name!r} has tracks in {path}")
    return names


def _video(source: Source, name: str) -> TrackVideo:
    """Open one video with its tracks and the frames of the root; it shares features with the root."""
    video = davis_video(source.path.absolute().parent, name, source.resolution)
    tracks = SynthTracks(path=source.path / f"{name}.json")
    return TrackVideo(dataset=video.dataset, name=name, frames=video.frames, tracks=tracks)


SYNTH_TRACKS = Dataset(kind="a folder of tracks of `ted synth`", matches=_matches, names=_names, video=_video)
