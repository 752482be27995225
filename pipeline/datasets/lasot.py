"""LaSOT: [<class>/]<sequence>/img/00000001.jpg, groundtruth.txt, full_occlusion.txt, out_of_view.txt, nlp.txt."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from ...store.errors import ConfigError, LabelError
from ..choices.hints import plural
from .annotation_tables import AnnotationTable, TableRow, parse_number, read_cells
from .listing import is_plain_name, list_folders, list_images, read_names
from .mot import check_numbers
from .table_video import TableVideo
from .video import Dataset, Source, image_video


def _is_sequence(folder: Path) -> bool:
    return (folder / "img").is_dir() and (folder / "groundtruth.txt").is_file()


def _folders(root: Path) -> Iterator[Path]:
    """Yield the sequences of a root, or of its folders of classes; or the root itself."""
    if _is_sequence(root):
        yield root
        return
    for name in list_folders(root):
        if _is_sequence(root / name):
            yield root / name
        else:
            yield from (root / name / inner for inner in list_folders(root / name) if _is_sequence(root / name / inner))


def _matches(root: Path) -> bool:
    return not list_images(root) and next(_folders(root), None) is not None


def _names(source: Source) -> tuple[str, ...]:
    """Return the names of all sequences; those of ``<set>_set.txt`` (``testing``, ``training``) if a set is named."""
    found = tuple(folder.resolve().name for folder in _folders(source.path))
    if source.set_name is None:
        return found
    path = source.path / f"{source.set_name}_set.txt"
    if not is_plain_name(source.set_name) or not path.is_file():
        raise ConfigError(f"no set {source.set_name!r}: there is no {path}")
    return tuple(name for name in read_names(path) if name in found)


def _video(source: Source, name: str) -> TableVideo:
    """Open one sequence: one object, annotated in the first frame that shows it."""
    likely = (source.path / name, source.path / name.rpartition("-")[0] / name)
    folder = next(
        folder for folder in chain(filter(_is_sequence, likely), _folders(source.path)) if folder.resolve().name == name
    )
    check_numbers(folder / "img")
    frames = image_video("lasot", name, folder / "img", {}).frames
    path = folder / "groundtruth.txt"
    count = len(frames)
    absent = {
        frame
        for flags in ("full_occlusion.txt", "out_of_view.txt")
        for frame, flag in enumerate(_flags(folder / flags, count), 1)
        if flag
    }
    rows, total = [], 0
    for total, (line, cells) in enumerate(read_cells(path), 1):
        values = tuple(
            parse_number(path, line, f"column {at}", cell) for at, cell in enumerate(cells, 1) if line not in absent
        )
        if line != total or len(cells) != 4:
            raise LabelError(f"line {line} of {path} must have x,y,w,h: one line for each frame, none of them empty")
        if values and min(values[2:]) < 0:
            raise LabelError(f"line {line} of {path} has a box of {values[2]:g} x {values[3]:g}")
        if values and min(values[2:]) > 0:
            rows.append(TableRow(line=line, frame=str(line), id=1, values=values))
    if total != count:
        raise LabelError(f"{path} has {plural(total, 'line')}, but {folder / 'img'} has {plural(count, 'image')}")
    if not rows:
        raise LabelError(f"{path} has no box of a visible object")
    table = AnnotationTable(path=path, kind="boxes", rows=tuple(rows))
    text = _text(folder / "nlp.txt")
    return TableVideo(
        dataset="lasot", name=name, frames=frames, table=table, first_rows=True, tasks=("boxes",), text=text
    )


def _flags(path: Path, count: int) -> list[bool]:
    """Return one flag for each frame; none if the file is absent."""
    if not path.is_file():
        return []
    cells = list(chain.from_iterable(cells for _, cells in read_cells(path)))
    wrong = next((cell for cell in cells if cell not in ("0", "1")), None)
    if wrong is not None or len(cells) != count:
        found = f"{len(cells)} values" if wrong is None else repr(wrong[:60])
        raise LabelError(f"{path} must have 0 or 1 for each of the {plural(count, 'frame')}, found: {found}")
    return [cell == "1" for cell in cells]


def _text(path: Path) -> str:
    """Return the sentence that describes the object; empty if the file is absent."""
    if not path.is_file():
        return ""
    try:
        return " ".join(path.read_text(encoding="utf-8-sig").split())
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"cannot read {path}: {error}") from error


LASOT = Dataset(kind="sequences of LaSOT", matches=_matches, names=_names, video=_video)
