"""Options and the loop over videos that the commands of ``ted show`` share."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .base import Options, Tally, answer, next_command, opt
from .options import at_least

if TYPE_CHECKING:
    from ..datasets.video import Video
    from ..pictures.columns import PictureOutput


class SheetChoice(Options, title="Frames of the sheet"):
    """Which frames a contact sheet shows."""

    frames: str | None = opt("Frames of the sheet, by name or by number from 0, such as 0,8,15.", metavar="LIST")
    count: int = opt("Number of evenly spaced frames of the sheet, without --frames.", 6, type=at_least(1, 100))
    figure: Path | None = opt("Also write a figure for papers, OUT.pdf or OUT.svg (needs matplotlib).")

    def choose(self, video: "Video") -> list[int]:
        """Return the indices of the frames of a video's sheet."""
        from ..pictures.selection import choose_frames

        return choose_frames(self.frames, video.frames.names, self.count)


class PictureChoice(Options, title="Output"):
    """Where pictures are written, and movies."""

    out: Path = opt("Folder to write pictures to.", "pictures")
    movie: bool = opt("Also write a movie of all frames (MP4).")
    fps: float = opt("Frames per second of the movie.", 12.0, type=click.FloatRange(min=0, min_open=True))

    def draw(
        self,
        what: str,
        videos: Sequence["Video"],
        draw: Callable[["Video", "PictureOutput"], Sequence[Path]],
        choose: Callable[["Video"], Sequence[int]],
        figure: Path | None = None,
    ) -> None:
        """Draw each video, report the files, and exit with 1 if a video failed.

        The names of files end with `what`, such as ``pca``. `draw` writes the pictures of a video and returns their
        paths; `choose` returns the frames of its sheet. With several videos, each adds its name to that of the figure.
        """
        from ...store import printable, safe_name
        from ...store.errors import ConfigError
        from ..pictures.columns import PictureOutput
        from ..runs.progress import FrameBars

        if figure is not None and figure.suffix.lower() not in (".pdf", ".svg"):
            raise ConfigError(f"a figure is written as .pdf or .svg, not {figure.name!r}")
        if figure is not None and importlib.util.find_spec("matplotlib") is None:
            raise ConfigError("figures need matplotlib: install it with python -m pip install matplotlib")
        with FrameBars() as bars:
            tally = Tally(bars.note)
            for video in videos:
                with tally.item("video", video.name) as row:
                    name = safe_name(video.name)
                    output = PictureOutput(
                        base=self.out / f"{name}-{what}",
                        figure=figure.with_stem(f"{figure.stem}-{name}") if figure and len(videos) > 1 else figure,
                        frames=choose(video),
                        fps=self.fps if self.movie else None,
                        progress=bars.start(video.name, len(video.frames)) if self.movie else lambda frames: None,
                    )
                    row["pictures"] = [str(path) for path in draw(video, output)]
        lines = [printable(f"{row['video']}: {' '.join(row['pictures'])}") for row in tally.done]
        steps = [] if self.movie or tally.failures else [next_command(movie=True)]
        answer({"out": str(self.out), "videos": tally.rows}, *lines, then=steps)
        tally.finish()
