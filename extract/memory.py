"""The process's memory on the CPU."""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# glibc's malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> None:
    """Let this process reuse memory that it frees, instead of giving it back to the system at once.

    A UNet allocates and frees tensors of many megabytes in every layer. glibc gets each from the system anew, page by
    page: half of the time of extraction on a CPU, measured with a small ADM at 480x832; to keep them costs about a
    tenth more peak memory. Does nothing where the C library is another.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_MAX, 0)
            mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
