"""Memory that is free and still counts: of a large network, some hundred megabytes after each pass.

The C library keeps what lies between blocks in use, and weights of a few megabytes each leave much of that.
"""

import ctypes
import gc
from collections.abc import Callable
from functools import cache


def collect() -> None:
    """Free what is only in use by circles, as torch.export leaves what it followed, and give it back."""
    gc.collect()
    give_back()


def give_back() -> None:
    """Have the C library return what nobody uses to the system; where it has no such call, it stays."""
    if (trim := _malloc_trim()) is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """Of glibc alone."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
