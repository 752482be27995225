"""Frames that are image files."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ..store.errors import FrameError
from .truncation import image_is_truncated

__all__ = ["IMAGE_SUFFIXES", "ImageFrames"]

#: File name endings, in lower case, that count as images.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})

_EXIF_ORIENTATION = 0x0112


class ImageFrames:
    """A video given as one image file per frame.

    Grayscale becomes RGB, 16-bit values v become round(v / 257), an alpha channel is dropped. An EXIF orientation is
    applied, so that frames are what viewers and annotation tools show; masks are expected to lie on that.

    Nothing is read before it is asked for, and no frame is kept.

    Parameters
    ----------
    paths
        The files, in the order of the video; at least one. Their stems are the frames' names.

    Raises
    ------
    FrameError
        When there are no files, or two of them have the same stem. The methods raise it, naming the file, for one that
        cannot be read, is truncated, or differs in size from the first.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        if not paths:
            raise FrameError("a video needs at least one frame, and no image files were given")
        by_name: dict[str, Path] = {}
        for path in paths:
            if by_name.setdefault(path.stem, path) is not path:
                raise FrameError(
                    f"two frames are named {path.stem!r}: {by_name[path.stem]} and {path}; rename one of them"
                )
        self._paths = tuple(paths)
        self._names = tuple(by_name)
        self._size: tuple[int, int] | None = None
        self._hashes: dict[int, str] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The files' stems."""
        return self._names

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames."""
        if self._size is None:
            first = _decode(_load(self._paths[0]), self._paths[0])
            self._size = (first.shape[0], first.shape[1])
        return self._size

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Decode one frame: (height, width, 3), RGB."""
        path = self._paths[index]
        data = _load(path)
        if index in self._hashes and hashlib.sha256(data).hexdigest() != self._hashes[index]:
            raise FrameError(f"frame {path} has changed since it was looked at first; run the same command again")
        frame = _decode(data, path)
        if index == 0:
            self._size = (frame.shape[0], frame.shape[1])
        self._check_size((frame.shape[0], frame.shape[1]), path)
        return frame

    def digest(self, indices: Sequence[int] | None = None) -> str:
        """Hash the encoded frames in order, whatever the files are called and wherever they lie.

        Every file is read, so that a truncated one or one of another size is found here, before any computing.

        Parameters
        ----------
        indices
            Frames to cover; all of them by default.

        Returns
        -------
        str
            SHA-256 in hexadecimal.
        """
        whole = hashlib.sha256(b"ted images\n")
        for index in range(len(self)) if indices is None else indices:
            if index not in self._hashes:
                path = self._paths[index]
                data = _load(path)
                size = _stated_size(data)
                if size is not None:
                    self._check_size(size, path)
                self._hashes[index] = hashlib.sha256(data).hexdigest()
            whole.update(f"{self._hashes[index]}\n".encode())
        return whole.hexdigest()

    def _check_size(self, size: tuple[int, int], path: Path) -> None:
        if size != self.size:
            (height, width), first = self.size, self._paths[0].name
            raise FrameError(
                f"frame {path} is {size[1]}x{size[0]} pixels (width x height), but {first} is {width}x{height}: "
                "all frames of a video must have one size"
            )


def _load(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FrameError(f"cannot read frame {path}: {error.strerror}") from error
    if not data:
        raise FrameError(f"frame {path} is empty")
    if image_is_truncated(data):
        raise FrameError(f"frame {path} is truncated: its file ends before the image does; copy or export it again")
    return data


def _decode(data: bytes, path: Path) -> npt.NDArray[np.uint8]:
    try:
        # These flags give three channels, 8 or 16 bit, and apply the EXIF orientation.
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise FrameError(f"cannot decode frame {path}: {error.err}") from error
    if image is None:
        raise FrameError(f"cannot decode frame {path}: damaged, or not an image that OpenCV can read")
    if image.dtype == np.uint16:
        image = (image.astype(np.uint32) + 128) // 257
    elif image.dtype != np.uint8:
        raise FrameError(f"frame {path} has {image.dtype} values; save it with 8 or 16 bits per channel")
    return np.ascontiguousarray(image[..., ::-1], dtype=np.uint8)


def _stated_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) that an image's header states, after the EXIF orientation; None where it cannot be told."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            # A PNG keeps EXIF data in a chunk that may follow the pixels: asking for it could decode them.
            has_exif = image.format != "PNG" or "exif" in image.info
            turned = has_exif and image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return (width, height) if turned else (height, width)
