"""Making the videos of the synthetic sets."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...store.durable import explain_os_errors
from ..runs.files import written_whole
from .rendering import render
from .scene import SceneSpec
from .sets import set_specs
from .statistics import ClipStatistics, clip_statistics
from .writing import write_davis, write_list, write_truth

__all__ = ["MadeVideo", "make_sets"]


@dataclass(frozen=True, kw_only=True)
class MadeVideo:
    """A video that was made.

    Attributes
    ----------
    set_name, name
        Its set, and its own name.
    statistics
        How hard it is.
    """

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
    """Make sets of videos in a DAVIS-2017 root.

    Each set has its list in ``ImageSets/2017``; ``val`` lists all that were made. ``Tracks`` holds the truth beside the
    masks, ``statistics.csv`` a row for each video. A video that is there is made again, which gives the same bytes.

    Parameters
    ----------
    root
        The root, made if absent.
    sets
        Names of sets.
    videos
        In each set.
    base
        What all of them show (see `set_specs`).
    window
        Half the side of the search window in pixels, for the statistics.
    progress
        Called with the number of videos just made.

    Yields
    ------
    MadeVideo
        One for each video, when it is on the disk.

    Raises
    ------
    ConfigError
        When a video cannot be made as specified; those before it are there.
    CacheError
        When the operating system refuses to write.
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


def _write_statistics(path: Path, made: Sequence[MadeVideo]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["set", "video", *asdict(made[0].statistics)])
    for video in made:
        values = (f"{value:.4f}" for value in asdict(video.statistics).values())
        writer.writerow([video.set_name, video.name, *values])
    with written_whole(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
