"""MOTS and KITTI MOTS: masks of instances, as 16-bit PNGs or as text of COCO's run lengths.

An instance has the number 1000 * class + id; 10000 (class 10 in text) is a region to ignore. Roots have
``instances/<sequence>/*.png`` or ``instances_txt/<sequence>.txt``, and images in ``training/image_02/<sequence>``,
``image_02/<sequence>`` or ``images/<sequence>``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...extract.truncation import image_is_truncated
from ...propagate.targets.object_ids import VOID
from ...store.errors import LabelError
from ..formats.geometry import rle_to_mask
from .listing import list_files, list_folders, list_masks
from .masks_io import MaskSequence
from .video import Dataset, Source, Video, image_video

#: Number of the region to ignore.
IGNORED = 10000

_IMAGES = ("training/image_02", "image_02", "images")


class Instances(Protocol):
    """True instances of a sequence, by name of the frame."""

    @property
    def files(self) -> Mapping[str, Path]:
        """The file of each frame that has a truth."""

    def numbers(self, frame: str) -> Sequence[int]:
        """Return the numbers that a frame shows, without 0."""

    def read(self, frame: str, size: tuple[int, int]) -> npt.NDArray[np.int32]:
        """Return the number of each pixel, (height, width); 0 is the background."""


@dataclass(frozen=True)
class PngInstances:
    """A PNG of 16 bits for each frame; the numbers in it are read once."""

    files: Mapping[str, Path]
    _numbers: dict[str, list[int]] = field(default_factory=dict, compare=False, repr=False)

    def numbers(self, frame: str) -> Sequence[int]:
        if frame not in self._numbers:
            counts = np.bincount(self.read(frame, None).ravel())
            self._numbers[frame] = (np.flatnonzero(counts[1:]) + 1).tolist()
        return self._numbers[frame]

    def read(self, frame: str, size: tuple[int, int] | None) -> npt.NDArray[np.int32]:
        path = self.files[frame]
        try:
            if image_is_truncated(path.read_bytes()):
                raise LabelError(f"{path} is truncated: the file ends before the image does; copy it again")
            with Image.open(path) as image:
                values = np.asarray(image)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise LabelError(f"cannot read instances from {path}: {error}") from error
        if values.ndim != 2 or values.dtype.kind not in "iu" or values.min() < 0 or values.max() > IGNORED:
            raise LabelError(f"{path} must have one channel of 1000 * class + id, at most {IGNORED}")
        if size is not None and values.shape != size:
            raise LabelError(
                f"{path} is {values.shape[1]}x{values.shape[0]} pixels, but its frame is {size[1]}x{size[0]}"
            )
        return values.astype(np.int32)


@dataclass(frozen=True)
class TextInstances:
    """Lines of a text: of each frame its (line, number, size, run lengths); frames without lines show nothing."""

    path: Path
    lines: Mapping[str, Sequence[tuple[int, int, tuple[int, int], str]]]

    @property
    def files(self) -> Mapping[str, Path]:
        return dict.fromkeys(self.lines, self.path)

    def numbers(self, frame: str) -> Sequence[int]:
        return [number for _, number, _, _ in self.lines[frame]]

    def read(self, frame: str, size: tuple[int, int]) -> npt.NDArray[np.int32]:
        found = np.zeros(size, dtype=np.int32)
        for line, number, own, counts in self.lines[frame]:
            try:
                mask = rle_to_mask({"size": own, "counts": counts}, size)
            except LabelError as error:
                raise LabelError(f"line {line} of {self.path} {error}") from error
            taken = found[mask]
            if (taken[taken != IGNORED] if number == IGNORED else taken).any():
                raise LabelError(f"line {line} of {self.path} has a mask that overlaps another one of its frame")
            found[mask] = number
        return found


@dataclass(frozen=True, kw_only=True)
class MotsVideo(Video):
    """A sequence with true instances. Objects are numbered from 1, by rising numbers of their instances.

    Each is annotated in the first selected frame that shows it; with `joining` false, only those of the first
    annotated frame are.
    """

    instances: Instances
    joining: bool = True

    @cached_property
    def object_numbers(self) -> dict[int, int]:
        """Object number by number of the instance; raises LabelError for more objects than masks can have."""
        found = sorted({n for frame in self.instances.files for n in self.instances.numbers(frame)} - {IGNORED})
        if len(found) >= VOID:
            raise LabelError(f"video {self.name!r} has {len(found)} objects; masks can have {VOID - 1}")
        return {number: at for at, number in enumerate(found, 1)}

    def read_annotated_masks(self) -> dict[int, npt.NDArray[np.uint8]]:
        """Return the masks of first appearances by index of the frame; see `Video`."""
        masks: dict[int, npt.NDArray[np.uint8]] = {}
        for index, numbers in self._appearances().items():
            ids = self.true_masks().read(self.frames.names[index], self.frames.size)
            masks[index] = np.where(np.isin(ids, numbers), ids, 0).astype(np.uint8)
        if not masks:
            raise LabelError(f"video {self.name!r} shows no object in the selected frames")
        return masks

    def annotated_frames(self) -> tuple[int, ...]:
        return tuple(self._appearances()) or (0,)

    def annotations(self) -> dict[str, Path]:
        return {name: self.instances.files[name] for name in self.frames.names if name in self.instances.files}

    def true_masks(self) -> MaskSequence:
        return _InstanceMasks(self.annotations(), self)

    def scored_frames(self, started: object = ()) -> dict[int, tuple[str, ...]]:
        """Return the names of the frames after each followed object's first appearance, by its number."""
        names = list(self.annotations())
        return {
            number: tuple(names[names.index(self.frames.names[index]) + 1 :])
            for index, numbers in self._appearances().items()
            for number in numbers
        }

    def first_frame_only(self) -> "MotsVideo":
        return replace(self, joining=False)

    def ignored(self, frame: str) -> npt.NDArray[np.bool_]:
        """Return the region to ignore in a frame with a truth, (height, width)."""
        return np.asarray(self.instances.read(frame, self.frames.size) == IGNORED)

    def _appearances(self) -> dict[int, list[int]]:
        """Return the objects that first appear in each selected frame, by its index."""
        seen: dict[int, int] = {}
        for index, name in enumerate(self.frames.names):
            if name in self.instances.files:
                for number in sorted({*self.instances.numbers(name)} - {IGNORED}):
                    seen.setdefault(self.object_numbers[number], index)
        found: dict[int, list[int]] = {}
        for number, index in seen.items():
            found.setdefault(index, []).append(number)
        return found if self.joining else dict(list(found.items())[:1])


@dataclass(frozen=True)
class _InstanceMasks(MaskSequence):
    """Masks of object numbers."""

    video: MotsVideo

    @cached_property
    def binary(self) -> bool:
        return False

    def read(self, frame: str, size: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
        table = np.zeros(IGNORED + 1, dtype=np.uint8)
        for number, at in self.video.object_numbers.items():
            table[number] = at
        return table[self.video.instances.read(frame, size or self.video.frames.size)]


def is_mots_table(path: Path) -> bool:
    """Return whether a ground truth has masks: its first line has spaces between six values."""
    with path.open("rb") as file:
        return len(file.readline(1 << 20).split()) == 6


def table_instances(path: Path, names: Sequence[str], first: int) -> TextInstances:
    """Read a text: ``frame id class height width run-lengths``; `first` is the number of the frame names[0].

    Raises LabelError, which names the line, for one that is not of this form, names a frame that the sequence does not
    have, or an object twice in a frame.
    """
    lines: dict[str, list[tuple[int, int, tuple[int, int], str]]] = {name: [] for name in names}
    for line, (frame, number, category, height, width, counts) in _rows(path):
        if not first <= frame < first + len(names):
            raise LabelError(f"line {line} of {path} has frame {frame}; there are {first} to {first + len(names) - 1}")
        number = IGNORED if IGNORED // 1000 in (category, number // 1000) else number
        of_frame = lines[names[frame - first]]
        if not 0 < number <= IGNORED:
            raise LabelError(f"line {line} of {path} has the id {number}, which is not 1000 * class + id")
        if number != IGNORED and number in (other for _, other, _, _ in of_frame):
            raise LabelError(f"line {line} of {path} has object {number} of frame {frame} a second time")
        of_frame.append((line, number, (height, width), counts))
    return TextInstances(path, lines)


def _rows(path: Path) -> Iterator[tuple[int, tuple[int, int, int, int, int, str]]]:
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"cannot read instances from {path}: {error}") from error
    for line, cells in enumerate(map(str.split, text.splitlines()), 1):
        if not cells:
            continue
        if len(cells) != 6 or not all(cell.isdecimal() and len(cell) < 10 for cell in cells[:5]):
            raise LabelError(f"line {line} of {path} is not: frame id class height width run-lengths")
        frame, number, category, height, width = map(int, cells[:5])
        yield line, (frame, number, category, height, width, cells[5])


def _sequences(root: Path) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            [
                *(list_folders(root / "instances") if (root / "instances").is_dir() else ()),
                *(path.stem for path in list_files(root / "instances_txt", ".txt")),
            ]
        )
    )


def _images(root: Path) -> Path | None:
    return next((root / folder for folder in _IMAGES if (root / folder).is_dir()), None)


def _video(source: Source, name: str) -> MotsVideo:
    root = source.path
    images = _images(root)
    assert images is not None
    frames = image_video("mots", name, images / name, {}).frames
    instances: Instances
    if (root / "instances" / name).is_dir():
        masks = {key: path.absolute() for key, path in list_masks(root / "instances" / name).items()}
        unknown = sorted(masks.keys() - set(frames.names))
        if unknown:
            raise LabelError(f"{masks[unknown[0]]} has no frame of that name in {images / name}")
        instances = PngInstances({frame: masks[frame] for frame in frames.names if frame in masks})
    else:
        first = int(frames.names[0]) if frames.names[0].isdecimal() else 0
        instances = table_instances(root / "instances_txt" / f"{name}.txt", frames.names, first)
    return MotsVideo(dataset="mots", name=name, frames=frames, instances=instances)


MOTS = Dataset(
    kind="a MOTS root",
    matches=lambda root: _images(root) is not None and bool(_sequences(root)),
    names=lambda source: _sequences(source.path),
    video=_video,
)
