"""Pictures of results over frames: a sheet and a movie of one, or several side by side with the ground truth."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...store import safe_name
from ...store.durable import explain_os_errors
from ...store.errors import ConfigError
from ..datasets.video import Video
from ..runs.result_folders import result_folder
from ..tasks.base import ResultFrames
from ..tasks.registry import known_tasks, open_frames
from .columns import Column, PictureOutput, write_columns
from .movie import write_movie
from .selection import evenly_spaced
from .sheet import contact_sheet, write_picture

_Picture = npt.NDArray[np.uint8]

_SHOWN = 9  # frames on the sheet


def write_overlay(
    video: Video, folder: Path, out: Path, *, title: str, fps: float = 12.0, suffix: str = ".mp4"
) -> tuple[Path, Path]:
    """Draw a video's folder of results over its frames, into the folder `out`.

    Returns a contact sheet of nine frames (PNG), below the title, and a movie of all, in the format of the suffix.
    """
    result = open_frames(video, folder)
    index_of = {name: index for index, name in enumerate(video.frames.names)}
    names = [name for name in video.frames.names if name in set(result.frames)]

    def drawn(name: str) -> _Picture:
        picture = video.frames.read(index_of[name])
        found = result.draw(picture, name)
        return picture if found is None else found

    base = out / safe_name(video.name)
    with explain_os_errors(f"write {base.parent}"):
        movie = write_movie(base.with_name(f"{base.name}{suffix}"), map(drawn, names), fps=fps)
        shown = [names[index] for index in evenly_spaced(len(names), _SHOWN)]
        sheet = contact_sheet([(name, drawn(name)) for name in shown], title=title, legend=result.legend(shown))
        return write_picture(base.with_name(f"{base.name}.png"), sheet), movie


def write_results(
    noun: str, video: Video, results: Mapping[str, Path], output: PictureOutput, *, truth: bool = True
) -> list[Path]:
    """Draw several results over the frames, side by side.

    `noun` is the `Task.noun` or `Task.name` of tasks. `results` are folders as `ted propagate --out` makes them, by the
    titles of their columns. With `truth`, the ground truth is the first column, where there is any. Returns the files.

    Raises
    ------
    ConfigError
        When there is nothing to show.
    LabelError
        When a result has nothing of this kind, cannot be read, or is of other frames than the video.
    """
    opened = {title: _open(noun, video, result_folder(folder, video)) for title, folder in results.items()}
    if not opened:
        raise ConfigError(f"there are no {noun} of video {video.name!r} to show: name results with --results")
    columns = [_column(title, video, frames.draw) for title, frames in opened.items()]
    first = next(iter(opened.values()))
    truth = truth and first.has_truth
    if truth:
        columns.insert(0, _column("ground truth", video, first.draw_truth))
    names = [video.frames.names[frame] for frame in output.frames]
    legend = {key: name for frames in opened.values() for key, name in frames.legend(names, truth=truth).items()}
    nouns = dict.fromkeys(frames.noun for frames in opened.values())
    return write_columns(
        columns,
        video.frames.names,
        output,
        title=f"{video.name}: {' and '.join(nouns)}",
        legend=dict(sorted(legend.items())),
    )


def parse_results(texts: Sequence[str]) -> dict[str, Path]:
    """Read ``[TITLE=]FOLDER``: folders of results by title, which is the folder's name where none is written.

    Raises
    ------
    ConfigError
        For a folder that does not exist, or two of the same title.
    """
    found: dict[str, Path] = {}
    for text in texts:
        title, equals, path = text.partition("=")
        named = bool(equals) and not Path(text).is_dir()
        folder = Path(path if named else text)
        title = title.strip() if named else folder.resolve().name
        if not folder.is_dir():
            raise ConfigError(f"there are no results at {folder}; `ted propagate` makes them, or name others")
        if title in found:
            raise ConfigError(f"two results are titled {title!r}: name them as TITLE={folder}")
        found[title] = folder
    return found


def _open(noun: str, video: Video, folder: Path) -> ResultFrames:
    """Open results with the task of this noun that they are of; else with the first, which says what is missing."""
    tasks = [task() for task in known_tasks().values() if noun in (task.name, task.noun)]
    return next((task for task in tasks if task.has_results(folder)), tasks[0]).open_frames(video, folder)


def _column(title: str, video: Video, draw_over: Callable[[_Picture, str], _Picture | None]) -> Column:
    def draw(frames: Sequence[int]) -> Iterator[_Picture]:
        for frame in frames:
            picture = video.frames.read(frame)
            drawn = draw_over(picture, video.frames.names[frame])
            yield picture if drawn is None else drawn

    return Column(title=title, draw=draw)
