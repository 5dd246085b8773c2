"""What an object's header says of its values: type, shape, and where they lie."""

import math
from dataclasses import dataclass

import numpy as np

from . import chunks
from .heaps import global_heap_object
from .objects import (
    ATTRIBUTE,
    ATTRIBUTE_INFO,
    DATASPACE,
    DATATYPE,
    EXTERNAL_FILES,
    FILTERS,
    LAYOUT,
    Message,
    of_kind,
)
from .source import UNDEFINED, Cursor, NotPlain, Source, Unsupported

_INTEGER, _FLOAT, _TEXT, _ENUM, _VARIABLE = 0, 1, 3, 8, 9
_KINDS = {
    2: "times",
    _TEXT: "text",
    4: "bit fields",
    5: "opaque values",
    6: "compound values",
    7: "references",
    _ENUM: "an enumeration",
    _VARIABLE: "values of variable length",
    10: "arrays",
}
# Bytes of a float -> where its exponent and its mantissa are, as IEEE 754 has it: their first bits and sizes,
# and the exponent's bias.
_IEEE = {2: (10, 5, 0, 10, 15), 4: (23, 8, 0, 23, 127), 8: (52, 11, 0, 52, 1023)}
_COMPACT, _CONTIGUOUS, _CHUNKED, _VIRTUAL = range(4)


@dataclass(frozen=True)
class Dataset:
    """Numbers that lie in the file.

    Attributes:
        stored: how many bytes the file spends on them.
        place: the address of the first, the numbers themselves, or their chunks.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    stored: int
    place: int | bytes | chunks.Chunks

    @property
    def declared(self) -> int:
        """How many bytes so many numbers need, with what overhangs of chunks."""
        return math.prod(self.shape) * self.dtype.itemsize + self.overhang

    @property
    def overhang(self) -> int:
        """How many bytes of chunks lie outside the shape."""
        if not isinstance(self.place, chunks.Chunks):
            return 0
        whole = len(self.place.parts) * math.prod(self.place.shape)
        return (whole - math.prod(self.shape)) * self.dtype.itemsize

    @property
    def packed(self) -> bool:
        """May the file spend fewer bytes on them than they need?"""
        return isinstance(self.place, chunks.Chunks) and chunks.DEFLATE in self.place.filters

    def read(self, source: Source, what: str) -> np.ndarray:
        """The numbers; the caller has looked at `declared`."""
        match self.place:
            case int():
                return source.array(self.place, self.dtype, self.shape, what)
            case bytes():
                return np.frombuffer(self.place, self.dtype, math.prod(self.shape)).reshape(self.shape)
            case _:
                return self.place.read(source, self.dtype, self.shape, what)


def dataset(source: Source, found: list[Message]) -> Dataset:
    """The dataset that a header describes.

    Raises:
        NotPlain: it is none, or its values are no plain numbers, or they are not all in this file.
        Damaged, Unsupported: the header cannot be read.
    """
    kind, space, layout = (of_kind(found, name) for name in (DATATYPE, DATASPACE, LAYOUT))
    if kind is None or space is None or layout is None:
        raise NotPlain("is a group or a type, not a dataset; a weight file is flat")
    dtype = _numbers(kind.cursor("type"))
    shape = _shape(space.cursor("shape"))
    if shape is None:
        raise NotPlain("has no shape and no values; write it again")
    if of_kind(found, EXTERNAL_FILES) is not None:
        raise NotPlain("keeps its values in an external file; copy them into one file")
    codes = chunks.filters(of_kind(found, FILTERS))
    placed = _placed(source, layout.cursor("layout"), dtype, shape, codes)
    if placed.declared > placed.stored and not placed.packed:
        raise NotPlain(
            f"declares shape {shape}, {placed.declared} bytes; "
            f"the file holds {placed.stored}: they are not all there"
        )
    return placed


def attribute(source: Source, found: list[Message], name: str) -> bytes | None:
    """The attribute of that name, or None if there is none.

    Raises:
        NotPlain: it is not one text.
        Unsupported: there are so many attributes that it may lie elsewhere.
    """
    info = of_kind(found, ATTRIBUTE_INFO)
    if info is not None:
        at = info.cursor("attribute info")
        at.version(0)
        at.take(2 if at.uint(1) & 1 else 0)
        if at.uint(8) != UNDEFINED:
            raise Unsupported("more attributes than fit into its header")
    for message in found:
        if message.kind != ATTRIBUTE:
            continue
        at = message.cursor("attribute")
        version = at.version(1, 2, 3)
        shared = at.uint(1) if version > 1 else at.take(1) and 0
        sizes = [at.uint(2) for _ in range(3)]
        at.take(1 if version == 3 else 0)
        padding = 8 if version == 1 else 1
        parts = [at.take(size + -size % padding)[:size] for size in sizes]
        if parts[0].rstrip(b"\0") == name.encode():
            if shared:
                raise Unsupported("an attribute of a shared type")
            return _text(source, Cursor(parts[1], "type"), Cursor(parts[2], "shape"), at)
    return None


def _text(source: Source, kind: Cursor, space: Cursor, data: Cursor) -> bytes:
    code, bits, size = _class_of(kind)
    is_text = code == _TEXT or (code == _VARIABLE and bits & 0xF == 1)
    if not is_text or _shape(space) != ():
        raise NotPlain("is not one string of JSON; write the file again")
    if code == _TEXT:
        return data.take(size).rstrip(b"\0")
    length, address, index = data.uint(4), data.uint(8), data.uint(4)
    if address in (0, UNDEFINED):
        return b""
    return global_heap_object(source, address, index)[:length]


def _class_of(at: Cursor) -> tuple[int, int, int]:
    """Which class of types this is, what it says in bits, and how many bytes a value takes."""
    first = at.uint(1)
    if not 1 <= first >> 4 <= 5:
        raise Unsupported(f"{at.what} of version {first >> 4}")
    return first & 0xF, at.uint(3), at.uint(4)


def _numbers(at: Cursor) -> np.dtype:
    code, bits, size = _class_of(at)
    if code == _ENUM and _members(at.data, bits & 0xFFFF) == [b"FALSE", b"TRUE"]:
        return np.dtype(np.int8)  # how h5py stores booleans
    if code not in (_INTEGER, _FLOAT):
        text = code == _VARIABLE and bits & 0xF == 1
        kind = "text" if text else _KINDS.get(code, "values of an unknown type")
        raise NotPlain(f"holds {kind}; allowed are floats, booleans and integers")
    order = "><"[not bits & 1]
    offset, precision = at.uint(2), at.uint(2)
    whole = offset == 0 and precision == 8 * size
    if code == _INTEGER:
        plain = whole and size in (1, 2, 4, 8)
        name = f"{order}{'i' if bits & 8 else 'u'}{size}"
    else:
        layout = (*at.take(4), at.uint(4))
        plain = whole and not bits & 0x40 and _IEEE.get(size) == layout
        name = f"{order}f{size}"
    if not plain:
        raise NotPlain("holds numbers of an odd layout; allowed are floats, booleans and integers")
    return np.dtype(name)


def _members(enumeration: bytes, count: int) -> list[bytes]:
    """The names in an enumeration of integers of one byte; none where it is of others."""
    base, names = Cursor(enumeration[8:20], "type"), Cursor(enumeration[20:], "type")
    code, _, size = _class_of(base)
    if (code, size) != (_INTEGER, 1):
        return []
    step = 8 if enumeration[0] >> 4 < 3 else 1  # earlier versions fill them up to eight bytes
    found: list[bytes] = []
    for _ in range(min(count, 3)):
        end = names.data.find(b"\0", names.at) + 1
        length = max(end - names.at, 1)
        found.append(names.take(length + -length % step).rstrip(b"\0"))
    return found


def _shape(at: Cursor) -> tuple[int, ...] | None:
    """The shape, () for one value; None where there is not even that."""
    version = at.version(1, 2)
    rank = at.uint(1)
    at.take(1)
    kind = at.uint(1)
    if version == 1:
        at.take(4)
    elif kind == 2:
        return None
    if rank > 32:
        raise NotPlain(f"has {rank} dimensions; write it again")
    return tuple(at.uint(8) for _ in range(rank))


def _placed(
    source: Source, at: Cursor, dtype: np.dtype, shape: tuple[int, ...], codes: tuple[int, ...]
) -> Dataset:
    version = at.version(3, 4, 5)
    kind = at.uint(1)
    if kind == _COMPACT:
        data = at.take(at.uint(2))
        return Dataset(dtype, shape, len(data), data)
    if kind == _CONTIGUOUS:
        address, stored = at.uint(8), at.uint(8)
        return Dataset(dtype, shape, 0 if address == UNDEFINED else stored, address)
    if kind == _CHUNKED and version == 3:
        parts = chunks.chunks(source, at, dtype, shape, codes)
        return Dataset(dtype, shape, sum(part.stored for part in parts.parts), parts)
    if kind == _VIRTUAL and version > 3:
        raise NotPlain("is virtual, its values lie in other files; copy them into one file")
    raise Unsupported(f"{at.what} of kind {kind}, version {version}")
