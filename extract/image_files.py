"""Decode frames from image files, or from the pages of one image file."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ..store.errors import FrameError
from .truncation import image_is_truncated

#: Lower-case file name endings of images.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})

#: Lower-case file name endings of images that may have several pages or frames.
PAGE_SUFFIXES = frozenset({".gif", ".webp", ".png", ".apng", ".tif", ".tiff"})

_EXIF_ORIENTATION = 0x0112
_TIFF_SUBFILE_TYPE = 254


class ImageFrames:
    """Frames of a video that has one image file per frame.

    Grayscale becomes RGB, 16-bit values v become round(v / 257), and an alpha channel is dropped. The EXIF orientation
    is applied, because masks must fit the image that viewers and annotation tools show.

    Files are read on request; no frame stays in memory.

    Parameters
    ----------
    paths
        The files in the order of the video, at least one. Their stems are the frames' names.

    Raises
    ------
    FrameError
        If there are no files, or two have the same stem. The methods raise it, naming the file, if one cannot be
        read, is truncated, differs in size from the first, or has several pages.
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
        """(height, width) of the frames, in pixels."""
        if self._size is None:
            first = _decode(_load(self._paths[0]), self._paths[0])
            self._size = (first.shape[0], first.shape[1])
        return self._size

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Decode one frame: (height, width, 3), uint8, RGB."""
        path = self._paths[index]
        data = _load(path)
        if index in self._hashes and hashlib.sha256(data).hexdigest() != self._hashes[index]:
            raise FrameError(f"frame {path} has changed since it was read first; run the same command again")
        frame = _decode(data, path)
        if index == 0:
            self._size = (frame.shape[0], frame.shape[1])
        check_size(f"frame {path}", frame.shape[:2], self.size, self._paths[0].name)
        return frame

    def digest(self, indices: Sequence[int] | None = None) -> str:
        """Return the SHA-256 of the encoded frames in order (all by default), independent of their names and folders.

        Every file is read, so that truncated files and files of another size are found before extraction.
        """
        whole = hashlib.sha256(b"ted images\n")
        for index in range(len(self)) if indices is None else indices:
            if index not in self._hashes:
                path = self._paths[index]
                data = _load(path)
                _check_single(data, path)
                size = _stated_size(data)
                if size is not None:
                    check_size(f"frame {path}", size, self.size, self._paths[0].name)
                self._hashes[index] = hashlib.sha256(data).hexdigest()
            whole.update(f"{self._hashes[index]}\n".encode())
        return whole.hexdigest()


class PageFrames:
    """Frames of one image file: pages of a TIFF, frames of an animated GIF, WebP or PNG.

    Reduced copies of a TIFF's pages are skipped. The file is loaded on first access.

    Parameters
    ----------
    path
        The file.
    at_most
        Maximum number of frames to use.

    Raises
    ------
    FrameError
        From the methods, if the file cannot be read or decoded, has only one page, or pages of different sizes.
    """

    def __init__(self, path: Path, *, at_most: int | None = None) -> None:
        self._path = path
        self._at_most = at_most
        self._data: bytes | None = None
        self._pages: list[int] = []
        self._image: Any = None  # an open PIL.Image.Image; None for a TIFF

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_data": None, "_image": None}  # a copy in another process loads the file again

    @property
    def names(self) -> tuple[str, ...]:
        """Numbers of the frames, from ``"00000"``."""
        return numbered(len(self))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames, in pixels."""
        first = self._decode(0)
        return first.shape[0], first.shape[1]

    def __len__(self) -> int:
        self._load()
        return len(self._pages)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Decode one frame: (height, width, 3), uint8, RGB."""
        frame = self._decode(index)
        check_size(f"page {index} of {self._path}", frame.shape[:2], self.size)
        return frame

    def digest(self, indices: Sequence[int] | None = None) -> str:
        """Return the SHA-256 of the file's bytes and the selected indices, all by default."""
        content = hashlib.sha256(self._load()).hexdigest()
        chosen = ",".join(map(str, range(len(self)) if indices is None else indices))
        return hashlib.sha256(f"ted image pages\n{content}\n{chosen}\n".encode()).hexdigest()

    def _load(self) -> bytes:
        if self._data is None:
            data = _load(self._path)
            self._pages = _page_numbers(data)[: self._at_most]
            if len(_page_numbers(data)) == 1:
                raise FrameError(f"{self._path} is a single image: give the folder of the frames")
            self._data = data
        return self._data

    def _decode(self, index: int) -> npt.NDArray[np.uint8]:
        data = self._load()
        page = self._pages[index]
        if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):  # TIFF; PIL would clip 16-bit values
            try:
                _, images = cv2.imdecodemulti(np.frombuffer(data, np.uint8), _IMREAD, range=(page, page + 1))
            except cv2.error as error:
                raise FrameError(f"cannot decode frame {index} of {self._path}: {error.err}") from error
            return _to_rgb(images[0] if images else None, self._path)
        try:
            if self._image is None:
                self._image = Image.open(io.BytesIO(data))
            self._image.seek(page)
            return np.array(self._image.convert("RGB"))
        except Exception as error:  # PIL raises many kinds of errors for damaged files
            raise FrameError(f"cannot decode frame {index} of {self._path}: {error}") from error


def numbered(count: int) -> tuple[str, ...]:
    """Return the names of frames without names: their numbers, from ``"00000"``."""
    return tuple(f"{index:05d}" for index in range(count))


def check_size(frame: str, size: tuple[int, ...], wanted: tuple[int, int], first: str = "the first") -> None:
    """Raise FrameError if a frame's (height, width) is not that of the first one."""
    if size != wanted:
        raise FrameError(
            f"{frame} is {size[1]}x{size[0]} pixels (width x height), but {first} is {wanted[1]}x{wanted[0]}: "
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


def _check_single(data: bytes, path: Path) -> None:
    count = len(_page_numbers(data))
    if count > 1:
        raise FrameError(
            f"frame {path} has {count} pages or animation frames: a folder of frames needs one image per file; give "
            "the file itself as the source to use its pages as frames"
        )


def _page_numbers(data: bytes) -> list[int]:
    """Return the numbers of an image's pages, from 0; only [0] for damaged files, whose decoding fails later.

    The preview that phones add to a JPEG (MPO) does not count as a page.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format not in ("TIFF", "GIF", "WEBP", "PNG"):
                return [0]
            first = int(getattr(image, "default_image", False))  # an APNG's still image for other viewers
            numbers = range(first, getattr(image, "n_frames", 1))
            if image.format != "TIFF" or len(numbers) == 1:
                return list(numbers) or [0]
            pages = []
            for number in numbers:
                image.seek(number)
                if not int(getattr(image, "tag_v2", {}).get(_TIFF_SUBFILE_TYPE, 0)) & 1:  # a reduced copy
                    pages.append(number)
            return pages or [0]
    except Exception:  # PIL raises many kinds of errors for damaged files
        return [0]


#: OpenCV's flags for three channels of 8 or 16 bits, with the EXIF orientation applied.
_IMREAD = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH


def _decode(data: bytes, path: Path) -> npt.NDArray[np.uint8]:
    _check_single(data, path)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _IMREAD)
    except cv2.error as error:
        raise FrameError(f"cannot decode frame {path}: {error.err}") from error
    return _to_rgb(image, path)


def _to_rgb(image: npt.NDArray[Any] | None, path: Path) -> npt.NDArray[np.uint8]:
    """Convert OpenCV's image (y, x, BGR) to 8 bits and RGB."""
    if image is None:
        raise FrameError(f"cannot decode frame {path}: damaged, or not an image that OpenCV can read")
    if image.dtype == np.uint16:
        image = (image.astype(np.uint32) + 128) // 257
    elif image.dtype != np.uint8:
        raise FrameError(f"frame {path} has {image.dtype} values; save it with 8 or 16 bits per channel")
    return np.ascontiguousarray(image[..., ::-1], dtype=np.uint8)


def _stated_size(data: bytes) -> tuple[int, int] | None:
    """Return (height, width) from an image's header, after EXIF orientation; None if it cannot be read."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            # A PNG's EXIF data may follow the pixels, so that reading it could decode them.
            has_exif = image.format != "PNG" or "exif" in image.info
            turned = has_exif and image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return (width, height) if turned else (height, width)
