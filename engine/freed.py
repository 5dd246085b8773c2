"""Memory that is free and still counts: the C library gives it back to the system, or keeps it at hand."""

import ctypes
import gc
from functools import cache

# What glibc's malloc.h calls M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
_TRIM_ABOVE, _MAP_ABOVE = -1, -3
KEPT = 2**28  # bytes: tensors up to this size, and as much that is free, are kept at hand


def collect() -> None:
    """Free what is only in use by circles, as torch.export leaves what it followed, and give it back."""
    gc.collect()
    give_back()


def give_back() -> None:
    """Have the C library return what nobody uses to the system; where it has no such call, it stays.

    It keeps what lies between blocks in use: of a large network, some hundred megabytes after each pass.
    """
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def keep() -> None:
    """Have the C library keep what is freed for the next tensor, in a process that is ours alone.

    By itself it returns the outputs of every layer to the system, which then clears the same pages for the
    next layer: a fifth of the time that a test of a small network takes.
    """
    if (libc := _glibc()) is not None:
        libc.mallopt(_MAP_ABOVE, KEPT)
        libc.mallopt(_TRIM_ABOVE, KEPT)


@cache
def _glibc() -> ctypes.CDLL | None:
    """Other C libraries have no `malloc_trim`."""
    try:
        libc = ctypes.CDLL(None)
        return libc if libc.malloc_trim and libc.mallopt else None
    except (AttributeError, OSError, TypeError):
        return None
