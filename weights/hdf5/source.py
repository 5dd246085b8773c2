"""The bytes of a file, behind bounds that nothing in it can move."""

import math
import os
from io import BufferedReader

import numpy as np

UNDEFINED = 2**64 - 1  # the address of what is not there

_MOST_DESCRIPTION = 2**23  # bytes: enough for 10,000 tensors


class Damaged(Exception):
    """The file contradicts itself; says where."""


class Unsupported(Exception):
    """A sound file may have this, and it is not read here; says what."""


class NotPlain(Exception):
    """Values that a weight file does not have; says what they are instead."""


class Cursor:
    """Bytes that are read from front to back."""

    def __init__(self, data: bytes, what: str) -> None:
        self.data, self.what = data, what
        self.at = 0

    def take(self, count: int) -> bytes:
        """The next so many bytes.

        Raises:
            Damaged: they are not all there.
        """
        taken = self.data[self.at : self.at + count]
        if len(taken) < count:
            raise Damaged(f"{self.what} ends early")
        self.at += count
        return taken

    def uint(self, size: int) -> int:
        """The next integer, of so many bytes."""
        return int.from_bytes(self.take(size), "little")

    def expect(self, signature: bytes) -> None:
        """Pass over the bytes that everything of this kind begins with.

        Raises:
            Damaged: they are others.
        """
        if self.take(len(signature)) != signature:
            raise Damaged(f"there is no {self.what} where one should be")

    def version(self, *known: int) -> int:
        """The next byte, which says how the rest is laid out.

        Raises:
            Unsupported: in a way that is not known.
        """
        version = self.uint(1)
        if version not in known:
            raise Unsupported(f"{self.what} of version {version}")
        return version

    @property
    def left(self) -> int:
        """How many bytes are still to come."""
        return len(self.data) - self.at


class Source:
    """An open file: reads what lies inside, and refuses the rest.

    Whatever describes the file (headers, lists of links) is counted, and bounded by the size of the file; so
    a structure that leads back into itself ends.
    """

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        self._patience = min(2 * self.size + 2**20, _MOST_DESCRIPTION)

    def described(self, address: int, count: int, what: str) -> bytes:
        """Some bytes that describe the file.

        Raises:
            Damaged: they lie outside, or this goes on and on.
        """
        self._require_inside(address, count, what)
        self._patience -= count + 16
        if self._patience < 0:
            raise Damaged(f"{what} leads in a circle")
        return self._read(address, count, what)

    def cursor(self, address: int, count: int, what: str) -> Cursor:
        """Some bytes that describe the file, to be read from front to back."""
        return Cursor(self.described(address, count, what), what)

    def values(self, address: int, count: int, what: str) -> bytes:
        """Some bytes of the values.

        Raises:
            Damaged: they lie outside.
        """
        self._require_inside(address, count, what)
        return self._read(address, count, what)

    def holds(self, pattern: bytes) -> bool:
        """Are these bytes anywhere in the file?"""
        self._file.seek(0)
        tail = b""
        while piece := self._file.read(2**20):
            if pattern in tail + piece:
                return True
            tail = piece[-len(pattern) :]
        return False

    def _read(self, address: int, count: int, what: str) -> bytes:
        self._file.seek(address)
        data = self._file.read(count)
        if len(data) < count:  # the file has just been cut
            raise Damaged(f"{what} ends early")
        return data

    def array(self, address: int, dtype: np.dtype, shape: tuple[int, ...], what: str) -> np.ndarray:
        """The numbers that lie at an address, in C order.

        Raises:
            Damaged: they lie outside.
        """
        count = math.prod(shape)
        data = self.values(address, count * dtype.itemsize, what) if count else b""  # which lies nowhere
        return np.frombuffer(data, dtype, count).reshape(shape)

    def _require_inside(self, address: int, count: int, what: str) -> None:
        if count < 0 or address > self.size - count:
            raise Damaged(f"{what} lies outside the file")
