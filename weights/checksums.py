"""Checksums: what a file says its tensors and its metadata are, compared with what they are.

They find damage, not forgery: who changes a tensor on purpose can change its checksum as well. CRC-32 finds
every error of up to 32 bits in a row, and reads a gigabyte in less time than a disk does.
"""

import zlib
from collections.abc import Mapping

import numpy as np

from .errors import BadWeightFile


def checksum(array: np.ndarray) -> str:
    """CRC-32 of a tensor's kind, shape and numbers, eight hex digits; `array` is float32 or int64."""
    kind = f"{array.dtype.name} {'x'.join(map(str, array.shape))}\n".encode()
    numbers = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return f"{zlib.crc32(numbers.data.cast('B') if numbers.size else b'', zlib.crc32(kind)):08x}"


def checksum_of_text(text: str) -> str:
    """CRC-32 of a text in UTF-8, eight hex digits."""
    return f"{zlib.crc32(text.encode('utf-8', 'surrogatepass')):08x}"


def verify(tensors: Mapping[str, np.ndarray], stored: Mapping[str, str], where: str) -> None:
    """Make sure that tensors are those that were written, all of them and in the same order.

    Args:
        stored: name -> checksum.
        where: the file, for the error.
    Raises:
        BadWeightFile: names the first tensor that is not.
    """
    for name, expected in stored.items():
        if name not in tensors:
            raise BadWeightFile(f"'{where}' has lost {name!r}, which was written into it; copy it again")
        if checksum(tensors[name]) != expected:
            raise BadWeightFile(
                f"{name!r} in '{where}' is not what was written: its checksum is {checksum(tensors[name])}, "
                f"not {expected}; copy the file again"
            )
    added = next((name for name in tensors if name not in stored), None)
    if added is not None or list(tensors) != list(stored):
        what = (
            f"has {added!r}, which was not" if added is not None else "has its tensors in another order than"
        )
        raise BadWeightFile(f"'{where}' {what} written into it; copy it again")
