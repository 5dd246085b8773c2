"""PyTorch's checkpoint files, read without PyTorch: plain values, and tensors that lie in the file.

There are two kinds. Today's is an archive (zip) of a pickle and the storages that its tensors are views of;
that of PyTorch before 1.6 is four pickles, and then the storages one after the other.
"""

import io
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from . import schema
from .errors import BadWeightFile, first_line
from .files import require_file
from .memory import Memory
from .pickles import BadPickle, plain_values
from .stored import RAW, Damaged, HoldsMore, Storage, Stored, call, storage_of, widened

__all__ = ["Stored", "TorchFile", "read_torch"]

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LARGEST_PICKLE = 2**26  # bytes


@dataclass(frozen=True)
class TorchFile:
    """A checkpoint: what it holds, with a `Stored` for every tensor, and how to get its numbers.

    Attributes:
        storage: returns the bytes of a storage.
        memory: what its tensors may still take.
        summed: has the file checksums of its own, which are compared?
    """

    path: Path
    content: Any
    storage: Callable[[Storage], bytes]
    memory: Memory
    summed: bool

    def array(self, tensor: Stored, where: str) -> np.ndarray:
        """A tensor's numbers, floats that NumPy does not have as float32.

        Raises:
            BadWeightFile: it has more of them than its storage, or they would take too much memory.
        """
        if tensor.odd or tensor.storage is None:
            raise BadWeightFile(f"{where} is {tensor.odd}; save plain dense floats")
        storage = tensor.storage
        used = 1 + sum((side - 1) * step for side, step in zip(tensor.shape, tensor.strides, strict=True))
        wanted = math.prod(tensor.shape)
        # A stride of 0 lets a few bytes pose as a tensor of any size.
        fits = wanted <= storage.count and tensor.offset + used <= storage.count
        if not (fits if wanted else math.prod(filter(None, tensor.shape)) < 2**31):
            raise BadWeightFile(
                f"{where} declares shape {tensor.shape}, more than the file holds; save a copy of it"
            )
        kept = np.dtype(RAW.get(storage.kind, storage.kind)).newbyteorder("<")
        self.memory.claim(np.dtype(np.float32) if storage.kind in RAW else kept, tensor.shape, where)
        if not wanted:
            return np.zeros(tensor.shape, np.float32 if storage.kind in RAW else kept)
        flat = np.frombuffer(self.storage(storage), kept, storage.count)[tensor.offset :]
        steps = zip(tensor.shape, tensor.strides, strict=True)  # of a single one, the stride may be anything
        strides = tuple(step * kept.itemsize if side > 1 else 0 for side, step in steps)
        seen = np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
        return widened(seen, storage.kind)


def read_torch(path: str | Path) -> TorchFile:
    """Read a checkpoint; nothing in it is unpickled, and no tensor's numbers are read yet.

    Raises:
        UnreadableFile: there is no such file.
        BadWeightFile: it holds more than plain values and tensors, or is damaged, or is no checkpoint.
    """
    path = require_file(path)
    try:
        with _Bounded(io.FileIO(path)) as file:
            if file.read(4) == b"PK\3\4":
                return _archive(path)
            file.seek(0)
            return _legacy(path, file)
    except HoldsMore as error:
        raise BadWeightFile(
            f"'{path}' holds more than tensors ({first_line(error)}), or is no PyTorch file; it will not be "
            "unpickled. Where it was made, save a state dict: torch.save(model.state_dict(), ...)"
        ) from error
    except (BadPickle, Damaged, OSError) as error:
        raise BadWeightFile(
            f"'{path}' cannot be read as a PyTorch checkpoint: {first_line(error)}"
        ) from error


def _archive(path: Path) -> TorchFile:
    entries = _entries(path)
    pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise Damaged("it has no data.pkl")
    folder = pickles[0].removesuffix("/data.pkl")
    if f"{folder}/constants.pkl" in entries:
        raise HoldsMore("a TorchScript program")
    if entries[pickles[0]].file_size > _LARGEST_PICKLE:
        raise Damaged(f"its pickle has {entries[pickles[0]].file_size} bytes")
    order = entries.get(f"{folder}/byteorder")
    if order is not None and _content(path, order) != b"little":
        raise Damaged("its numbers are not little endian")
    content = plain_values(io.BytesIO(_content(path, entries[pickles[0]])), call, storage_of)

    def storage(wanted: Storage) -> bytes:
        entry = entries.get(f"{folder}/data/{wanted.key}")
        present, claimed = entry.file_size if entry else 0, wanted.count * wanted.itemsize
        try:
            if entry is None or present < claimed:
                raise Damaged(f"storage {wanted.key!r} claims {claimed} bytes, and has {present}")
            return _content(path, entry)
        except Damaged as error:
            raise BadWeightFile(f"'{path}' cannot be read as a PyTorch checkpoint: {error}") from error

    return TorchFile(path, content, _once(storage), Memory(path.stat().st_size), summed=True)


def _entries(path: Path) -> dict[str, zipfile.ZipInfo]:
    """The files in an archive, which together are no larger than the archive.

    Raises:
        Damaged: they are not, or one is compressed, which PyTorch never does, or lies elsewhere.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = archive.infolist()
    except Exception as error:  # a damaged archive can fail anywhere in zipfile
        raise Damaged(first_line(error)) from error
    packed = next((e.filename for e in found if e.compress_type or e.file_size != e.compress_size), None)
    if packed is not None:
        raise Damaged(f"{packed!r} is compressed; unpack the archive and pack it without compression")
    entries, size = {entry.filename: entry for entry in found}, path.stat().st_size
    if len(entries) < len(found) or sum(entry.file_size for entry in found) > size:
        raise Damaged("its entries overlap")
    outside = next((e.filename for e in found if not 0 <= e.header_offset < size), None)
    if outside is not None:
        raise Damaged(f"{outside!r} lies outside of it")
    return entries


def _content(path: Path, entry: zipfile.ZipInfo) -> bytes:
    """One file of an archive; `ZipFile.read` would go through the whole list of files for each.

    Raises:
        Damaged: it is not there, or not what was written, as its CRC-32 tells.
    """
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        head = file.read(30)
        if head[:4] != b"PK\3\4" or len(head) < 30:
            raise Damaged(f"there is no {entry.filename!r} where it should be")
        file.seek(sum(struct.unpack_from("<HH", head, 26)), io.SEEK_CUR)  # its name, and notes
        content = file.read(entry.file_size)
    if len(content) < entry.file_size or zlib.crc32(content) != entry.CRC:
        raise Damaged(f"Bad CRC-32 for file {entry.filename!r}: it is not what was written; copy it again")
    return content


def _legacy(path: Path, file: BinaryIO) -> TorchFile:
    size = path.stat().st_size
    if size > 4 and file.read(1) != b"\x80":
        raise HoldsMore("what is no pickle")
    file.seek(0)
    if _value(file) != _LEGACY_MAGIC:
        raise HoldsMore("a bare pickle")
    _value(file)  # the protocol
    system = _value(file)
    if isinstance(system, Mapping) and system.get("little_endian") is False:
        raise Damaged("its numbers are not little endian")
    storages: dict[str, Storage] = {}

    def stored(words: Any) -> Storage:
        if len(words) > 5 and words[5] is not None:
            raise Damaged("it has views of storages; save a copy of it")
        storage = storage_of(words)
        if storages.setdefault(storage.key, storage) != storage:
            raise Damaged(f"storage {storage.key!r} is declared twice")
        return storage

    content = plain_values(file, call, stored)
    places: dict[str, int] = {}
    keys = _value(file)
    if not isinstance(keys, list):
        raise Damaged("it has no list of storages")
    for key in keys:
        if not isinstance(key, str) or key not in storages:
            raise Damaged(f"storage {schema.shown(key)!r} is of no tensor")
        count = int.from_bytes(file.read(8), "little", signed=True)
        length = count * storages[key].itemsize
        if count != storages[key].count or not 0 <= length <= size - file.tell() or key in places:
            raise Damaged(f"storage {key!r} claims {storages[key].count} numbers, which are not all there")
        places[key] = file.tell()
        file.seek(length, io.SEEK_CUR)
    missing = next((key for key in storages if key not in places), None)
    if missing is not None:
        raise Damaged(f"storage {missing!r} is not there")

    def storage(wanted: Storage) -> bytes:
        with path.open("rb") as again:
            again.seek(places[wanted.key])
            return again.read(wanted.count * wanted.itemsize)

    return TorchFile(path, content, _once(storage), Memory(size), summed=False)


def _once(storage: Callable[[Storage], bytes]) -> Callable[[Storage], bytes]:
    """The same, but a storage that several tensors share is read once."""
    read: dict[str, bytes] = {}

    def reading(wanted: Storage) -> bytes:
        if len(read.get(wanted.key, b"")) < wanted.count * wanted.itemsize or not wanted.count:
            read[wanted.key] = storage(wanted)
        return read[wanted.key]

    return reading


class _Bounded(io.BufferedReader):
    """A file that is asked for no more than it has: Python makes room for what is asked for first."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = os.fstat(self.fileno()).st_size - self.tell()
        return super().read(left if size is None or size < 0 else min(size, left))


def _value(file: BinaryIO) -> Any:
    return plain_values(file, call, storage_of)
