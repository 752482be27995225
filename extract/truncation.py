"""Detect image and video files that were cut short.

Decoders often fill the missing part of an image with grey, or return fewer frames of a video. These checks compare a
file's length with the length that its headers state; the decoder detects damage in the middle.
"""

import os
import re
from pathlib import Path
from typing import BinaryIO

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Begin of a JPEG segment: 0xFF followed neither by 0 (a stuffed byte), a restart marker nor a fill byte.
_JPEG_SEGMENT = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)
_JPEG_EOI = 0xD9
_MP4_FIRST_BOXES = {b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}
_MP4_BOXES = _MP4_FIRST_BOXES | {b"moof", b"mfra", b"sidx", b"ssix", b"meta", b"udta", b"uuid", b"emsg", b"prft"}
_EBML, _MATROSKA_SEGMENT = 0x1A45DFA3, 0x18538067


def image_is_truncated(data: bytes) -> bool:
    """Return whether an encoded image ends too early for its format.

    Parameters
    ----------
    data
        The file's bytes. JPEG (from its own end-of-image marker, not that of an embedded thumbnail), PNG (from its IEND
        chunk), WebP and BMP (from their stated sizes) are checked; other formats count as complete.
    """
    if data.startswith(b"\xff\xd8"):
        return not _jpeg_ends(data)
    if data.startswith(_PNG_SIGNATURE):
        return not _png_ends(data)
    if data.startswith(b"RIFF"):
        return 8 + int.from_bytes(data[4:8], "little") > len(data)
    if data.startswith(b"BM") and len(data) >= 6:
        return int.from_bytes(data[2:6], "little") > len(data)
    return False


def video_is_truncated(path: Path) -> bool:
    """Return whether a video file ends too early for its container.

    MP4/MOV (a box ends after the file, or there is no index), AVI (stated size) and Matroska/WebM (stated size, if the
    writer recorded it) are checked. Other containers state no size and count as complete. Bytes after the last complete
    box of an MP4 are ignored.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        file.seek(0)
        if head[:4] == b"RIFF":
            return _avi_is_truncated(file, size)
        if head[4:8] in _MP4_FIRST_BOXES:
            return _mp4_is_truncated(file, size)
        if int.from_bytes(head[:4], "big") == _EBML:
            return _matroska_is_truncated(file, size)
    return False


def _jpeg_ends(data: bytes) -> bool:
    position = 2
    while match := _JPEG_SEGMENT.search(data, position):
        marker = match[1][0]
        if marker == _JPEG_EOI:
            return True
        # Every other segment states its length. The search above also runs through the data after a scan's header.
        position = match.end() + int.from_bytes(data[match.end() : match.end() + 2], "big")
    return False


def _png_ends(data: bytes) -> bool:
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] == b"IEND":
            return True
        position += 12 + length
    return False


def _avi_is_truncated(file: BinaryIO, size: int) -> bool:
    # Files above 1 GB are a sequence of RIFF chunks; some writers include the padding byte of the last chunk.
    while True:
        head = file.read(8)
        if len(head) < 8 or head[:4] != b"RIFF":
            return False
        end = file.tell() + int.from_bytes(head[4:], "little")
        if end > size + 1:
            return True
        file.seek(end + end % 2)


def _mp4_is_truncated(file: BinaryIO, size: int) -> bool:
    position, has_index = 0, False
    while position + 8 <= size:
        file.seek(position)
        length, kind = int.from_bytes(file.read(4), "big"), file.read(4)
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        elif length == 0:
            length = size - position
        if length < 8 or position + length > size:
            # After the index, bytes that begin no known box are padding or an appended file, which players ignore.
            return not has_index or kind in _MP4_BOXES
        has_index |= kind == b"moov"
        position += length
    return not has_index


def _matroska_is_truncated(file: BinaryIO, size: int) -> bool:
    file.seek(4)
    header = _read_vint(file)
    if header is None:
        return True
    file.seek(header, os.SEEK_CUR)
    if int.from_bytes(file.read(4), "big") != _MATROSKA_SEGMENT:
        return True
    length = _read_vint(file)
    return length is not None and file.tell() + length > size


def _read_vint(file: BinaryIO) -> int | None:
    """Read an EBML variable-length integer; None if it means "unknown" or the file has ended."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    extra = 8 - first[0].bit_length()
    value = (first[0] & ((1 << (7 - extra)) - 1)) << (8 * extra) | int.from_bytes(file.read(extra), "big")
    unknown = (1 << (7 * (extra + 1))) - 1
    return None if value == unknown else value
