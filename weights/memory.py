"""How much memory the tensors of a file of unknown origin may take."""

import math

import numpy as np

from .errors import BadWeightFile

_ALWAYS_ALLOWED = 2**26  # bytes
_GROWTH = 16


class Memory:
    """What the tensors of a file may still take in memory, where packed, shared or narrow numbers grow wider.

    More than 16 times the file, and 64 MiB, is no network's weights.
    """

    def __init__(self, file_bytes: int) -> None:
        self._left = _ALWAYS_ALLOWED + _GROWTH * file_bytes

    def claim(self, dtype: np.dtype, shape: tuple[int, ...], where: str, *, also: int = 0) -> None:
        """Take what one tensor needs, before it is made.

        Args:
            also: bytes that are needed to make it.
        Raises:
            BadWeightFile: the tensors so far leave less than that.
        """
        needed = math.prod(shape) * max(dtype.itemsize, 8 if dtype.kind in "biu" else 4) + also
        if needed > self._left:
            raise BadWeightFile(
                f"{where} declares shape {shape} and would take {needed} bytes of memory; of a file of this "
                f"size {self._left} more are believed: write it again, each tensor once and uncompressed"
            )
        self._left -= needed
