"""Values in chunks, which may be compressed: unpacked here, and each to exactly the bytes it must have."""

import itertools
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .objects import Message
from .source import UNDEFINED, Cursor, Damaged, NotPlain, Source

DEFLATE, SHUFFLE = 1, 2
_DEEPEST = 16  # levels of a tree


@dataclass(frozen=True)
class Chunk:
    """Where a part of the values lies; `place` is that of its first value in the whole."""

    place: tuple[int, ...]
    address: int
    stored: int


@dataclass(frozen=True)
class Chunks:
    """All values of a dataset, cut into parts of one shape, which overhang at the ends.

    Attributes:
        shape: of a chunk.
        filters: what was done to each chunk before it was written, in this order.
    """

    shape: tuple[int, ...]
    filters: tuple[int, ...]
    parts: tuple[Chunk, ...]

    def read(self, source: Source, dtype: np.dtype, shape: tuple[int, ...], what: str) -> np.ndarray:
        """The whole, put together.

        Raises:
            Damaged: a chunk does not unpack to as many bytes as it must.
        """
        whole = np.empty(shape, dtype)
        for part in self.parts:
            data = self._unpacked(source.values(part.address, part.stored, what), dtype.itemsize, what)
            values = np.frombuffer(data, dtype).reshape(self.shape)
            inside = [
                min(step, side - start)
                for step, side, start in zip(self.shape, shape, part.place, strict=True)
            ]
            target = tuple(slice(start, start + n) for start, n in zip(part.place, inside, strict=True))
            whole[target] = values[tuple(slice(n) for n in inside)]
        return whole

    def _unpacked(self, data: bytes, itemsize: int, what: str) -> bytes:
        length = math.prod(self.shape) * itemsize
        for code in reversed(self.filters):
            if code == DEFLATE:
                stream = zlib.decompressobj()
                try:
                    data = stream.decompress(data, length + 1)
                except zlib.error as error:
                    raise Damaged(f"{what} does not unpack: {error}") from error
            elif len(data) == length:
                data = np.frombuffer(data, np.uint8).reshape(itemsize, -1).T.tobytes()
        if len(data) != length:
            raise Damaged(f"a chunk of {what} has {len(data)} bytes of {length}")
        return data


def filters(message: Message | None) -> tuple[int, ...]:
    """What was done to the chunks of a dataset.

    Raises:
        NotPlain: other things than gzip does, each at most once.
    """
    if message is None:
        return ()
    at = message.cursor("filters")
    version, count = at.version(1, 2), at.uint(1)
    at.take(6 if version == 1 else 0)
    codes: list[int] = []
    for _ in range(count):
        code = at.uint(2)
        name = at.uint(2) if version == 1 or code >= 256 else 0
        at.take(2)
        values = at.uint(2)
        at.take(name + 4 * values + (4 if version == 1 and values % 2 else 0))
        codes.append(code)
    if len(set(codes)) < len(codes) or not {DEFLATE, SHUFFLE}.issuperset(codes):
        raise NotPlain(f"uses HDF5 filters {codes}; allowed is gzip; write it again without")
    return tuple(codes)


def chunks(
    source: Source, at: Cursor, dtype: np.dtype, shape: tuple[int, ...], codes: tuple[int, ...]
) -> Chunks:
    """The chunks of a dataset of this shape.

    Raises:
        NotPlain: they are not all there, or somebody else than h5py's defaults has written them.
        Damaged: they are not where they should be.
    """
    rank = at.uint(1) - 1
    tree = at.uint(8)
    step = tuple(at.uint(4) for _ in range(rank))
    if rank != len(shape) or at.uint(4) != dtype.itemsize or not all(step):
        raise Damaged("chunks are not of the shape or the type of their dataset")
    parts = () if tree == UNDEFINED else tuple(_leaves(source, tree, rank, bool(codes)))
    needed = math.prod(-(-side // n) for side, n in zip(shape, step, strict=True))
    if len(parts) != needed:
        stored = sum(part.stored for part in parts)
        raise NotPlain(
            f"declares shape {shape}, {math.prod(shape) * dtype.itemsize} bytes in {needed} chunks; "
            f"the file holds {len(parts)} with {stored}: they are not all there"
        )
    if needed and {part.place for part in parts} != set(
        itertools.product(*(range(0, side, n) for side, n in zip(shape, step, strict=True)))
    ):
        raise Damaged("chunks overlap")
    return Chunks(step, codes, parts)


def _leaves(
    source: Source, address: int, rank: int, filtered: bool, above: int | None = None
) -> Iterator[Chunk]:
    """The chunks that a tree (B-tree version 1) leads to."""
    head = source.cursor(address, 24, "tree of chunks")
    head.expect(b"TREE")
    kind, level, count = head.uint(1), head.uint(1), head.uint(2)
    if kind != 1 or level > _DEEPEST or (above is not None and level != above - 1):
        raise Damaged("the tree of chunks has other levels than it says")
    key = 8 + 8 * (rank + 1)
    entries = source.cursor(address + 24, count * (key + 8), "tree of chunks")
    for _ in range(count):
        stored, skipped = entries.uint(4), entries.uint(4)
        place = tuple(entries.uint(8) for _ in range(rank))
        entries.take(8)
        child = entries.uint(8)
        if level:
            yield from _leaves(source, child, rank, filtered, level)
        elif skipped and filtered:
            raise NotPlain("has a chunk that was left uncompressed; write it again without compression")
        else:
            yield Chunk(place, child, stored)
