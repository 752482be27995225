"""Outlines of objects in images, as files of other tools have them, and their masks in the frames of a video."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ...store.errors import LabelError
from ..choices.hints import plural

#: Largest object number of a mask; 255 is void.
_MOST_OBJECTS = 254


@dataclass(frozen=True, kw_only=True)
class Shape:
    """An object's outline in one image.

    Attributes
    ----------
    where
        The shape and its file, for messages.
    image
        Name of the image without its ending, or index of the frame from 0.
    label
        Name of the object's class.
    track
        Identity of the object in all images; None if the file has none.
    size
        (height, width) of the image according to the file; None if it does not say.
    order
        Shapes with a larger value cover others.
    mask
        Returns the outline's pixels for an image of a size (height, width); raises LabelError with a message that
        continues `where`.
    """

    where: str
    image: str | int
    label: str
    track: str | None = None
    size: tuple[int, int] | None = None
    order: int = 0
    mask: Callable[[tuple[int, int]], npt.NDArray[np.bool_]]


@dataclass(frozen=True, kw_only=True)
class NamedMasks:
    """Masks of a video's frames.

    Attributes
    ----------
    masks
        (height, width), uint8, object numbers, by index of the frame, rising.
    names
        Names of objects, by number.
    notes
        Sentences for the user, such as what was left out or assumed.
    """

    masks: dict[int, npt.NDArray[np.uint8]]
    names: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def draw_shapes(
    shapes: Sequence[Shape], frames: Sequence[str], size: tuple[int, int], *, frame: int | None = None
) -> NamedMasks:
    """Draw shapes into the frames of a video, later ones over earlier ones.

    An image is the frame of the same name; if no image is, that of the same number at the end of the name. Shapes of
    one track are one object. Without tracks, a class that occurs once in each image is one object, and each shape of
    the only image of its class is one.

    Parameters
    ----------
    shapes
        The shapes, in the order of the file.
    frames
        Names of the video's frames.
    size
        (height, width) of the frames.
    frame
        Index of the frame that the only image belongs to, whatever its name.

    Raises
    ------
    LabelError
        If there is no shape, none belongs to a frame, an image has another size than the frames, a shape cannot be
        drawn, objects of several images cannot be told apart, or there are more than 254.
    """
    if not shapes:
        raise LabelError("there is no outline of an object")
    notes: list[str] = []
    index_of = _match_frames([shape.image for shape in shapes], frames, frame, notes)
    inside = sorted(
        ((index_of[shape.image], shape) for shape in shapes if shape.image in index_of),
        key=lambda pair: (pair[0], pair[1].order),
    )
    numbers, names = _number_objects([shape for _, shape in inside])
    masks: dict[int, npt.NDArray[np.uint8]] = {}
    for (index, shape), number in zip(inside, numbers, strict=True):
        if shape.size not in (None, size):
            raise LabelError(
                f"{shape.where} is of an image of {_text(shape.size)} pixels, but the frames are {_text(size)}"
            )
        try:
            drawn = shape.mask(size)
        except LabelError as error:
            raise LabelError(f"{shape.where} {error}") from error
        masks.setdefault(index, np.zeros(size, np.uint8))[drawn] = number
    empty = [frames[index] for index, ids in masks.items() if not ids.any()]
    if empty:
        notes.append(f"left out {plural(len(empty), 'frame')} without a pixel of an object, first {empty[0]}")
    masks = {index: ids for index, ids in masks.items() if ids.any()}
    if not masks:
        raise LabelError("no outline covers a pixel")
    return NamedMasks(masks=masks, names=names, notes=notes)


def _match_frames(
    images: Iterable[str | int], frames: Sequence[str], frame: int | None, notes: list[str]
) -> Mapping[str | int, int]:
    """Return the index of each image's frame; images without one are missing, and noted."""
    wanted = list(dict.fromkeys(images))
    if frame is not None:
        if len(wanted) > 1:
            raise LabelError(f"there are outlines in {len(wanted)} images, which cannot all be of one frame")
        return {wanted[0]: frame}
    known: dict[str | int, int] = {name: index for index, name in enumerate(frames)}
    known |= {index: index for index in range(len(frames))}
    found = {image: known[image] for image in wanted if image in known}
    if not found:
        by_number = {_last_number(name): index for index, name in enumerate(frames)}
        numbers = [_last_number(image) for image in wanted if isinstance(image, str)]
        if len(by_number) == len(frames) and len(set(numbers)) == len(wanted) and None not in numbers:
            found = {
                image: by_number[_last_number(str(image))] for image in wanted if _last_number(str(image)) in by_number
            }
        if found:
            image, index = next(iter(found.items()))
            notes.append(f"images belong to frames by their numbers: {image} to frame {frames[index]}")
    if not found:
        shown = ", ".join(str(image)[:60] for image in wanted[:3])
        raise LabelError(
            f"no image is a frame of the video: the images are {shown}{', ...' if len(wanted) > 3 else ''}, and the "
            f"frames {frames[0]} to {frames[-1]}{'; name its frame with --frame' if len(wanted) == 1 else ''}"
        )
    left = [str(image)[:60] for image in wanted if image not in found]
    if left:
        notes.append(f"left out {plural(len(left), 'image')} that the video does not have, first {left[0]}")
    return found


def _last_number(name: str) -> int | None:
    digits = re.search(r"([0-9]{1,18})$", name)
    return int(digits[1]) if digits else None


def _number_objects(shapes: Sequence[Shape]) -> tuple[list[int], dict[int, str]]:
    """Return the object number of each shape, and the name of each object."""
    images: dict[str, list[str | int]] = {}
    for shape in shapes:
        if shape.track is None:
            images.setdefault(shape.label, []).append(shape.image)
    keys: list[tuple[str, ...]] = []
    seen: dict[tuple[str | int, str], int] = {}
    for shape in shapes:
        if shape.track is not None:
            keys.append(("track", shape.track))
            continue
        at = images[shape.label]
        if len(set(at)) == len(at):
            keys.append(("label", shape.label))
        elif len(set(at)) == 1:
            seen[shape.image, shape.label] = order = seen.get((shape.image, shape.label), 0) + 1
            keys.append(("label", shape.label, str(order)))
        else:
            raise LabelError(
                f"several outlines of {shape.label[:60]!r} are in one image, and there are others in other images: "
                "nothing says which of them are the same object; give every object an identity (COCO: track_id, "
                "LabelMe: group_id, CVAT: a track), or annotate one frame alone"
            )
    objects = list(dict.fromkeys(keys))
    if len(objects) > _MOST_OBJECTS:
        raise LabelError(f"there are {len(objects)} objects, and a mask has {_MOST_OBJECTS} at most")
    number_of = {key: number for number, key in enumerate(objects, start=1)}
    tracks = [key[1] for key in objects]
    if all(key[0] == "track" and key[1].isdecimal() and 1 <= int(key[1]) <= _MOST_OBJECTS for key in objects) and len(
        {int(track) for track in tracks}
    ) == len(tracks):
        number_of = {key: int(key[1]) for key in objects}
    numbers = [number_of[key] for key in keys]
    names: dict[int, str] = {}
    for number, shape in zip(numbers, shapes, strict=True):
        names.setdefault(number, shape.label)
    return numbers, dict(sorted(names.items()))


def _text(size: tuple[int, int] | None) -> str:
    return "" if size is None else f"{size[1]}x{size[0]}"
