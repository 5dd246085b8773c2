"""The links of a group: names, and what they lead to; in order, where the file tells it."""

from collections.abc import Iterator
from dataclasses import dataclass

from .heaps import FractalHeap, local_heap
from .objects import LINK, LINK_INFO, SYMBOL_TABLE, Message, of_kind
from .source import UNDEFINED, Cursor, Damaged, Source

HARD, SOFT, EXTERNAL = 0, 1, 64
_SYMBOLIC = 2  # what an old group calls a soft link
_DEEPEST = 16  # levels of a tree


@dataclass(frozen=True)
class Link:
    """A name in a group.

    Attributes:
        kind: HARD, SOFT, EXTERNAL, or another number for one that a user has defined.
        address: of the header of the object that a hard link leads to.
        order: when it was made, where that is known.
    """

    name: bytes
    kind: int
    address: int
    order: int | None = None


def links(source: Source, messages: list[Message]) -> list[Link]:
    """All links of a group, in the order they were made in, or else by name.

    Args:
        messages: of the group's header.
    Raises:
        Damaged: it is no group, or its links cannot be followed.
    """
    table, info = of_kind(messages, SYMBOL_TABLE), of_kind(messages, LINK_INFO)
    if table is not None:
        place = table.cursor("symbol table")
        found = list(_old_links(source, place.uint(8), place.uint(8)))
    elif info is not None:
        found = [_link(message.cursor("link")) for message in messages if message.kind == LINK]
        found += _dense_links(source, info.cursor("link info"))
    else:
        raise Damaged("the root is no group")
    names = {link.name for link in found}
    if len(names) < len(found):
        raise Damaged("two links have one name")
    if all(link.order is not None for link in found):
        return sorted(found, key=lambda link: link.order or 0)
    return sorted(found, key=lambda link: link.name)


def _old_links(source: Source, tree: int, heap: int) -> Iterator[Link]:
    names = local_heap(source, heap)
    for address in _leaves(source, tree):
        head = source.cursor(address, 8, "symbol table")
        head.expect(b"SNOD")
        head.version(1)
        head.take(1)
        entries = source.cursor(address + 8, 40 * head.uint(2), "symbol table")
        while entries.left:
            name, header, kind = entries.uint(8), entries.uint(8), entries.uint(4)
            entries.take(20)
            end = names.find(b"\0", name)
            if end < 0:
                raise Damaged("a name lies outside the local heap")
            yield Link(names[name:end], SOFT if kind == _SYMBOLIC else HARD, header)


def _leaves(source: Source, address: int, above: int | None = None) -> Iterator[int]:
    """The tables that a tree (B-tree version 1) leads to."""
    head = source.cursor(address, 24, "tree of names")
    head.expect(b"TREE")
    kind, level, count = head.uint(1), head.uint(1), head.uint(2)
    if kind != 0 or level > _DEEPEST or (above is not None and level != above - 1):
        raise Damaged("the tree of names has other levels than it says")
    children = source.cursor(address + 24, count * 16, "tree of names")
    for _ in range(count):
        children.take(8)
        child = children.uint(8)
        if level:
            yield from _leaves(source, child, level)
        else:
            yield child


def _link(at: Cursor) -> Link:
    at.version(1)
    flags = at.uint(1)
    kind = at.uint(1) if flags & 0x8 else HARD
    order = at.uint(8) if flags & 0x4 else None
    at.take(1 if flags & 0x10 else 0)
    name = at.take(at.uint(1 << (flags & 3)))
    return Link(name, kind, at.uint(8) if kind == HARD else UNDEFINED, order)


def _dense_links(source: Source, info: Cursor) -> Iterator[Link]:
    """Those that are too many for the header: in a heap, with a tree of their places in it."""
    info.version(0)
    flags = info.uint(1)
    info.take(8 if flags & 1 else 0)
    heap_at, by_name = info.uint(8), info.uint(8)
    if heap_at == UNDEFINED:
        return
    heap = FractalHeap.at(source, heap_at)
    for record in _records(source, by_name):
        yield _link(heap.object(record[4 : 4 + heap.id_bytes]))  # behind the hash of the name


def _records(source: Source, address: int) -> Iterator[bytes]:
    """All records of a tree (B-tree version 2)."""
    head = source.cursor(address, 38, "tree of links")
    head.expect(b"BTHD")
    head.version(0)
    head.take(1)
    node, size, depth = head.uint(4), head.uint(2), head.uint(2)
    head.take(2)
    root, count = head.uint(8), head.uint(2)
    if not 4 < size < node - 10 or depth > _DEEPEST:
        raise Damaged("the tree of links has no room for its records")
    found = 0
    for record in _node(source, root, count, node, size, depth):
        found += 1
        yield record
    if found != head.uint(8):
        raise Damaged(f"the tree of links has {found} records, and says otherwise")


def _node(source: Source, address: int, count: int, node: int, size: int, depth: int) -> Iterator[bytes]:
    if count == 0:
        return
    at = source.cursor(address, min(node, source.size - address), "tree of links")
    at.expect(b"BTIN" if depth else b"BTLF")
    at.version(0)
    at.take(1)
    yield from [at.take(size) for _ in range(count)]
    if not depth:
        return
    own, below = _counter_bytes(node, size, depth)
    for _ in range(count + 1):
        child, records = at.uint(8), at.uint(own)
        at.take(below)
        yield from _node(source, child, records, node, size, depth - 1)


def _counter_bytes(node: int, size: int, depth: int) -> tuple[int, int]:
    """How many bytes a child's number of records takes, and that of all below it: as the largest may need."""
    most = below = (node - 10) // size
    own, of_all = _bytes_of(most), 0
    for _ in range(depth - 1):
        pointer = 8 + own + of_all
        records = (node - 10 - pointer) // (size + pointer)
        below = (records + 1) * below + records
        of_all = _bytes_of(below)
    return own, of_all


def _bytes_of(number: int) -> int:
    return (number.bit_length() + 7) // 8
