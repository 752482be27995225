"""MOTChallenge: <sequence>/img1/000001.jpg, gt/gt.txt, seqinfo.ini; boxes (MOT16, MOT17, MOT20) or masks (MOTS20).

DanceTrack and SportsMOT have the layout of MOT17.
"""

import configparser
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...store.errors import ConfigError, FrameError, LabelError
from .annotation_tables import AnnotationTable, TableRow, read_box_rows
from .listing import is_plain_name, list_folders, list_images
from .mots import MotsVideo, is_mots_table, table_instances
from .table_video import TableVideo
from .video import Dataset, Source, Video, image_video

#: Class of the evaluated rows: pedestrians.
_COUNTED = 1

# Classes whose boxes are removed together with the predictions that match them: people on vehicles, static people,
# distractors, reflections; in MOT20 also vehicles without a motor.
_DISTRACTORS = frozenset({2, 7, 8, 12})
_VEHICLE = 6


@dataclass(frozen=True, kw_only=True)
class MotVideo(TableVideo):
    """A sequence with true boxes, of which some do not count.

    `uncounted` are the rows of other classes than pedestrians and those marked as not to be considered, each with
    whether it is a distractor.
    """

    uncounted: tuple[tuple[TableRow, bool], ...] = ()

    def read_uncounted(self) -> dict[int, tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]]:
        """Return the boxes that do not count, (box, 4), and whether each is a distractor, by index of the frame."""
        index_of = self._frame_finder()
        found: dict[int, list[tuple[TableRow, bool]]] = {}
        for row, distractor in self.uncounted:
            if (index := index_of(row)) is not None:
                found.setdefault(index, []).append((row, distractor))
        return {
            index: (np.array([row.values for row, _ in rows]), np.array([distractor for _, distractor in rows]))
            for index, rows in found.items()
        }


def check_numbers(folder: Path, first: int = 1, count: int | None = None) -> None:
    """Raise FrameError unless the images of a folder are numbered without a gap, `count` of them if it is known."""
    images = list_images(folder)
    for number, image in enumerate(images, first):
        if not (image.stem.isdecimal() and int(image.stem) == number):
            raise FrameError(
                f"{folder} lacks frame {number}: {image.name} is in its place, and annotations name frames by number"
            )
    if count is not None and len(images) != count:
        raise FrameError(f"{folder} has {len(images)} images, but {folder.parent / 'seqinfo.ini'} says {count}")


def _is_sequence(folder: Path) -> bool:
    return (folder / "img1").is_dir() and any((folder / name).exists() for name in ("seqinfo.ini", "gt/gt.txt"))


def _sequences(source: Source) -> dict[str, Path]:
    """Return the folders of sequences by name: the source itself, the folders in it, or those of its set."""
    path, split = source.path, source.set_or("train")
    if _is_sequence(path):
        return {path.resolve().name: path}
    for folder in (path, path / split) if is_plain_name(split) else (path,):
        names = list_folders(folder) if folder.is_dir() else ()
        found = {name: folder / name for name in names if _is_sequence(folder / name)}
        if found:
            return found
    return {}


def _names(source: Source) -> tuple[str, ...]:
    found = _sequences(source)
    if not found:
        raise ConfigError(f"{source.path} has no sequences of MOTChallenge in a folder {source.set_or('train')!r}")
    return tuple(found)


def _video(source: Source, name: str) -> Video:
    """Open one sequence: with boxes, with masks, or without annotations where it has no ground truth."""
    folder = _sequences(source)[name]
    images, truth = folder / "img1", folder / "gt" / "gt.txt"
    check_numbers(images, count=_length(folder / "seqinfo.ini"))
    if not truth.is_file():
        return image_video("mot", name, images, {}, tasks=())
    frames = image_video("mot", name, images, {}).frames
    if is_mots_table(truth):
        return MotsVideo(dataset="mots", name=name, frames=frames, instances=table_instances(truth, frames.names, 1))
    counted, uncounted = _read_truth(truth, _DISTRACTORS | {_VEHICLE} if name.startswith("MOT20") else _DISTRACTORS)
    table = AnnotationTable(path=truth, kind="boxes", rows=counted)
    return MotVideo(
        dataset="mot",
        name=name,
        frames=frames,
        table=table,
        first_rows=True,
        uncounted=uncounted,
        tasks=("boxes",),
    )


def _read_truth(
    path: Path, distractors: frozenset[int]
) -> tuple[tuple[TableRow, ...], tuple[tuple[TableRow, bool], ...]]:
    """Return the rows that count, and the others with whether they are distractors; MOT15 has no classes, or -1."""
    counted, others = [], []
    for row, more in read_box_rows(path):
        considered, category = more[0] if more else 1, more[1] if len(more) > 1 else _COUNTED
        if considered != 0 and category in (_COUNTED, -1):
            counted.append(row)
        else:
            others.append((row, category in distractors))
    if not counted:
        raise LabelError(f"{path} has no box that counts: of class {_COUNTED}, and not marked by 0 in column 7")
    return tuple(counted), tuple(others)


def _length(path: Path) -> int | None:
    """Return the number of frames that a sequence should have; None without the file."""
    if not path.is_file():
        return None
    parser = configparser.ConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"), source=str(path))
        return parser.getint("Sequence", "seqLength")
    except (OSError, UnicodeDecodeError, ValueError, configparser.Error) as error:
        raise FrameError(f"{path} has no seqLength in a section [Sequence]: {' '.join(str(error).split())}") from error


MOT = Dataset(
    kind="sequences of MOTChallenge",
    matches=lambda path: any(_sequences(Source(path=path, set_name=split)) for split in ("train", "test")),
    names=_names,
    video=_video,
)
