"""The superblock, which says where the root is, and object headers: lists of messages about one object."""

from dataclasses import dataclass

from .source import Cursor, Damaged, Source, Unsupported

SIGNATURE = b"\x89HDF\r\n\x1a\n"

# Kinds of messages.
DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL_FILES, LAYOUT = 0x1, 0x2, 0x3, 0x6, 0x7, 0x8
FILTERS, ATTRIBUTE, CONTINUATION, SYMBOL_TABLE, ATTRIBUTE_INFO = 0xB, 0xC, 0x10, 0x11, 0x15

_SHARED = 0x2  # a flag: the message itself lies elsewhere
_MOST_BLOCKS = 1000


@dataclass(frozen=True)
class Message:
    """One fact about an object."""

    kind: int
    data: bytes
    shared: bool

    def cursor(self, what: str) -> Cursor:
        """What it says, to be read from front to back.

        Raises:
            Unsupported: it lies elsewhere in the file.
        """
        if self.shared:
            raise Unsupported(f"a shared {what}")
        return Cursor(self.data, what)


def root_address(source: Source) -> int:
    """Where the header of the root group is.

    Raises:
        Damaged: the file is shorter than it says.
        Unsupported: it is laid out as no library of today writes it by default.
    """
    start = source.cursor(0, min(source.size, 128), "superblock")
    start.expect(SIGNATURE)
    version = start.version(0, 1, 2, 3)
    if version < 2:
        start.take(4)
        sizes = start.uint(1), start.uint(1)
        start.take(1 + 4 + 4 + (4 if version else 0))
    else:
        sizes = start.uint(1), start.uint(1)
        start.take(1)
    if sizes != (8, 8):
        raise Unsupported(f"addresses and lengths of {sizes[0]} and {sizes[1]} bytes")
    base = start.uint(8)
    start.take(8)
    end = start.uint(8)
    if version < 2:
        start.take(8 + 8)
    root = start.uint(8)
    if base:
        raise Unsupported("a user block before the data")
    if end > source.size:
        raise Damaged(f"{end} bytes were written, {source.size} are here")
    return root


def messages(source: Source, address: int) -> list[Message]:
    """All messages of the header at an address."""
    if source.described(address, 4, "object header") == b"OHDR":
        return _new_header(source, address)
    return _old_header(source, address)


def of_kind(found: list[Message], kind: int) -> Message | None:
    """The first message of a kind."""
    return next((message for message in found if message.kind == kind), None)


def _old_header(source: Source, address: int) -> list[Message]:
    start = source.cursor(address, 16, "object header")
    start.version(1)
    start.take(1)
    count = start.uint(2)
    start.take(4)
    found: list[Message] = []
    blocks = [source.cursor(address + 16, start.uint(4), "object header")]
    for number, block in enumerate(blocks):
        while block.left >= 8 and len(found) < count:
            kind, size, flags = block.uint(2), block.uint(2), block.uint(1)
            block.take(3)
            found.append(Message(kind, block.take(size), bool(flags & _SHARED)))
            if kind == CONTINUATION:
                blocks.append(_continued(source, found[-1], number))
    if len(found) < count:
        raise Damaged(f"object header has {len(found)} of {count} messages")
    return found


def _new_header(source: Source, address: int) -> list[Message]:
    start = source.cursor(address, min(64, source.size - address), "object header")
    start.expect(b"OHDR")
    start.version(2)
    flags = start.uint(1)
    start.take((16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0))
    size = start.uint(1 << (flags & 3))
    in_front = 6 if flags & 0x4 else 4
    found: list[Message] = []
    blocks = [source.cursor(address + start.at, size, "object header")]
    for number, block in enumerate(blocks):
        while block.left >= in_front:  # fewer bytes are a gap
            kind, size, of_message = block.uint(1), block.uint(2), block.uint(1)
            block.take(in_front - 4)
            found.append(Message(kind, block.take(size), bool(of_message & _SHARED)))
            if kind == CONTINUATION:
                more = _continued(source, found[-1], number)
                more.expect(b"OCHK")
                more.data = more.data[:-4]  # its checksum
                blocks.append(more)
    return found


def _continued(source: Source, message: Message, number: int) -> Cursor:
    if number > _MOST_BLOCKS:
        raise Damaged("object header leads in a circle")
    where = message.cursor("object header")
    return source.cursor(where.uint(8), where.uint(8), "object header")
