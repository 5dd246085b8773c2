"""Heaps, where names, links and long texts lie."""

from dataclasses import dataclass

from .source import UNDEFINED, Cursor, Damaged, Source, Unsupported

_DEEPEST = 16  # nested indirect blocks


def local_heap(source: Source, address: int) -> bytes:
    """All the names of an old group, each ended by a zero byte."""
    head = source.cursor(address, 32, "local heap")
    head.expect(b"HEAP")
    head.version(0)
    head.take(3)
    size = head.uint(8)
    head.take(8)
    return source.described(head.uint(8), size, "local heap")


def global_heap_object(source: Source, address: int, index: int) -> bytes:
    """One object of a collection, which is gone through once from front to back.

    Raises:
        Damaged: it is not there.
    """
    head = source.cursor(address, 16, "global heap")
    head.expect(b"GCOL")
    head.version(1)
    head.take(3)
    objects = source.cursor(address, head.uint(8), "global heap")
    objects.take(16)
    while objects.left >= 16:
        number = objects.uint(2)
        objects.take(6)
        size = objects.uint(8)
        if number == 0:  # what is free, which comes last
            break
        data = objects.take(size)
        if number == index:
            return data
        objects.take(min(-size % 8, objects.left))
    raise Damaged(f"global heap has no object {index}")


@dataclass(frozen=True)
class FractalHeap:
    """Objects in blocks that double in size, row by row."""

    source: Source
    id_bytes: int
    offset_bytes: int
    width: int
    first_block: int
    largest_block: int
    root: int
    rows: int

    @classmethod
    def at(cls, source: Source, address: int) -> "FractalHeap":
        """The heap whose header is at an address.

        Raises:
            Unsupported: its objects are compressed.
        """
        head = source.cursor(address, 142, "fractal heap")
        head.expect(b"FRHP")
        head.version(0)
        id_bytes, filters = head.uint(2), head.uint(2)
        if filters:
            raise Unsupported("a compressed fractal heap")
        head.take(1 + 4 + 12 * 8)
        width, first_block, largest_block = head.uint(2), head.uint(8), head.uint(8)
        offset_bytes = (head.uint(2) + 7) // 8
        head.take(2)
        root, rows = head.uint(8), head.uint(2)
        if not (width and first_block and offset_bytes and first_block <= largest_block):
            raise Damaged("fractal heap has no blocks")
        return cls(source, id_bytes, offset_bytes, width, first_block, largest_block, root, rows)

    def object(self, heap_id: bytes) -> Cursor:
        """What an ID stands for.

        Raises:
            Unsupported: an object too large or too small for the heap's blocks.
            Damaged: the ID leads nowhere.
        """
        parts = Cursor(heap_id, "fractal heap")
        if parts.uint(1) & 0xF0:
            raise Unsupported("a huge or a tiny object in a fractal heap")
        offset = parts.uint(self.offset_bytes)
        size = parts.uint(parts.left)
        block, begin, length = self._block(offset)
        if offset + size > begin + length:
            raise Damaged("fractal heap ends early")
        return self.source.cursor(block + offset - begin, size, "link")

    def _block(self, offset: int) -> tuple[int, int, int]:
        """The direct block that an offset lies in: its address, and which part of the heap it is."""
        address, begin, rows = self.root, 0, self.rows
        for _ in range(_DEEPEST):
            if address == UNDEFINED:
                break
            if rows == 0:
                return address, begin, self.first_block
            address, begin, length = self._child(address, begin, rows, offset)
            if length <= self.largest_block:
                return address, begin, length
            rows = (length // (self.first_block * self.width)).bit_length()
        raise Damaged("fractal heap has no such block")

    def _child(self, address: int, begin: int, rows: int, offset: int) -> tuple[int, int, int]:
        """Of an indirect block, the child that an offset lies in."""
        if rows > 64:
            raise Damaged(f"fractal heap has {rows} rows")
        entries = address + 5 + 8 + self.offset_bytes
        for row in range(rows):
            length = self.first_block << max(0, row - 1)
            if offset < begin + length * self.width:
                column = (offset - begin) // length
                entry = entries + 8 * (row * self.width + column)
                child = self.source.cursor(entry, 8, "fractal heap").uint(8)
                return child, begin + column * length, length
            begin += length * self.width
        raise Damaged("fractal heap has no such row")
