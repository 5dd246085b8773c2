"""The refusals of HDF5 that no other test reaches, each by a file made for it."""

import os
import struct
from collections.abc import Callable

import h5py
import numpy as np
import pytest
from bad_weights import refusal
from prune.weights.formats import read_any
from prune.weights.hdf5 import objects, values
from prune.weights.hdf5.source import Cursor, Damaged, NotPlain, Source


def chunked(file: h5py.File) -> None:
    file.create_dataset("x", data=np.ones((8, 8), np.float32), chunks=(4, 4))


def plain(file: h5py.File) -> None:
    file["x"] = np.ones((8, 8), np.float32)


def many(file: h5py.File) -> None:
    for number in range(300):
        file[f"stage1.block{number}.weight"] = np.float32(1)


@pytest.mark.parametrize(
    ("make", "tracked", "before", "after", "message"),
    [
        (chunked, False, b"\x03\x02\x03", b"\x03\x02\x02", "chunks are not of the shape or the type"),
        (chunked, False, b"TREE\x01", b"TREE\x02", "the tree of chunks has other levels than it says"),
        (plain, False, b"\x11\x00\x10\x00", b"\x00\x00\x10\x00", "the root is no group"),
        (plain, False, b"TREE\x00", b"TREE\x01", "the tree of names has other levels than it says"),
        (plain, False, b"\x11\x20\x1f\x00", b"\x91\x20\x1f\x00", "type of version 9, which is not read here"),
    ],
)
def test_hdf5_with_one_place_changed(tmp_path, make, tracked, before, after, message):
    with h5py.File(tmp_path / "x.hdf5", "w", track_order=tracked) as file:
        make(file)
    content = (tmp_path / "x.hdf5").read_bytes()
    assert before in content
    (tmp_path / "x.hdf5").write_bytes(content.replace(before, after))
    assert message in refusal(tmp_path / "x.hdf5")


@pytest.mark.parametrize(
    ("signature", "offset", "value", "message"),
    [
        (b"FRHP", 7, struct.pack("<H", 1), "a compressed fractal heap"),
        (b"FRHP", 110, struct.pack("<H", 0), "fractal heap has no blocks"),
        (b"FRHP", 132, b"\xff" * 8, "fractal heap has no such block"),
        (b"FRHP", 140, struct.pack("<H", 200), "fractal heap has 200 rows"),
        (b"FRHP", 140, struct.pack("<H", 1), "fractal heap has no such row"),
        (b"FRHP", 140, struct.pack("<H", 0), "fractal heap ends early"),
        (b"BTHD", 10, struct.pack("<H", 1), "the tree of links has no room for its records"),
        (b"BTHD", 24, struct.pack("<H", 0), "the tree of links has 0 records, and says otherwise"),
    ],
)
def test_hdf5_with_many_links_and_one_number_changed(tmp_path, signature, offset, value, message):
    with h5py.File(tmp_path / "x.hdf5", "w", track_order=True) as file:
        many(file)
    content = bytearray((tmp_path / "x.hdf5").read_bytes())
    place = -1
    while (place := content.find(signature, place + 1)) >= 0:
        content[place + offset : place + offset + len(value)] = value
    (tmp_path / "x.hdf5").write_bytes(content)
    assert message in refusal(tmp_path / "x.hdf5")


def shared_type(file: h5py.File) -> None:
    file["kind"] = np.dtype("S9")
    file.attrs.create("prune", b"{}", dtype=file["kind"])


def new_chunks(file: h5py.File) -> None:
    chunked(file)


def colours(file: h5py.File) -> None:
    kind = h5py.enum_dtype({"RED": 0, "BLUE": 1}, basetype="i4")
    file.create_dataset("x", data=np.zeros(3, np.int32), dtype=kind)


@pytest.mark.parametrize(
    ("make", "libver", "message"),
    [
        (shared_type, "earliest", "an attribute of a shared type"),
        (new_chunks, "latest", "of kind 2, version"),
        (colours, "earliest", "'x' in"),
        (lambda file: file.attrs.create("prune", ""), "earliest", "is not JSON"),
        (lambda file: file.create_dataset("x", data=h5py.Empty("f4")), "latest", "'x' in"),
        (lambda file: file.create_dataset("x", data=h5py.Empty("f4")), "earliest", "'x' in"),
    ],
)
def test_hdf5_of_kinds_that_are_not_read(tmp_path, make: Callable[[h5py.File], object], libver, message):
    with h5py.File(tmp_path / "x.hdf5", "w", libver=libver) as file:
        make(file)
    assert message in refusal(tmp_path / "x.hdf5")


def test_values_that_lie_in_their_header_are_read(tmp_path):
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_layout(h5py.h5d.COMPACT)
        space, kind = h5py.h5s.create_simple((2, 3)), h5py.h5t.IEEE_F32LE
        h5py.Dataset(h5py.h5d.create(file.id, b"x", kind, space, how))[...] = np.arange(6).reshape(2, 3)
    assert read_any(tmp_path / "x.hdf5").tensors["x"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_chunks_that_overlap(tmp_path):
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        chunked(file)
    content, place = (tmp_path / "x.hdf5").read_bytes(), struct.pack("<3Q", 0, 4, 0)
    assert place in content
    (tmp_path / "x.hdf5").write_bytes(content.replace(place, bytes(24)))
    assert "chunks overlap" in refusal(tmp_path / "x.hdf5")


def test_structures_that_lead_in_circles_or_end_early(tmp_path):
    (tmp_path / "x").write_bytes(bytes(1000))
    with (tmp_path / "x").open("rb") as file:
        source = Source(file)
        with pytest.raises(Damaged, match="a tree leads in a circle"):
            [source.described(0, 900, "a tree") for _ in range(10_000)]
        with pytest.raises(Damaged, match="object header leads in a circle"):
            objects._continued(source, objects.Message(0x10, 0, bytes(16)), 10**6)
    with (tmp_path / "x").open("rb") as file:
        source = Source(file)
        os.truncate(tmp_path / "x", 10)  # while it is read
        with pytest.raises(Damaged, match="a tree ends early"):
            source.values(0, 900, "a tree")
    with pytest.raises(NotPlain, match="has 40 dimensions; write it again"):
        values._shape(Cursor(bytes([1, 40, 0, 0, 0, 0, 0, 0]), "shape"))
